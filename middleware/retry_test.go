package middleware_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// policyOf is the policy that a block gives to a request.
func policyOf(t *testing.T, block string) *gateway.Retry {
	t.Helper()
	env, _ := orders(t)
	return send(t, env, middlewaretest.Build(t, env, block), "GET http://a.example/", new(gateway.Exchange)).Exchange.Retry
}

func TestRetryPolicy(t *testing.T) {
	const all = gateway.RetryConnectFailure | gateway.RetryReset | gateway.RetryTimeout
	want := gateway.Retry{
		Attempts: 2, On: all, Statuses: []gateway.StatusRange{{From: 502, To: 504}},
		Methods: []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}, Body: 64 << 10,
		BackoffBase: 25 * time.Millisecond, BackoffMax: 250 * time.Millisecond,
		Budget: gateway.RetryBudget{Percent: 20, Min: 3, Window: 10 * time.Second}, LeaveCanary: true,
	}
	f := func(name, block string, change func(*gateway.Retry)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			want := want
			change(&want)
			if diff := cmp.Diff(&want, policyOf(t, block)); diff != "" {
				t.Error(diff)
			}
		})
	}
	f("defaults", "retry", func(*gateway.Retry) {})
	f("statuses", "retry: {codes: [429, 500-502, 5xx]}", func(p *gateway.Retry) {
		p.Statuses = []gateway.StatusRange{{From: 429, To: 429}, {From: 500, To: 502}, {From: 500, To: 599}}
	})
	f("grpc", "retry: {grpc: [unavailable, resource_exhausted, cancelled]}", func(p *gateway.Retry) { p.GRPC = []int{14, 8, 1} })
	f("conditions", "retry: {on: [reset]}", func(p *gateway.Retry) { p.On = gateway.RetryReset })
	f("per-try timeout only", "retry: {attempts: 0, per_try_timeout: 1s}", func(p *gateway.Retry) { p.Attempts, p.PerTry = 0, time.Second })
	f("canaries", "retry: {leave_canary: false}", func(p *gateway.Retry) { p.LeaveCanary = false })
	f("hedge", "retry: {hedge: {}}", func(p *gateway.Retry) { p.Hedge = &gateway.Hedge{Share: 0.95, Least: 10 * time.Millisecond, Max: 1} })
	f("hedge by share", "retry: {hedge: {after: p99.9, minimum: 1ms, max: 2}}", func(p *gateway.Retry) {
		p.Hedge = &gateway.Hedge{Share: 0.9990000000000001, Least: time.Millisecond, Max: 2}
	})
	f("hedge alone, by time", "retry: {attempts: 0, hedge: {after: 50ms}}", func(p *gateway.Retry) {
		p.Attempts, p.Hedge = 0, &gateway.Hedge{After: 50 * time.Millisecond, Least: 10 * time.Millisecond, Max: 1}
	})
	f("everything else", "retry: {methods: [GET, POST], body: 1MiB, backoff: {min: 5ms, base: 0s, max: 1s}, budget: {percent: 50, min: 10, window: 60s}}",
		func(p *gateway.Retry) {
			p.Methods, p.Body, p.BackoffMin, p.BackoffBase, p.BackoffMax = []string{"GET", "POST"}, 1<<20, 5*time.Millisecond, 0, time.Second
			p.Budget = gateway.RetryBudget{Percent: 50, Min: 10, Window: time.Minute}
		})
}

func TestRetryMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
	f("retry: {attempts: 11}", "1:19: 11 is not from 0 to 10")
	f("retry: {attempts: 0}", "1:19: 0 does nothing without per_try_timeout or hedge")
	f("retry: {hedge: {after: p40}}", `1:24: "p40" is no share of answers; write p50 to p99.9, for example p95`)
	f("retry: {hedge: {after: 2h}}", `1:24: "2h" is neither a share of answers, as p95, nor a time of 1ms to 1m`)
	f("retry: {hedge: {after: 20ms, minimum: 30ms, max: 4}}", "1:39: 30ms is more than after, 20ms, which is a fixed time", "1:50: 4 is not from 1 to 3")
	f("retry: {on: [], codes: []}", "1:1: retries nothing; give on, codes or grpc")
	f("retry: {on: [5xx]}", `1:14: "5xx" is no failure; write connect_failure, reset or timeout, and statuses under codes or grpc`)
	f("retry: {codes: [50]}", `1:17: "50" is no error status; write for example 503, 502-504 or 5xx`)
	f("retry: {codes: [504-502]}", `1:17: "504-502" is no error status; write for example 503, 502-504 or 5xx`)
	f("retry: {codes: [2xx]}", `1:17: "2xx" is no error status; write for example 503, 502-504 or 5xx`)
	f("retry: {codes: [502-]}", `1:17: "502-" is no error status; write for example 503, 502-504 or 5xx`)
	f("retry: {codes: [5xx-504]}", `1:17: "5xx-504" is no error status; write for example 503, 502-504 or 5xx`)
	f("retry: {grpc: [ok]}", `1:16: "ok" is no failure of gRPC; write for example unavailable or resource_exhausted`)
	f("retry: {methods: [get]}", `1:19: "get" is no method; write for example POST`)
	f("retry: {methods: [CONNECT]}", `1:19: CONNECT is never passed on`)
	f("retry: {body: 17MiB}", "1:15: 17MiB is kept for every request on its way; at most 16MiB")
	f("retry: {backoff: {base: 1s}}", "1:9: max: 250ms is less than base, 1s")
	f("retry: {budget: {percent: 101, min: -1, window: 1500ms}}",
		"1:27: 101 is not from 0 to 100", "1:37: -1 is not from 0 to 1000000", "1:49: 1.5s is not 1s to 60s in whole seconds")
	f("retry: {budget: {percent: 0, min: 0}}", "1:9: allows no retries; give percent or min")
}

func TestRetryExplains(t *testing.T) {
	env, _ := orders(t)
	const budget = "; waits up to 25ms, then to 250ms; budget 20% of requests or 3 within 10s"
	f := func(block, request, want string) {
		t.Helper()
		x := new(gateway.Exchange)
		r := gateway.WithExchange(middlewaretest.Request(t, request), x)
		if got := middlewaretest.Build(t, env, block).Explain(r, x); got != want {
			t.Errorf("%s: %s\nwant %s", block, got, want)
		}
		if x.Retry == nil {
			t.Error("the exchange has no policy")
		}
	}
	const plain = "up to 2 more attempts on connect_failure, reset, timeout, 502-504"
	f("retry", "GET http://a.example/", plain+budget)
	f("retry", "POST http://a.example/", plain+budget+"; POST only while nothing of it has left")
	f("retry", "GET http://a.example/\nUpgrade: websocket", plain+budget+"; this handshake only while nothing of it has left")
	f("retry: {on: [], codes: [503], grpc: [unavailable], per_try_timeout: 2s}", "GET http://a.example/",
		"up to 2 more attempts on 503, grpc unavailable; each attempt within 2s"+budget)
	f("retry: {attempts: 0, per_try_timeout: 1s}", "POST http://a.example/", "each attempt within 1s")
	f("retry: {attempts: 0, hedge: {}}", "GET http://a.example/", "1 more beside one that takes longer than p95")
	f("retry: {per_try_timeout: 1s, hedge: {after: 50ms}}", "GET http://a.example/",
		plain+"; each attempt within 1s; 1 more beside one that takes longer than 50ms"+budget)
	f("retry: {backoff: {min: 1s}}", "GET http://a.example/", plain+strings.Replace(budget, "waits up", "waits 1s and up", 1))
}

// The second of two blocks counts, and none of them costs anything.
func TestRetryInAChain(t *testing.T) {
	env, _ := orders(t)
	x := new(gateway.Exchange)
	h := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, block := range []string{"retry: {attempts: 5}", "retry"} { // from the inside out
		h = middlewaretest.Build(t, env, block).Wrap(h)
	}
	r := gateway.WithExchange(middlewaretest.Request(t, "GET http://a.example/"), x)
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(nil, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if x.Retry.Attempts != 5 {
		t.Errorf("%d attempts", x.Retry.Attempts)
	}
}
