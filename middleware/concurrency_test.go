package middleware_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// desk is a handler behind a middleware, whose requests end when the test says so.
type desk struct {
	h    http.Handler
	ends chan func(w http.ResponseWriter, x *gateway.Exchange)
}

func newDesk(t *testing.T, env middleware.Env, block string) *desk {
	t.Helper()
	d := &desk{ends: make(chan func(http.ResponseWriter, *gateway.Exchange))}
	step := middlewaretest.Build(t, env, block)
	step.Start()
	d.h = step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (<-d.ends)(w, gateway.ExchangeOf(r)) }))
	return d
}

// visit is a request on its way.
type visit struct {
	w    *httptest.ResponseRecorder
	x    *gateway.Exchange
	over chan struct{}
}

func (d *desk) ask(r *http.Request) *visit {
	a := &visit{w: httptest.NewRecorder(), x: &gateway.Exchange{}, over: make(chan struct{})}
	go func() {
		defer close(a.over)
		defer func() { _ = recover() }() // as the server does
		d.h.ServeHTTP(a.w, gateway.WithExchange(r, a.x))
	}()
	synctest.Wait()
	return a
}

func (a *visit) done() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

func well(w http.ResponseWriter, _ *gateway.Exchange) { w.WriteHeader(http.StatusOK) }

func concurrencyCase(t *testing.T, name, block string, f func(t *testing.T, env middleware.Env, d *desk)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
			f(t, env, newDesk(t, env, block))
		})
	})
}

func TestConcurrency(t *testing.T) {
	get := func(t *testing.T) *http.Request { t.Helper(); return middlewaretest.Request(t, "GET /") }
	concurrencyCase(t, "refused when full", "concurrency: {max: 1, queue: {size: 0}}", func(t *testing.T, env middleware.Env, d *desk) {
		first, second := d.ask(get(t)), d.ask(get(t))
		if !second.done() || second.w.Code != 503 || second.x.Err.Reason != "overloaded" || second.x.Err.Cause != gateway.CauseGateway {
			t.Fatalf("%d %+v", second.w.Code, second.x.Err)
		}
		if after, _ := strconv.Atoi(second.w.Header().Get("Retry-After")); after < 1 || after > 3 {
			t.Errorf("Retry-After: %d", after)
		}
		wantMetric(t, env, `pithead_concurrency_active{limiter="route/test/middleware/0"} 1`)
		wantMetric(t, env, `pithead_concurrency_limit{limiter="route/test/middleware/0"} 1`)
		wantMetric(t, env, `pithead_concurrency_refused_total{limiter="route/test/middleware/0",priority="normal"} 1`)
		d.ends <- well
		<-first.over
		third := d.ask(get(t))
		d.ends <- func(http.ResponseWriter, *gateway.Exchange) { panic(http.ErrAbortHandler) }
		<-third.over
		wantMetric(t, env, `pithead_concurrency_active{limiter="route/test/middleware/0"} 0`)
	})
	concurrencyCase(t, "gRPC", "concurrency: {max: 1, queue: {size: 0}}", func(t *testing.T, _ middleware.Env, d *desk) {
		first := d.ask(get(t))
		r := middlewaretest.Request(t, "POST /a.B/C\nContent-Type: application/grpc")
		r.ProtoMajor = 2
		second := d.ask(r)
		if second.w.Code != 200 || second.w.Header().Get("Grpc-Status") != "14" {
			t.Errorf("%d %v, want UNAVAILABLE", second.w.Code, second.w.Header())
		}
		d.ends <- well
		<-first.over
	})
	concurrencyCase(t, "waits", "concurrency: {max: 1, queue: {size: 1, timeout: 2s}}", func(t *testing.T, env middleware.Env, d *desk) {
		first, second := d.ask(get(t)), d.ask(get(t))
		wantMetric(t, env, `pithead_concurrency_waiting{limiter="route/test/middleware/0"} 1`)
		d.ends <- well
		d.ends <- well
		<-first.over
		<-second.over
		if second.w.Code != 200 {
			t.Errorf("%d", second.w.Code)
		}
		first, second = d.ask(get(t)), d.ask(get(t))
		<-second.over
		if second.w.Code != 503 || second.x.Err.Reason != "overloaded" {
			t.Errorf("after two seconds: %d", second.w.Code)
		}
		d.ends <- well
		<-first.over
	})
	concurrencyCase(t, "whose time is over", "concurrency: {max: 1}", func(t *testing.T, _ middleware.Env, d *desk) {
		first := d.ask(get(t))
		ctx, leave := context.WithCancel(t.Context())
		gone := d.ask(get(t).WithContext(ctx))
		leave()
		<-gone.over
		if gone.x.Status != gateway.StatusClientClosed || gone.x.Err.Cause != gateway.CauseClient {
			t.Errorf("a client that left: %d %+v", gone.x.Status, gone.x.Err)
		}
		ctx, end := context.WithCancelCause(t.Context())
		late := d.ask(get(t).WithContext(ctx))
		end(&gateway.Error{Status: 504, Reason: "request_timeout"})
		<-late.over
		if late.w.Code != 504 || late.x.Err.Reason != "request_timeout" {
			t.Errorf("the time of the route is over: %d %+v", late.w.Code, late.x.Err)
		}
		d.ends <- well
		<-first.over
	})
}

// Routes with a named block share its limit, and a reload keeps it.
func TestConcurrencyIsShared(t *testing.T) {
	concurrencyCase(t, "by two routes", "concurrency: {max: 1, queue: {size: 0}}", func(t *testing.T, env middleware.Env, d *desk) {
		first := d.ask(middlewaretest.Request(t, "GET /"))
		other := newDesk(t, env, "concurrency: {max: 1, queue: {size: 0}}").ask(middlewaretest.Request(t, "GET /"))
		if other.w.Code != 503 {
			t.Errorf("%d", other.w.Code)
		}
		d.ends <- well
		<-first.over
	})
}

// An adaptive limit goes by what the upstream does, and by nothing that a client can cause.
func TestConcurrencyLearns(t *testing.T) {
	r := func(t *testing.T) *http.Request { t.Helper(); return middlewaretest.Request(t, "GET /") }
	for name, c := range map[string]struct {
		end    func(w http.ResponseWriter, x *gateway.Exchange)
		lowers bool
	}{
		"too many requests": {func(w http.ResponseWriter, x *gateway.Exchange) { x.Attempts, x.Status = 1, 429 }, true},
		"timeout": {func(w http.ResponseWriter, x *gateway.Exchange) {
			x.Attempts, x.Err = 1, &gateway.Error{Status: 504, Cause: gateway.CauseUpstream}
		}, true},
		"the client left":      {func(w http.ResponseWriter, x *gateway.Exchange) { x.Attempts, x.Status = 1, 499 }, false},
		"the client's body":    {func(w http.ResponseWriter, x *gateway.Exchange) { x.Attempts = 1; x.ClientFailed(context.Canceled) }, false},
		"the gateway refuses":  {func(w http.ResponseWriter, x *gateway.Exchange) { x.Status = 503 }, false},
		"a mistake of a query": {func(w http.ResponseWriter, x *gateway.Exchange) { x.Attempts, x.Status = 1, 404 }, false},
	} {
		concurrencyCase(t, name, "concurrency: {adaptive: {initial: 50}}", func(t *testing.T, env middleware.Env, d *desk) {
			for range 200 {
				a := d.ask(r(t))
				<-time.After(10 * time.Millisecond)
				d.ends <- c.end
				<-a.over
			}
			limit := `pithead_concurrency_limit{limiter="route/test/middleware/0"} `
			if c.lowers {
				wantMetric(t, env, limit+"20") // 50 less a fifth in each of four windows
			} else {
				wantMetric(t, env, limit+"50")
			}
		})
	}
	concurrencyCase(t, "latency", "concurrency: {adaptive: {initial: 50}}", func(t *testing.T, env middleware.Env, d *desk) {
		for range 200 {
			a := d.ask(r(t))
			<-time.After(10 * time.Millisecond)
			d.ends <- func(w http.ResponseWriter, x *gateway.Exchange) {
				x.Attempts, x.Status, x.UpstreamWaited = 1, 200, 10*time.Millisecond
			}
			<-a.over
		}
		wantMetric(t, env, `pithead_concurrency_baseline_seconds{limiter="route/test/middleware/0"} 0.01`)
	})
}

func TestConcurrencyMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string][]string{
		"concurrency":                                   {"1:1: has no limit; give max, for example 100, or adaptive"},
		"concurrency: {max: 5, adaptive: {}}":           {"1:20: max and adaptive exclude each other; write adaptive: {max: 5}"},
		"concurrency: {max: -1}":                        {"1:20: must be from 1 to 100000"},
		"concurrency: {adaptive: {min: 9, max: 5}}":     {"1:31: must be at most max, 5"},
		"concurrency: {adaptive: {tolerance: 1}}":       {"1:37: must be from 1.05 to 10"},
		"concurrency: {max: 1, queue: {size: 2000}}":    {"1:37: must be from 0 to 1000"},
		"concurrency: {max: 1, queue: {target: 2s}}":    {"1:39: must be from 1ms to the timeout, 1s"},
		"concurrency: {max: 1, queue: {timeout: 2m}}":   {"1:40: must be from 1ms to 1m"},
		"concurrency: {max: 1, queue: {key: somebody}}": {`1:36: "somebody" is nothing to limit by; write client, subject, route, host, all, header:NAME, cookie:NAME, query:NAME or claim:NAME`},
	} {
		got := middlewaretest.Mistakes(t, env, block)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
}

// Who need not wait costs nothing.
func TestConcurrencyBudget(t *testing.T) {
	for _, block := range []string{"concurrency: {max: 10}", "concurrency: {adaptive: {}}", "adaptive_limit", "priority: {header: x-priority}"} {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		h := middlewaretest.Build(t, env, block).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		x := &gateway.Exchange{Attempts: 1, Status: 200, UpstreamWaited: time.Millisecond}
		r, w := gateway.WithExchange(middlewaretest.Request(t, "GET /"), x), &recorder{h: http.Header{}}
		if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n != 0 {
			t.Errorf("%s: %v allocations", block, n)
		}
	}
}
