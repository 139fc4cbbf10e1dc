package middleware_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// adaptiveCase sends 100 requests a second for ten seconds, which all end in one way,
// and tells how many passed in the last one.
func adaptiveCase(t *testing.T, name, request string, end func(w http.ResponseWriter, x *gateway.Exchange), want func(t *testing.T, env middleware.Env, step gateway.Step, passed int)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
			step, passed := middlewaretest.Build(t, env, "adaptive_limit"), 0
			step.Start()
			h := step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				passed++
				end(w, gateway.ExchangeOf(r))
			}))
			for range 10 {
				passed = 0
				for range 100 {
					r := middlewaretest.Request(t, request)
					r.ProtoMajor = 2
					w := &recorder{h: http.Header{}}
					h.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{}))
					<-time.After(10 * time.Millisecond)
				}
			}
			want(t, env, step, passed)
		})
	})
}

func TestAdaptiveLimit(t *testing.T) {
	answer := func(status int, waited time.Duration) func(http.ResponseWriter, *gateway.Exchange) {
		return func(_ http.ResponseWriter, x *gateway.Exchange) {
			x.Attempts, x.Status, x.UpstreamWaited = 1, status, waited
		}
	}
	grpc := func(status string) func(http.ResponseWriter, *gateway.Exchange) {
		return func(w http.ResponseWriter, x *gateway.Exchange) {
			x.Attempts, x.Status, x.UpstreamWaited = 1, 200, time.Millisecond
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
		}
	}
	healthy := func(t *testing.T, env middleware.Env, _ gateway.Step, passed int) {
		t.Helper()
		if passed != 100 {
			t.Errorf("%d of 100 passed", passed)
		}
		wantMetric(t, env, `pithead_adaptive_limit_rate{limiter="route/test/middleware/0"} +Inf`)
		wantMetric(t, env, `pithead_adaptive_limit_state{limiter="route/test/middleware/0"} 0`)
	}
	broken := func(t *testing.T, env middleware.Env, step gateway.Step, passed int) {
		t.Helper()
		if passed < 8 || passed > 13 {
			t.Errorf("%d of 100 passed, want a tenth", passed)
		}
		wantMetric(t, env, `pithead_adaptive_limit_state{limiter="route/test/middleware/0"} 3`)
		r := middlewaretest.Request(t, "GET /")
		if says := step.Explain(r, &gateway.Exchange{}); !strings.Contains(says, "the service is broken") {
			t.Errorf("explain says %q", says)
		}
	}
	const get, call = "GET /", "POST /a.B/C\nContent-Type: application/grpc"
	adaptiveCase(t, "a service that is well", get, answer(200, 10*time.Millisecond), healthy)
	adaptiveCase(t, "mistakes of callers", get, answer(404, 10*time.Millisecond), healthy)
	adaptiveCase(t, "errors", get, answer(500, 0), broken)
	adaptiveCase(t, "answers that break off", get, func(_ http.ResponseWriter, x *gateway.Exchange) {
		x.Attempts, x.Status, x.Err = 1, 200, &gateway.Error{Status: 502, Cause: gateway.CauseUpstream}
	}, broken)
	adaptiveCase(t, "gRPC errors", call, grpc("14"), broken)
	adaptiveCase(t, "gRPC mistakes of callers", call, grpc("5"), healthy)
	adaptiveCase(t, "gRPC deadlines of callers", call+"\nGrpc-Timeout: 1m", grpc("4"), healthy)
	adaptiveCase(t, "clients that leave", get, func(_ http.ResponseWriter, x *gateway.Exchange) {
		x.Attempts, x.Status, x.UpstreamWaited = 1, 499, time.Second
	}, healthy)
	adaptiveCase(t, "bodies that break off", get, func(_ http.ResponseWriter, x *gateway.Exchange) {
		x.Attempts, x.Status, x.UpstreamWaited = 1, 502, time.Second
		x.ClientFailed(context.Canceled)
	}, healthy)
	adaptiveCase(t, "refusals of the gateway", get, func(_ http.ResponseWriter, x *gateway.Exchange) {
		x.Err = &gateway.Error{Status: 503, Cause: gateway.CauseGateway}
	}, healthy)
	adaptiveCase(t, "a slow service", get, answer(200, 300*time.Millisecond), func(t *testing.T, env middleware.Env, _ gateway.Step, passed int) {
		if passed > 40 {
			t.Errorf("%d of 100 passed, and it is as slow as before", passed)
		}
		wantMetric(t, env, `pithead_adaptive_limit_state{limiter="route/test/middleware/0"} 2`)
	})
}

func TestAdaptiveLimitMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string]string{
		"adaptive_limit: {target: 0s}": "1:26: must be from 1ms to 1m",
		"adaptive_limit: {errors: 5}":  "1:26: must be from 0.001 to 1",
		"adaptive_limit: {min: 1/d}":   "1:23: must be from 6/m to 1000000/s",
	} {
		if diff := cmp.Diff([]string{want}, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
}
