package middleware

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/kind"
)

// CircuitBreakerConfig stops sending requests to a service that fails, so that it can
// recover and nobody waits for it meanwhile. Requests get a 503 (`circuit_open`) with
// Retry-After at once, or what `fallback` says. `circuit_breaker` alone, with its
// defaults, is a good beginning.
//
//	circuit_breaker: {failure_ratio: 0.5, window: 10s, open: 10s}
//
// Closed, a breaker lets everything through and counts. A threshold that is passed
// opens it. After the time of `open`, a few requests go through as probes: if all
// of them succeed, a growing share of the requests follows during `recovery`; if
// one fails, the breaker is open again, for twice the time.
//
// It is attempts that count, those of a `retry` among them, when the last byte of
// the answer has come: a service that breaks off its answers fails too. No
// connection, no answer in time and a broken answer are failures; of whole answers, those with
// one of `codes` or `grpc`. What the client causes by leaving, by a broken body or by
// being slow counts neither way, and neither does what the gateway refuses.
//
// All routes that use a named block share its breakers. They survive a reload, with
// what they have counted, also if their settings change. `pithead breakers` and
// `/-/breakers` show them and can open or close them by hand. Of two blocks in `use`,
// the second one counts.
type CircuitBreakerConfig struct {
	// FailureRatio is the share of failures among the attempts of the window that opens
	// the breaker, up to 1; 0 leaves it out. Default: 0.5.
	FailureRatio float64 `yaml:"failure_ratio"`
	// Minimum is how many attempts there must be in the window before shares mean
	// something, 1 to 1000000. Default: 20.
	Minimum int `yaml:"minimum"`
	// Window is the time over which attempts are counted, 1s to 10m. It moves on by tenths. Default: 10s.
	Window time.Duration `yaml:"window"`
	// Consecutive is how many failures in a row open the breaker, whatever the minimum. Default: 0, which leaves it out.
	Consecutive int `yaml:"consecutive"`
	// Slow is how long a service may take for the head of an answer before the answer is slow.
	// Time in which the client is to send more does not count. Default: 2s.
	Slow time.Duration `yaml:"slow"`
	// SlowRatio is the share of slow answers among the attempts of the window that opens
	// the breaker, up to 1. With it, slow probes fail. Default: 0, which leaves it out.
	SlowRatio float64 `yaml:"slow_ratio"`
	// Codes are statuses of answers that are failures: one as `503`, several as `502-504`
	// or `5xx`. Default: 500, 502-504.
	Codes []StatusRange `yaml:"codes"`
	// GRPC are statuses of gRPC calls that are failures, wherever the answer has them. A call without a status counts as
	// `unknown`, and `deadline_exceeded` not if its caller has set a deadline shorter than `slow`.
	// Default: unknown, deadline_exceeded, internal, unavailable.
	GRPC []GRPCCode `yaml:"grpc"`
	// Open is how long the breaker is open for the first time, 100ms or more. Each failed probe doubles it. Up to a
	// fifth is taken off at random, so that not all gateways probe at once. Default: 10s.
	Open time.Duration `yaml:"open"`
	// MaxOpen is the longest time for which it is open. Default: 2m.
	MaxOpen time.Duration `yaml:"max_open"`
	// Probes are how many requests go through when that time is over, all of which must
	// succeed, 1 to 100. Default: 3.
	Probes int `yaml:"probes"`
	// ProbeTimeout is how long a probe may take before it has failed. A gRPC call, an
	// event stream or a WebSocket that has begun by then has succeeded. Default: 10s.
	ProbeTimeout time.Duration `yaml:"probe_timeout"`
	// Recovery is the time after the probes in which the share of requests that pass grows
	// from a tenth to all. `0s` lets all pass at once. Default: 10s.
	Recovery time.Duration `yaml:"recovery"`
	// Per says what has a breaker of its own: each `upstream`, each `arm` of a canary, each
	// `endpoint` of the upstream, or the `route`. Endpoints with an open breaker are passed
	// over while there are others; with a `retry`, clients hardly notice that one fails. Default: upstream.
	Per string `yaml:"per"`
	// Fallback is what becomes of requests while the breaker is open. Default: they get a 503.
	Fallback *CircuitFallback `yaml:"fallback"`
}

// CircuitFallback is one of these, or `cache` and one of the others for what it has not.
//
//	fallback: {cache: stale, respond: {status: 503, body: "back soon"}}
type CircuitFallback struct {
	// Cache is `stale` to give what the `cache` before this block in `use` has stored for the request, fresh or stale and
	// whatever its `stale_if_error` says. Answers with must-revalidate, proxy-revalidate, s-maxage or no-cache are not given
	// stale, and clients that ask for nothing stale do not get it. Default: none.
	Cache string `yaml:"cache"`
	// Upstream gets the requests instead. If it has an arm of the same name as the one that the
	// request was to go to, that arm does. Breakers do not count there. Default: none.
	Upstream string `yaml:"upstream"`
	// Respond is an answer for them, which no `cache` here stores. gRPC calls get the status `unavailable` instead.
	// Default: none.
	Respond *CircuitAnswer `yaml:"respond"`
}

// CircuitAnswer is a fixed answer.
type CircuitAnswer struct {
	// Status of the answer, 200 to 599. Default: 200.
	Status int `yaml:"status"`
	// Body is the text of the answer. Default: none.
	Body string `yaml:"body"`
	// ContentType of the body. Default: `text/plain; charset=utf-8`.
	ContentType string `yaml:"content_type"`
	// Headers are further headers of the answer. Default: none.
	Headers map[string]string `yaml:"headers"`
}

// SetDefaults is called before decoding.
func (a *CircuitAnswer) SetDefaults() { a.Status = 200 }

// breakerScopes are the words for what has a breaker of its own.
var breakerScopes = map[string]breaker.Per{
	"upstream": breaker.PerUpstream, "arm": breaker.PerArm, "endpoint": breaker.PerEndpoint, "route": breaker.PerRoute,
}

func (c CircuitBreakerConfig) settings() breaker.Settings {
	return breaker.Settings{
		Window: c.Window, Minimum: c.Minimum, FailureRatio: c.FailureRatio, Consecutive: c.Consecutive, Slow: c.Slow, SlowRatio: c.SlowRatio,
		Open: c.Open, MaxOpen: c.MaxOpen, Probes: c.Probes, ProbeTimeout: c.ProbeTimeout, Recovery: c.Recovery,
	}
}

// Validate checks what does not depend on the route.
func (c CircuitBreakerConfig) Validate() error {
	var errs []error
	within := func(path string, ok bool, want string, got any) {
		if !ok {
			errs = append(errs, kind.At(path, "%v is not %s", got, want))
		}
	}
	ratio := func(f float64) bool { return f >= 0 && f <= 1 } // not of NaN
	within("failure_ratio", ratio(c.FailureRatio), "from 0 to 1", c.FailureRatio)
	within("slow_ratio", ratio(c.SlowRatio), "from 0 to 1", c.SlowRatio)
	within("minimum", c.Minimum >= 1 && c.Minimum <= 1_000_000, "from 1 to 1000000", c.Minimum)
	within("window", c.Window >= time.Second && c.Window <= 10*time.Minute, "from 1s to 10m", c.Window)
	within("consecutive", c.Consecutive >= 0 && c.Consecutive <= 1_000_000, "from 0 to 1000000", c.Consecutive)
	within("slow", c.Slow > 0, "more than 0", c.Slow)
	within("open", c.Open >= 100*time.Millisecond, "100ms or more", c.Open)
	within("max_open", c.MaxOpen >= c.Open && c.MaxOpen <= 24*time.Hour, fmt.Sprintf("from open, %s, to 24h", c.Open), c.MaxOpen)
	within("probes", c.Probes >= 1 && c.Probes <= 100, "from 1 to 100", c.Probes)
	within("probe_timeout", c.ProbeTimeout >= 100*time.Millisecond, "100ms or more", c.ProbeTimeout)
	if c.FailureRatio == 0 && c.SlowRatio == 0 && c.Consecutive == 0 {
		errs = append(errs, kind.At("", "never opens; give failure_ratio, slow_ratio or consecutive"))
	}
	if _, ok := breakerScopes[c.Per]; !ok {
		errs = append(errs, kind.At("per", "%q is none of upstream, arm, endpoint, route", c.Per))
	}
	return errors.Join(errs...)
}

// Validate checks that there is one fallback, beside a cache.
func (f CircuitFallback) Validate() error {
	switch {
	case f.Cache != "" && f.Cache != "stale":
		return kind.At("cache", "%q is not stale, the only word for it", f.Cache)
	case f.Cache == "" && f.Upstream == "" && f.Respond == nil:
		return kind.At("", "names no fallback; give cache, upstream or respond")
	case f.Upstream != "" && f.Respond != nil:
		return kind.At("respond", "upstream and respond exclude each other")
	}
	return nil
}

// Validate checks that it can be sent.
func (a CircuitAnswer) Validate() error {
	return RespondConfig{Status: a.Status, Body: a.Body, ContentType: a.ContentType, Headers: a.Headers}.Validate()
}

// describe says in words what c does.
func (c CircuitBreakerConfig) describe() string {
	var when []string
	if c.FailureRatio > 0 {
		when = append(when, fmt.Sprintf("%g%% of %d or more attempts within %s fail", 100*c.FailureRatio, c.Minimum, c.Window))
	}
	if c.Consecutive > 0 {
		when = append(when, fmt.Sprintf("%d in a row fail", c.Consecutive))
	}
	if c.SlowRatio > 0 {
		when = append(when, fmt.Sprintf("%g%% of %d or more attempts within %s take longer than %s", 100*c.SlowRatio, c.Minimum, c.Window, c.Slow))
	}
	text := fmt.Sprintf("opens for %s when %s, per %s", c.Open, strings.Join(when, " or "), c.Per)
	f := c.Fallback
	if f == nil {
		f = &CircuitFallback{}
	}
	if f.Cache != "" {
		text += "; then what the cache has, else"
	} else {
		text += "; then"
	}
	switch {
	case f.Upstream != "":
		return text + " to " + f.Upstream
	case f.Respond != nil:
		return text + fmt.Sprintf(" answers %d", f.Respond.Status)
	}
	return text + " 503 (circuit_open)"
}
