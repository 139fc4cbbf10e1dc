package middleware_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// limitCase runs f in a bubble, in which no time passes unless f lets it.
func limitCase(t *testing.T, name string, f func(t *testing.T, env middleware.Env, to *middlewaretest.Cluster)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			to := middlewaretest.NewCluster("orders")
			f(t, middlewaretest.Env(t, to), to)
		})
	})
}

// caller is who sends a request.
type caller struct {
	client, subject string
}

// asks sends one request.
func asks(t *testing.T, env middleware.Env, step gateway.Step, request string, c caller) middlewaretest.Answer {
	t.Helper()
	x := &gateway.Exchange{Subject: c.subject}
	if c.client != "" {
		x.Client = netip.MustParseAddr(c.client)
	}
	return middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), x)
}

// passes is how many of n requests pass.
func passes(t *testing.T, env middleware.Env, step gateway.Step, n int) (passed int) {
	t.Helper()
	for i := range n {
		switch a := asks(t, env, step, "GET /", caller{client: client4}); {
		case a.Status == 200 && a.Sent != nil:
			passed++
		case a.Status != 429 || a.Exchange.Err.Reason != "rate_limited" || a.Sent != nil:
			t.Fatalf("request %d: %d %+v", i, a.Status, a.Exchange.Err)
		}
	}
	return passed
}

func wantHeader(t *testing.T, a middlewaretest.Answer, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, name := range []string{"Retry-After", "RateLimit-Policy", "RateLimit", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"} {
		if v := a.Header.Get(name); v != "" {
			got[name] = v
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// wantMetric looks for a line of a scrape.
func wantMetric(t *testing.T, env middleware.Env, line string) {
	t.Helper()
	w := httptest.NewRecorder()
	env.Process.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
		t.Errorf("no %s among the metrics", line)
	}
}

func TestRateLimitAnswers(t *testing.T) {
	both := "rate_limit: {limits: [{rate: 10/s, burst: 2}, {rate: 100/d}], headers: both, announce: true}"
	limitCase(t, "of both kinds", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, both)
		const policy = `"per-second";q=2;w=1, "per-day";q=100;w=86400`
		wantHeader(t, asks(t, env, step, "GET /", caller{client: client4}), map[string]string{
			"RateLimit-Policy": policy, "RateLimit": `"per-second";r=1;t=1, "per-day";r=99;t=864`,
			"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "1",
		})
		asks(t, env, step, "GET /", caller{client: client4})
		a := asks(t, env, step, "GET /", caller{client: client4})
		wantHeader(t, a, map[string]string{
			"Retry-After": "1", "RateLimit-Policy": policy, "RateLimit": `"per-second";r=0;t=1, "per-day";r=98;t=1728`,
			"X-RateLimit-Limit": "2", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1",
		})
		if a.Status != 429 || a.Header.Get("Content-Type") != "application/problem+json" || a.Exchange.Err.Cause != gateway.CauseClient {
			t.Errorf("%d %v %+v", a.Status, a.Header, a.Exchange.Err)
		}
	})
	limitCase(t, "not without being asked", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/m}")
		wantHeader(t, asks(t, env, step, "GET /", caller{client: client4}), map[string]string{})
		wantHeader(t, asks(t, env, step, "GET /", caller{client: client4}), map[string]string{
			"Retry-After": "60", "RateLimit-Policy": `"per-minute";q=1;w=60`, "RateLimit": `"per-minute";r=0;t=60`,
		})
	})
	limitCase(t, "none", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, headers: none}")
		asks(t, env, step, "GET /", caller{client: client4})
		wantHeader(t, asks(t, env, step, "GET /", caller{client: client4}), map[string]string{"Retry-After": "3600"})
	})
	limitCase(t, "gRPC", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/s}")
		asks(t, env, step, "GET /", caller{client: client4})
		r := middlewaretest.Request(t, "POST /orders.v1.Orders/Get\nContent-Type: application/grpc")
		r.ProtoMajor = 2
		a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{Client: netip.MustParseAddr(client4)})
		if a.Status != 200 || a.Header.Get("Grpc-Status") != "8" {
			t.Errorf("%d %v, want RESOURCE_EXHAUSTED", a.Status, a.Header)
		}
	})
	limitCase(t, "never waits, and what it says is true", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 10/m, burst: 3}")
		start := time.Now()
		if n := passes(t, env, step, 10); n != 3 || time.Since(start) != 0 {
			t.Errorf("%d pass in %s, want 3 at once", n, time.Since(start))
		}
		after, _ := strconv.Atoi(asks(t, env, step, "GET /", caller{client: client4}).Header.Get("Retry-After"))
		<-time.After(time.Duration(after)*time.Second - time.Second)
		if n := passes(t, env, step, 1); n != 0 {
			t.Error("passes a second before the time")
		}
		<-time.After(time.Second)
		if n := passes(t, env, step, 2); n != 1 {
			t.Errorf("%d pass at the time, want 1", n)
		}
	})
}

func TestRateLimitCost(t *testing.T) {
	limitCase(t, "fixed", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/s, burst: 10, cost: 3}")
		if n := passes(t, env, step, 10); n != 3 {
			t.Errorf("%d pass, want 3", n)
		}
	})
	cost := func(value, want string) {
		t.Helper()
		limitCase(t, "told by the answer: "+value, func(t *testing.T, env middleware.Env, to *middlewaretest.Cluster) {
			to.Handle(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Cost", value) })
			step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/s, burst: 100, cost: 2, cost_header: x-cost, max_debt: 50, announce: true}")
			wantHeader(t, asks(t, env, step, "GET /", caller{client: client4}), map[string]string{
				"RateLimit-Policy": `"per-second";q=100;w=100`, "RateLimit": `"per-second";` + want,
			})
		})
	}
	cost("30", "r=70;t=30")
	cost("1", "r=98;t=2")
	cost("120", "r=0;t=120")
	cost("1000000000000000000", "r=0;t=150")
	cost("-5", "r=98;t=2")
	cost("much", "r=98;t=2")
	cost("99999999999999999999", "r=98;t=2")
}

func TestRateLimitDryRun(t *testing.T) {
	limitCase(t, "passes and counts", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/s, dry_run: true}")
		if n := passes(t, env, step, 10); n != 10 {
			t.Errorf("%d pass, want 10", n)
		}
		wantMetric(t, env, `pithead_rate_limited_total{limit="per-second",result="dry_run",route="test"} 9`)
	})
	limitCase(t, "refuses and counts", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {limits: [{name: few, rate: 1/s}, {rate: 50/h}]}")
		step.Start()
		step.Start() // once for each route
		if n := passes(t, env, step, 10); n != 1 {
			t.Errorf("%d pass, want 1", n)
		}
		wantMetric(t, env, `pithead_rate_limited_total{limit="few",result="refused",route="test"} 9`)
		wantMetric(t, env, `pithead_rate_limit_keys{limiter="route/test/middleware/0"} 1`)
		wantMetric(t, env, `pithead_rate_limit_crowded_total{limiter="route/test/middleware/0"} 0`)
	})
}

func TestRateLimitMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("rate_limit: {}", "1:1: has no limit; give a rate, for example 100/s")
	f("rate_limit: {rate: 100}", `1:20: "100" is no rate; write for example 100/s, 10/m, 1000/h or 5000/d`)
	f("rate_limit: {rate: 0/s}", `1:20: "0/s" is no rate; write for example 100/s, 10/m, 1000/h or 5000/d`)
	f("rate_limit: {rate: 2000000/s}", "1:20: a rate is at most 1000000/s")
	f("rate_limit: {rate: 1/d, burst: 1000}", "1:32: a burst of 1000 takes more than a year to come back")
	f("rate_limit: {rate: 1/s, burst: -1}", "1:32: a burst is at least 1")
	f("rate_limit: {rate: 1/s, limits: [{rate: 1/m}]}", "1:25: give either limits or rate and burst")
	f("rate_limit: {limits: [{burst: 5}]}", "1:23: has no rate; give one, for example 100/s")
	f("rate_limit: {limits: [{rate: 1/s}, {rate: 5/s}]}", "1:36: a second limit is called per-second; give it another name")
	f("rate_limit: {limits: [{name: A b, rate: 1/s}]}", `1:30: "A b" is no name; it has lower-case letters, digits, - and _`)
	f("rate_limit: {limits: [{rate: 1/s}, {rate: 1/m}, {rate: 1/h}, {rate: 1/d}, {name: x, rate: 2/d}]}", "1:14: at most 4")
	f("rate_limit: {rate: 1/s, cost: 5}", "1:31: is more than the burst of per-second, so that no request could pass")
	f("rate_limit: {rate: 1/s, cost: 0}", "1:31: must be at least 1")
	f("rate_limit: {rate: 1/s, max_debt: 5}", "1:35: is of no use without a cost_header")
	f("rate_limit: {rate: 1/s, cost_header: x, max_debt: -5}", "1:51: a debt is at least 0")
	f("rate_limit: {rate: 1/s, cost_header: x cost}", `1:38: "x cost" is no valid name`)
	f("rate_limit: {rate: 1/s, on_missing: pass}", `1:37: "pass" is none of client, reject, skip`)
	f("rate_limit: {rate: 1/s, headers: all}", `1:34: "all" is none of standard, legacy, both, none`)
	f("rate_limit: {rate: 1/s, headers: none, announce: true}", "1:50: is of no use without headers")
	f("rate_limit: {rate: 1/s, dry_run: true, announce: true}", "1:50: a dry run does not announce limits that it does not keep")
	f("rate_limit: {rate: 1/s, max_keys: 3}", "1:35: must be from 7 to 10000000")
	f("rate_limit: {rate: 1/s, ipv6_prefix: 0}", "1:38: must be from 1 to 128")
	f("rate_limit: {rate: 1/s, ipv4_prefix: 33}", "1:38: must be from 1 to 32")
	f("rate_limit: {rate: 1/s, key: user}", `1:30: "user" is nothing to limit by; write client, subject, route, host, all, header:NAME, cookie:NAME, query:NAME or claim:NAME`)
	f("rate_limit: {rate: 1/s, key: header}", `1:30: "header" names no header; write for example header:user`)
	f("rate_limit: {rate: 1/s, key: client:x}", `1:30: "client:x" takes no name; write client`)
	f("rate_limit: {rate: 1/s, key: {}}", "1:25: is empty; write for example client")
	f("rate_limit: {rate: 1/s, key: {header: a, cookie: b}}", "1:25: give one of header, cookie, query and claim; a list combines several")
	f("rate_limit: {rate: 1/s, key: {cookie: a b}}", `1:25: "a b" is no name of a cookie`)
	f("rate_limit: {rate: 1/s, key: []}", "1:25: is empty; write all for one bucket")
	f("rate_limit: {rate: 1/s, key: [host, all]}", "1:37: all is one bucket, beside which other words mean nothing")
	f("rate_limit: {rate: 1/s, key: [host, host]}", "1:37: host is there twice")
	f("rate_limit: {rate: 1/s, key: header:connection}", "1:30: the header Connection cannot be read here: it is not passed on from outside")
	f("rate_limit: {rate: 1/s, key: [client, header:x-api-key]}", "1:39: anybody can send another X-Api-Key with each request; write subject")
}

func TestRateLimitCostsNoAllocation(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for _, key := range []string{"client", "subject", "[route, host]", "header:x-user", "cookie:id", "query:q", "claim:org.tenant"} {
		step := middlewaretest.Build(t, env, "rate_limit: {limits: [{rate: 1000000/s}, {rate: 100000000/d}], key: "+key+"}")
		h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := middlewaretest.Request(t, "GET /?q=Some+value\nX-User: Ada Lovelace\nCookie: id=8f14e45f")
		r.URL.RawQuery = "q=Some"
		r = gateway.WithExchange(r, &gateway.Exchange{
			Client: netip.MustParseAddr(client4), Subject: "ada", Claims: gateway.Claims{"org": map[string]any{"tenant": "acme"}},
		})
		if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(nil, r) }); n != 0 {
			t.Errorf("key %s: %v allocations", key, n)
		}
	}
}

func BenchmarkRateLimit(b *testing.B) {
	env := middlewaretest.Env(b, middlewaretest.NewCluster("orders"))
	for _, key := range []string{"client", "subject", "header:x-user"} {
		step := middlewaretest.Build(b, env, "rate_limit: {rate: 1000000/s, burst: 1000000000000, key: "+key+"}")
		h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := middlewaretest.Request(b, "GET /\nX-User: 8f14e45f-ceea-467f-a8f2-3b1d6c2f9a01")
		r = gateway.WithExchange(r, &gateway.Exchange{Client: netip.MustParseAddr(client6), Subject: "8f14e45f-ceea-467f-a8f2-3b1d6c2f9a01"})
		b.Run(key, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					h.ServeHTTP(discardAnswer{}, r)
				}
			})
		})
	}
}

// discardAnswer takes what is written to it.
type discardAnswer struct{}

func (discardAnswer) Header() http.Header         { return http.Header{} }
func (discardAnswer) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discardAnswer) WriteHeader(int)             {}
