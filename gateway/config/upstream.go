package config

import (
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Upstream is a service behind the gateway.
type Upstream struct {
	// Discover is the source of the endpoints: `{static: ...}`, `{file: ...}`, `{dns: ...}`, `{consul: ...}`. Required.
	Discover *Block `yaml:"discover,required" kinds:"discovery source"`
	// Protocol is `http`, `https` or `h2c` (gRPC without TLS). `https` negotiates HTTP/2. Default: http.
	Protocol string `yaml:"protocol"`
	// Host is sent as Host instead of what the client asked for.
	Host string `yaml:"host"`
	// Balance is the load-balancing policy. Default: round_robin.
	Balance *Block `yaml:"balance" kinds:"balancing policy"`
	// Arms are named subsets of the endpoints.
	Arms map[string]*Arm `yaml:"arms"`
	// Health are active checks. Default: none, every discovered endpoint is used.
	Health *Health `yaml:"health"`
	// PanicThreshold is the percentage of healthy endpoints below which all are
	// used, healthy or not: checks that find most of a service ill may be wrong, and
	// the few that are left would not carry its load. The upstream is judged as a
	// whole. 50 is usual. Needs `health`. Default: 0, unhealthy endpoints are never used.
	PanicThreshold int `yaml:"panic_threshold"`
	// OutlierDetection ejects endpoints for what becomes of requests.
	OutlierDetection OutlierDetection `yaml:"outlier_detection"`
	// Limits bound the requests at a time. Default: none.
	Limits *UpstreamLimits `yaml:"limits"`
	// TLS is for protocol https.
	TLS *UpstreamTLS `yaml:"tls"`
	// ProxyProtocol is the version of the PROXY protocol, `v1` or `v2`, in which
	// each connection begins with the address of the client. Every request then
	// has a connection of its own, over HTTP/1.1 also with https; it does not go
	// together with h2c. Checks say that they come for nobody. Default: none.
	ProxyProtocol string `yaml:"proxy_protocol"`
	// Timeouts end attempts that are too slow.
	Timeouts UpstreamTimeouts `yaml:"timeouts"`
	// MaxIdle is how many idle connections are kept to one endpoint. Default: 64.
	MaxIdle int `yaml:"max_idle"`
	// MaxAge is how long connections are used, less up to a tenth: new ones are
	// opened little by little in the tenth before that, so that changes of DNS and of
	// what balances behind an address are followed, and each old one is closed when
	// it is idle. At least 1s; 0 is for ever. Default: 1h.
	MaxAge time.Duration `yaml:"max_age"`
	// Zone prefers the endpoints that are near. Default: none, all zones are alike.
	Zone *Zone `yaml:"zone"`
	// SlowStart is the time over which an endpoint that joins the others, or comes
	// back healthy, gets from 10 % of its weight to all of it, in ten equal steps.
	// The endpoints that are there at the start have their whole weight at once.
	// At least 1s. Default: off.
	SlowStart time.Duration `yaml:"slow_start"`
}

// Arm selects endpoints by label. All given conditions must hold.
type Arm struct {
	// Tag that the endpoint must have.
	Tag string `yaml:"tag"`
	// Meta that the endpoint must have, key by key.
	Meta map[string]string `yaml:"meta"`
}

// Zone keeps requests near: only healthy endpoints of the preferred zone get them
// as long as both conditions hold, and all healthy endpoints by their weights as
// soon as one does not. Each arm is judged by its own endpoints. An endpoint
// whose connection fails is made up for by those of other zones too.
type Zone struct {
	// Prefer is the zone of the gateway, as discovery calls it; `${ZONE:-}` takes
	// it from the environment. Empty prefers none. Required.
	Prefer string `yaml:"prefer,required"`
	// MinEndpoints is how many endpoints of the zone must be healthy. Default: 2.
	MinEndpoints int `yaml:"min_endpoints"`
	// MinHealthy is the share of the zone's endpoints, by weight, that must be
	// healthy, 0 to 1. Default: 0.7.
	MinHealthy float64 `yaml:"min_healthy"`
}

// SetDefaults sets the values that the comments of the fields name.
func (z *Zone) SetDefaults() { z.MinEndpoints, z.MinHealthy = 2, 0.7 }

// Validate checks the numbers.
func (z *Zone) Validate() error {
	var f faults
	f.number("min_endpoints", z.MinEndpoints, 1, 10_000)
	if !(z.MinHealthy >= 0 && z.MinHealthy <= 1) { // not NaN either
		f.at("min_healthy", "%v is not between 0 and 1; 0.7 is 70 %%", z.MinHealthy)
	}
	return f.err()
}

// UpstreamLimits bound what an upstream gets from this gateway at a time. A
// request counts from the choice of its endpoint to the end of its answer, also
// one of many on a connection of HTTP/2; streams and upgraded connections count
// for as long as they last. Endpoints with room are preferred to full ones.
// When all are full, requests wait in the order of arrival.
type UpstreamLimits struct {
	// RequestsPerEndpoint is how many requests may be on their way at one endpoint. Required.
	RequestsPerEndpoint int `yaml:"requests_per_endpoint,required"`
	// Queue is how many requests may wait for the upstream. Those beyond it are
	// answered with 503 at once. 0 lets none wait. Default: 100.
	Queue int `yaml:"queue"`
	// QueueTimeout is the longest wait, after which the answer is 503. Default: 1s.
	QueueTimeout time.Duration `yaml:"queue_timeout"`
}

// UpstreamTimeouts bound how long an upstream may take.
type UpstreamTimeouts struct {
	// Connect is the time for a new connection. Default: 2s.
	Connect time.Duration `yaml:"connect"`
	// TLSHandshake is the time for the handshake of a new connection. Default: 5s.
	TLSHandshake time.Duration `yaml:"tls_handshake"`
	// Response is the time from the last byte of the request to the head of the
	// answer. Not for gRPC, SSE and upgraded connections. Default: 30s.
	Response time.Duration `yaml:"response"`
	// BodyIdle is the longest pause in the body of an answer. Not for gRPC, SSE and upgraded connections. Default: 60s.
	BodyIdle time.Duration `yaml:"body_idle"`
	// StreamIdle is the longest pause of gRPC, SSE and upgraded connections, both ways. Default: 1h.
	StreamIdle time.Duration `yaml:"stream_idle"`
	// Idle is how long an unused connection is kept. It must be shorter than the upstream's own. Default: 4s.
	Idle time.Duration `yaml:"idle"`
}

// SetDefaults sets the values that the comments of the fields name.
func (u *Upstream) SetDefaults() { u.Protocol, u.MaxIdle, u.MaxAge = "http", 64, time.Hour }

// SetDefaults sets the values that the comments of the fields name.
func (l *UpstreamLimits) SetDefaults() { l.Queue, l.QueueTimeout = 100, time.Second }

// SetDefaults sets the values that the comments of the fields name.
func (t *UpstreamTimeouts) SetDefaults() {
	*t = UpstreamTimeouts{
		Connect: 2 * time.Second, TLSHandshake: 5 * time.Second, Response: 30 * time.Second,
		BodyIdle: 60 * time.Second, StreamIdle: time.Hour, Idle: 4 * time.Second,
	}
}

// Validate checks what an upstream says of itself.
func (u *Upstream) Validate() error {
	var f faults
	f.oneOf("protocol", u.Protocol, "http", "https", "h2c")
	if u.TLS != nil && u.Protocol != "https" {
		f.at("tls", "needs protocol: https")
	}
	if u.ProxyProtocol != "" {
		f.oneOf("proxy_protocol", u.ProxyProtocol, "v1", "v2")
		if u.Protocol == "h2c" {
			f.at("proxy_protocol", "h2c shares a connection between clients; use protocol: http or https")
		}
	}
	switch {
	case u.PanicThreshold != 0 && u.Health == nil:
		f.at("panic_threshold", "needs health: what outlier_detection ejects is bounded by its max_ejection_percent")
	default:
		f.number("panic_threshold", u.PanicThreshold, 0, 100)
	}
	if u.Health != nil && u.Health.GRPC != nil && (u.Protocol == "http" || u.ProxyProtocol != "") {
		f.at("health.grpc", "needs HTTP/2: protocol: h2c or https, and no proxy_protocol")
	}
	if u.Host != "" {
		if err := checkHostPort(u.Host); err != nil {
			f.at("host", "%w", err)
		}
	}
	for name := range u.Arms {
		if !nameForm.MatchString(name) {
			f.at("arms."+name, "%s", badName(name))
		}
	}
	f.number("max_idle", u.MaxIdle, 1, 100_000)
	if u.MaxAge != 0 {
		f.time("max_age", u.MaxAge, time.Second)
	}
	if u.SlowStart != 0 {
		f.time("slow_start", u.SlowStart, time.Second)
	}
	return f.err()
}

// Validate refuses an arm without a condition: it would be the whole upstream.
func (a *Arm) Validate() error {
	if a.Tag == "" && len(a.Meta) == 0 {
		return kind.At("", "an arm needs a tag or meta")
	}
	return nil
}

// Validate checks the numbers.
func (l *UpstreamLimits) Validate() error {
	var f faults
	f.number("requests_per_endpoint", l.RequestsPerEndpoint, 1, 1_000_000)
	f.number("queue", l.Queue, 0, 100_000)
	f.time("queue_timeout", l.QueueTimeout, time.Millisecond)
	return f.err()
}

// Validate checks that every time has an end.
func (t *UpstreamTimeouts) Validate() error {
	var f faults
	f.time("connect", t.Connect, 1)
	f.time("tls_handshake", t.TLSHandshake, 1)
	f.time("response", t.Response, 1)
	f.time("body_idle", t.BodyIdle, 1)
	f.time("stream_idle", t.StreamIdle, 1)
	f.time("idle", t.Idle, 1)
	return f.err()
}
