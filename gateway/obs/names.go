package obs

import "github.com/prometheus/client_golang/prometheus"

// noRoute is the route label of requests that no route matched.
const noRoute = "none"

// other stands for every method and every code outside the known ones.
const other = "other"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("pithead_"+name, help, labels, nil)
}

// The metrics that are collected from state of this package or of the rest of
// the gateway when Prometheus asks.
var (
	requestsDesc = desc("requests_total",
		"Requests that have ended.", "route", "upstream", "arm", "method", "code")
	requestDurationDesc = desc("request_duration_seconds",
		"Time from the head of a request to the end of its answer.", "route", "upstream", "arm")
	gatewayDurationDesc = desc("gateway_duration_seconds",
		"The part of a request's time that the gateway itself took: all but the upstream's part.", "route", "upstream", "arm")
	upstreamDurationDesc = desc("upstream_duration_seconds",
		"The part of a request's time from the first attempt to the last byte of the answer.", "route", "upstream", "arm")
	requestPhaseDesc = desc("request_phase_seconds",
		"Where the time of sampled requests went (anatomy.sample).", "route", "arm", "phase")
	slowRequestsDesc = desc("slow_requests_total",
		"Requests that took longer than anatomy.slow, or failed, by who was to blame for most of it.", "route", "verdict")
	saturationDesc = desc("saturation_seconds",
		"How long work waits for this process: connections to be accepted, requests to be read, goroutines to run. Each is a mean over the last 10 to 20 seconds.", "part")
	requestErrorsDesc = desc("request_errors_total",
		"Requests that failed, by what went wrong and who caused it.", "route", "reason", "cause")
	inFlightDesc = desc("requests_in_flight",
		"Requests that have begun and not ended.", "route")
	requestBytesDesc = desc("request_body_bytes_total",
		"Bytes of request bodies read from clients.", "route")
	responseBytesDesc = desc("response_body_bytes_total",
		"Bytes of answer bodies written to clients.", "route")
	mirrorRequestsDesc = desc("mirror_requests_total",
		"Requests that were chosen to be copied to another upstream, by what became of the copy.", "route", "upstream", "result")

	rateLimitedDesc = desc("rate_limited_total",
		"Requests that did not pass a limit, by what became of them: refused, or dry_run for those that passed all the same.", "route", "limit", "result")
	rateLimitKeysDesc = desc("rate_limit_keys",
		"Keys of a limiter whose buckets are not full.", "limiter")
	rateLimitCrowdedDesc = desc("rate_limit_crowded_total",
		"Decisions about keys that share a bucket with others, because max_keys have one of their own.", "limiter")

	rateLimitDecisionsDesc = desc("rate_limit_decisions_total",
		"Decisions of a limiter that shares its limits with other gateways, by who has decided: redis, a lease, memory of a refusal, or local, open or closed while Redis is away.", "limiter", "by")
	storeUpDesc = desc("store_up",
		"1 while the store that gateways share is asked, 0 while it is left alone because it fails.", "store")
	storeGatewaysDesc = desc("store_gateways",
		"Gateways that share the store, as it has last said.", "store")
	storeDurationDesc = desc("store_duration_seconds",
		"Time of a question to the store, failed ones included.", "store")
	storeErrorsDesc = desc("store_errors_total",
		"Questions to the store that failed, by why.", "store", "error")

	concurrencyLimitDesc = desc("concurrency_limit",
		"Requests that a limit lets be under way at a time.", "limiter")
	concurrencyActiveDesc = desc("concurrency_active",
		"Requests that are under way within such a limit.", "limiter")
	concurrencyWaitingDesc = desc("concurrency_waiting",
		"Requests that wait in the queue of such a limit.", "limiter")
	concurrencyBaselineDesc = desc("concurrency_baseline_seconds",
		"What the service takes for an answer when it has little to do, as an adaptive limit has found.", "limiter")
	concurrencyRefusedDesc = desc("concurrency_refused_total",
		"Requests that such a limit has refused.", "limiter", "priority")
	admissionLimitDesc = desc("adaptive_limit_rate",
		"Requests per second that a limit which follows the health of a service lets pass; +Inf while the service is well.", "limiter")
	admissionConditionDesc = desc("adaptive_limit_state",
		"Why: 0 healthy, 1 recovering, 2 degraded, 3 broken.", "limiter")
	admissionRefusedDesc = desc("adaptive_limit_refused_total",
		"Requests that such a limit has refused.", "limiter", "priority")
	overloadStepDesc = desc("overload_step",
		"What the process does about its own load: 0 nothing, 1 ends connections after their answer, 2 refuses requests, 3 accepts no connections.")
	overloadShareDesc = desc("overload_refused_share",
		"Share of the requests that are refused because of that, 0 to 1.")
	overloadPressureDesc = desc("overload_pressure",
		"How much of what the process may have is used: memory as a share of the limit, cpu as the wait for a processor in seconds.", "resource")
	overloadRefusedDesc = desc("overload_refused_total",
		"Requests that were refused because of that.")

	breakerStateDesc = desc("breaker_state",
		"What a circuit breaker does: 0 closed, 1 recovering, 2 half-open, 3 open.", "breaker", "upstream", "arm", "endpoint")
	breakerTransitionsDesc = desc("breaker_transitions_total",
		"Changes of the state of a circuit breaker.", "breaker", "upstream", "arm", "endpoint", "to")
	breakerRefusedDesc = desc("breaker_rejected_total",
		"How often a circuit breaker let an attempt not be made; with one for each endpoint, how often it was passed over.", "breaker", "upstream", "arm", "endpoint")
	breakerFailuresDesc = desc("breaker_failures_total",
		"Failures that a closed circuit breaker has counted.", "breaker", "upstream", "arm", "endpoint")
	breakerSlowDesc = desc("breaker_slow_total",
		"Slow answers that a closed circuit breaker has counted, if it has a slow_ratio.", "breaker", "upstream", "arm", "endpoint")

	faultsInjectedDesc = desc("faults_injected_total",
		"Faults that requests were given on purpose (fault): delay, abort, reset or bandwidth.", "route", "fault")

	cacheRequestsDesc = desc("cache_requests_total",
		"GET and HEAD requests to a cache, by what became of them: hit, stale, revalidated, miss, collapsed (it had the answer that another one had fetched) or bypass.", "cache", "result")
	cacheBytesDesc = desc("cache_bytes",
		"Bytes of the answers that a cache keeps, with what it needs to keep them.", "cache")
	cacheAnswersDesc = desc("cache_answers",
		"Answers that a cache keeps.", "cache")
	cacheEvictedDesc = desc("cache_evicted_total",
		"URLs whose answers a cache has thrown out to make room.", "cache")

	// The counter is not called connections_total: in OpenMetrics its family
	// would then have the same name as the gauge.
	connectionsDesc = desc("connections",
		"Open connections of clients.", "listener")
	connectionsOpenedDesc = desc("connections_opened_total",
		"Connections of clients that were accepted.", "listener")
	connectionsRefusedDesc = desc("connections_refused_total",
		"Connections of clients that were closed at once, or for resetting most of 500 streams and more.", "listener", "reason")

	endpointHealthyDesc = desc("endpoint_healthy",
		"1 unless the endpoint fails its checks.", "upstream", "endpoint")
	endpointActiveDesc = desc("endpoint_active_requests",
		"Requests on their way to the endpoint or back.", "upstream", "endpoint")
	endpointAttemptsDesc = desc("endpoint_attempts_total",
		"Attempts begun at the endpoint.", "upstream", "endpoint")
	endpointFailuresDesc = desc("endpoint_failures_total",
		"Attempts that failed by the fault of the endpoint or the network.", "upstream", "endpoint")
	upstreamPanicDesc = desc("upstream_panic",
		"1 while so few endpoints are healthy that all are used (panic_threshold), 0 otherwise.", "upstream")
	upstreamLeftZoneDesc = desc("upstream_left_zone",
		"1 while requests leave the preferred zone because too little of it is healthy, 0 otherwise, by arm; an empty arm is the whole set.", "upstream", "arm")
	upstreamWaitingDesc = desc("upstream_waiting_requests",
		"Requests that wait for an endpoint with room (limits).", "upstream")
	upstreamEndpointsDesc = desc("upstream_endpoints",
		"Endpoints by arm and state; an empty arm is the whole set.", "upstream", "arm", "state")
	upstreamRetriesDesc = desc("upstream_retries_total",
		"Attempts to be made again, by whether they brought an answer (ok, failed) or why they were not made.", "upstream", "result")
	upstreamHedgesDesc = desc("upstream_hedges_total",
		"Second attempts beside one that took long, by whether their answer was used (won, lost) or why they were not made.", "upstream", "result")
	endpointEjectionsDesc = desc("endpoint_ejections_total",
		"Endpoints that were left alone for a while because of how requests ended there, by the rule.", "upstream", "reason")
	discoveryAgeDesc = desc("discovery_age_seconds",
		"Time since discovery last confirmed the set of endpoints; +Inf if it never did.", "upstream")
	discoveryFailuresDesc = desc("discovery_failures_total",
		"Failed attempts to reach the registry.", "upstream")
	discoverySkippedDesc = desc("discovery_skipped_instances",
		"Instances in the last answer of the registry that are left out: bad or denied addresses, and those beyond the limit.", "upstream")

	jwksAgeDesc = desc("jwks_age_seconds",
		"Time since the keys of an issuer were last read from their source; +Inf if they never were.", "issuer", "source")
	jwksKeysDesc = desc("jwks_keys",
		"Keys of an issuer that tokens are verified with.", "issuer", "source")
	jwksFailuresDesc = desc("jwks_failures_total",
		"Failed attempts to read the keys of an issuer.", "issuer", "source")

	introspectionRequestsDesc = desc("introspection_requests_total",
		"Questions to an authorization server about a token, by what it said of it (active, inactive), or why it said nothing.", "endpoint", "client", "result")
	introspectionHitsDesc = desc("introspection_cache_hits_total",
		"Requests with a token about which an answer was remembered.", "endpoint", "client")
	introspectionOpenDesc = desc("introspection_breaker_open",
		"1 while an authorization server is left alone because it has failed, 0 otherwise.", "endpoint", "client")

	oidcLoginsDesc = desc("oidc_logins_total",
		"Logins at an OpenID provider: begun, completed, or why they failed.", "issuer", "client", "result")
	oidcRefreshesDesc = desc("oidc_refreshes_total",
		"Sessions that the provider was to confirm: renewed, ended by its answer, or unanswered.", "issuer", "client", "result")
	oidcLogoutsDesc = desc("oidc_logouts_total",
		"Logouts, by where they began: at the browser, or told by the provider, or by another gateway that shares the store.", "issuer", "client", "from")
	oidcHitsDesc = desc("oidc_session_cache_hits_total",
		"Requests whose session was opened and judged before.", "issuer", "client")
	oidcSizeDesc = desc("oidc_session_bytes",
		"Size of the sealed sessions that browsers were given, of which a cookie holds 3800 bytes.", "issuer", "client")

	forwardAuthRequestsDesc = desc("forward_auth_requests_total",
		"Questions to a service that decides who may pass, by what it said (allowed, denied), or why it said nothing.", "upstream", "path", "result")
	forwardAuthHitsDesc = desc("forward_auth_cache_hits_total",
		"Requests whose answer of that service was remembered.", "upstream", "path")
	forwardAuthOpenDesc = desc("forward_auth_breaker_open",
		"1 while that service is left alone because it has failed, 0 otherwise.", "upstream", "path")
)

var collectedDescs = []*prometheus.Desc{
	concurrencyLimitDesc, concurrencyActiveDesc, concurrencyWaitingDesc, concurrencyBaselineDesc, concurrencyRefusedDesc,
	admissionLimitDesc, admissionConditionDesc, admissionRefusedDesc,
	overloadStepDesc, overloadShareDesc, overloadPressureDesc, overloadRefusedDesc,
	breakerStateDesc, breakerTransitionsDesc, breakerRefusedDesc, breakerFailuresDesc, breakerSlowDesc,
	requestsDesc, requestDurationDesc, gatewayDurationDesc, upstreamDurationDesc,
	requestPhaseDesc, slowRequestsDesc, saturationDesc,
	requestErrorsDesc, inFlightDesc, requestBytesDesc, responseBytesDesc, mirrorRequestsDesc,
	connectionsDesc, connectionsOpenedDesc, connectionsRefusedDesc,
	endpointHealthyDesc, endpointActiveDesc, endpointAttemptsDesc, endpointFailuresDesc,
	upstreamEndpointsDesc, upstreamPanicDesc, upstreamLeftZoneDesc, upstreamWaitingDesc, upstreamRetriesDesc, upstreamHedgesDesc, endpointEjectionsDesc, discoveryAgeDesc, discoveryFailuresDesc, discoverySkippedDesc,
	jwksAgeDesc, jwksKeysDesc, jwksFailuresDesc,
	rateLimitedDesc, rateLimitKeysDesc, rateLimitCrowdedDesc, rateLimitDecisionsDesc,
	storeUpDesc, storeGatewaysDesc, storeDurationDesc, storeErrorsDesc,
	introspectionRequestsDesc, introspectionHitsDesc, introspectionOpenDesc,
	oidcLoginsDesc, oidcRefreshesDesc, oidcLogoutsDesc, oidcHitsDesc, oidcSizeDesc,
	forwardAuthRequestsDesc, forwardAuthHitsDesc, forwardAuthOpenDesc,
	faultsInjectedDesc, cacheRequestsDesc, cacheBytesDesc, cacheAnswersDesc, cacheEvictedDesc,
}
