package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// circuitOf is the circuit that a block gives to a request, and the exchange.
func circuitOf(t *testing.T, block string) (gateway.Circuit, *gateway.Exchange) {
	t.Helper()
	env, _ := breakerEnv(t)
	x := send(t, env, middlewaretest.Build(t, env, block), "GET http://a.example/", new(gateway.Exchange)).Exchange
	return x.Circuit, x
}

func breakerEnv(t *testing.T) (env middleware.Env, old *middlewaretest.Cluster) {
	t.Helper()
	old = middlewaretest.NewCluster("orders-old", "canary")
	return middlewaretest.Env(t, middlewaretest.NewCluster("orders", "stable", "canary"), old), old
}

func TestCircuitBreakerMistakes(t *testing.T) {
	env, _ := breakerEnv(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
	f("circuit_breaker: {failure_ratio: 50}", "1:34: 50 is not from 0 to 1")
	f("circuit_breaker: {slow_ratio: -0.1}", "1:31: -0.1 is not from 0 to 1")
	f("circuit_breaker: {minimum: 0}", "1:28: 0 is not from 1 to 1000000")
	f("circuit_breaker: {window: 500ms}", "1:27: 500ms is not from 1s to 10m")
	f("circuit_breaker: {consecutive: -1}", "1:32: -1 is not from 0 to 1000000")
	f("circuit_breaker: {slow: 0s}", "1:25: 0s is not more than 0")
	f("circuit_breaker: {open: 10ms}", "1:25: 10ms is not 100ms or more")
	f("circuit_breaker: {open: 1m, max_open: 30s}", "1:39: 30s is not from open, 1m0s, to 24h")
	f("circuit_breaker: {probes: 0}", "1:27: 0 is not from 1 to 100")
	f("circuit_breaker: {probe_timeout: 0s}", "1:34: 0s is not 100ms or more")
	f("circuit_breaker: {recovery: -1s}", "1:29: the duration -1s is negative")
	f("circuit_breaker: {failure_ratio: 0}", "1:1: never opens; give failure_ratio, slow_ratio or consecutive")
	f("circuit_breaker: {per: host}", `1:24: "host" is none of upstream, arm, endpoint, route`)
	f("circuit_breaker: {fallback: {}}", "1:19: names no fallback; give cache, upstream or respond")
	f("circuit_breaker: {fallback: {cache: fresh}}", `1:37: "fresh" is not stale, the only word for it`)
	f("circuit_breaker: {fallback: {upstream: orders-old, respond: {}}}", "1:52: upstream and respond exclude each other")
	f("circuit_breaker: {fallback: {respond: {status: 99}}}", "1:48: 99 is not from 200 to 599")
	f("circuit_breaker: {fallback: {upstream: nowhere}}", `1:40: unknown upstream "nowhere"`)
	f("circuit_breaker: {fallback: {upstream: orders}}", "1:40: is where the route goes already; name another upstream")
	env.To = nil
	f("circuit_breaker", "1:1: circuit_breaker needs a route with an upstream (`to:`)")
}

func TestCircuitBreakerCounts(t *testing.T) {
	usual, _ := circuitOf(t, "circuit_breaker")
	own, _ := circuitOf(t, "circuit_breaker: {codes: [429, 5xx], grpc: [resource_exhausted, deadline_exceeded], slow: 1s}")
	for _, c := range []struct{ status, usual, own int }{{200, 0, 0}, {404, 0, 0}, {429, 0, 1}, {499, 0, 0}, {500, 1, 1}, {501, 0, 1}, {503, 1, 1}, {504, 1, 1}} {
		if got := usual.FailedStatus(c.status); got != (c.usual == 1) {
			t.Errorf("%d by default: %t", c.status, got)
		}
		if got := own.FailedStatus(c.status); got != (c.own == 1) {
			t.Errorf("%d with settings: %t", c.status, got)
		}
	}
	for _, c := range []struct {
		name       string
		code       int
		took       time.Duration
		own        bool
		usual, set bool
	}{
		{"ok", 0, 0, false, false, false},
		{"cancelled", 1, 0, true, false, false},
		{"unknown", 2, 0, false, true, false},
		{"resource_exhausted", 8, 0, false, false, true},
		{"internal", 13, 0, true, true, false},
		{"unavailable", 14, 0, false, true, false},
		{"the service's deadline", 4, 0, false, true, true},
		{"the caller's deadline", 4, time.Second - 1, true, false, false},
		{"the caller's deadline, when it was long", 4, 2 * time.Second, true, true, true},
	} {
		if got := usual.FailedGRPC(c.code, c.took, c.own); got != c.usual {
			t.Errorf("%s by default: %t", c.name, got)
		}
		if got := own.FailedGRPC(c.code, c.took, c.own); got != c.set {
			t.Errorf("%s with settings: %t", c.name, got)
		}
	}
}

func TestCircuitBreakerRefusal(t *testing.T) {
	circuit, x := circuitOf(t, "circuit_breaker: {consecutive: 2, open: 10s}")
	for range 2 {
		if !circuit.Passes(x, "orders", nil) {
			t.Fatal("refused before anything has failed")
		}
		a, _ := circuit.Admit(x, "orders", nil)
		a.Ended(gateway.OutcomeBad, 0)
	}
	if circuit.Passes(x, "orders", nil) {
		t.Fatal("not refused")
	}
	if !circuit.Passes(x, "orders-old", nil) {
		t.Error("another upstream has the same breaker")
	}
	e := circuit.Refused(x, "orders")
	if e.Status != 503 || e.Reason != "circuit_open" || e.RetryAfter < 7*time.Second || e.RetryAfter > 10*time.Second {
		t.Errorf("refused with %d %s, Retry-After %s", e.Status, e.Reason, e.RetryAfter)
	}
	if circuit.Instead(x) != nil {
		t.Error("there is a fallback")
	}
}

func TestCircuitBreakerFallsBackToAnUpstream(t *testing.T) {
	env, old := breakerEnv(t)
	old.Handle(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	step := middlewaretest.Build(t, env, "circuit_breaker: {fallback: {upstream: orders-old}}")
	for subset, want := range map[string]string{"": "", "canary": "canary", "stable": ""} {
		x := send(t, env, step, "GET http://a.example/", &gateway.Exchange{Subset: subset, Arm: subset, Session: 7}).Exchange
		r := gateway.WithExchange(httptest.NewRequest("POST", "http://a.example/", strings.NewReader("the body")), x)
		res, err := x.Circuit.Instead(x).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		if string(body) != "the body" || x.Upstream != "orders-old" || x.Cluster != gateway.Cluster(old) || x.Circuit != nil || x.Session != 0 || x.Subset != want {
			t.Errorf("subset %q: body %q, exchange %+v", subset, body, x)
		}
	}
}

func TestCircuitBreakerAnswersByItself(t *testing.T) {
	circuit, x := circuitOf(t, `circuit_breaker: {fallback: {respond: {status: 203, body: "[]", content_type: application/json, headers: {x-fallback: "yes"}}}}`)
	for _, method := range []string{"GET", "HEAD"} {
		res, err := circuit.Instead(x).RoundTrip(httptest.NewRequest(method, "http://a.example/", http.NoBody))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		want := http.Header{"Content-Type": {"application/json"}, "X-Fallback": {"yes"}, "Content-Length": {"2"}, "X-Content-Type-Options": {"nosniff"}}
		if diff := cmp.Diff(want, res.Header); diff != "" || res.StatusCode != 203 || (string(body) == "[]") != (method == "GET") {
			t.Errorf("%s: %d %q %s", method, res.StatusCode, body, diff)
		}
	}
	x.Request = httptest.NewRequest("POST", "http://a.example/a.B/C", http.NoBody)
	x.Request.ProtoMajor, x.Request.Header = 2, http.Header{"Content-Type": {"application/grpc"}}
	if circuit.Instead(x) != nil {
		t.Error("a gRPC call gets an answer that means nothing to it")
	}
}

func TestCircuitBreakerScopes(t *testing.T) {
	x := &gateway.Exchange{Route: "r1", Arm: "canary"}
	arm, route := &gateway.Exchange{Route: "r1", Arm: "stable"}, &gateway.Exchange{Route: "r2", Arm: "canary"}
	a, b := &gateway.Endpoint{Target: gateway.Target{Addr: "10.0.0.1:1"}}, &gateway.Endpoint{Target: gateway.Target{Addr: "10.0.0.2:1"}}
	for _, c := range []struct {
		per                      string
		upstream, arm, ep, route bool // whether another one passes
	}{
		{"upstream", true, false, false, false},
		{"arm", true, true, false, false},
		{"endpoint", true, false, true, false},
		{"route", false, false, false, true},
	} {
		circuit, _ := circuitOf(t, "circuit_breaker: {consecutive: 1, per: "+c.per+"}")
		admitted, _ := circuit.Admit(x, "orders", a)
		admitted.Ended(gateway.OutcomeBad, 0)
		got := []bool{
			circuit.Passes(x, "orders", a), circuit.Passes(x, "invoices", a), circuit.Passes(arm, "orders", a),
			circuit.Passes(x, "orders", b), circuit.Passes(route, "orders", a),
		}
		if diff := cmp.Diff([]bool{false, c.upstream, c.arm, c.ep, c.route}, got); diff != "" {
			t.Errorf("per %s: itself, upstream, arm, endpoint, route: %s", c.per, diff)
		}
		if circuit.PerEndpoint() != (c.per == "endpoint") {
			t.Errorf("per %s: PerEndpoint %t", c.per, circuit.PerEndpoint())
		}
	}
}

func TestCircuitBreakerExplains(t *testing.T) {
	for block, want := range map[string]string{
		"circuit_breaker": "opens for 10s when 50% of 20 or more attempts within 10s fail, per upstream; then 503 (circuit_open)",
		"circuit_breaker: {failure_ratio: 0, consecutive: 5, slow_ratio: 0.8, fallback: {upstream: orders-old}}": "opens for 10s when 5 in a row fail or 80% of 20 or more attempts within 10s take longer than 2s, per upstream; then to orders-old",
		"circuit_breaker: {per: route, fallback: {respond: {}}}":                                                 "opens for 10s when 50% of 20 or more attempts within 10s fail, per route; then answers 200",
		"circuit_breaker: {fallback: {cache: stale}}":                                                            "opens for 10s when 50% of 20 or more attempts within 10s fail, per upstream; then what the cache has, else 503 (circuit_open)",
		"circuit_breaker: {fallback: {cache: stale, upstream: orders-old}}":                                      "opens for 10s when 50% of 20 or more attempts within 10s fail, per upstream; then what the cache has, else to orders-old",
	} {
		env, _ := breakerEnv(t)
		step := middlewaretest.Build(t, env, block)
		if got := step.Explain(httptest.NewRequest("GET", "/", http.NoBody), &gateway.Exchange{Upstream: "orders"}); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", block, got, want)
		}
	}
}
