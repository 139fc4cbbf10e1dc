package middleware_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
	"github.com/pithead/pithead/test/redistest"
)

// at is a store that waits longer than it would in use: the machine may be busy.
func at(server *redistest.Server, more string) string {
	return fmt.Sprintf(`store: {redis: {address: %q, timeout: 1s%s}}`, server.Addr, more)
}

// begin starts a step and waits for Redis.
func begin(t *testing.T, step gateway.Step) gateway.Step {
	t.Helper()
	for _, ready := range step.Start() {
		select {
		case <-ready:
		case <-time.After(20 * time.Second):
			t.Fatal("redis is not found")
		}
	}
	return step
}

// Three gateways, each with all that a process has, and one Redis.
func TestRateLimitStore(t *testing.T) {
	server := redistest.Start(t)
	var steps []gateway.Step
	var envs []middleware.Env
	for range 3 {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders").Handle(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Cost", r.Header.Get("X-Wants"))
		}))
		envs = append(envs, env)
		steps = append(steps, begin(t, middlewaretest.Build(t, env, "rate_limit: {rate: 10/h, burst: 60, announce: true, cost_header: x-cost, max_debt: 40, key: header:x-user, "+at(server, "")+"}")))
	}
	passed := 0
	for i := range 90 {
		if a := asks(t, envs[i%3], steps[i%3], "GET /\nX-User: ada", caller{client: client4}); a.Status == 200 {
			passed++
		}
	}
	if passed != 60 {
		t.Errorf("%d pass at three gateways, want 60", passed)
	}
	wantHeader(t, asks(t, envs[0], steps[0], "GET /\nX-User: bob", caller{client: client4}), map[string]string{
		"RateLimit-Policy": `"per-hour";q=60;w=21600`, "RateLimit": `"per-hour";r=59;t=360`,
	})
	// What an answer has cost is known to the other gateways soon after.
	asks(t, envs[0], steps[0], "GET /\nX-User: eve\nX-Wants: 90", caller{client: client4})
	deadline := time.Now().Add(20 * time.Second)
	for user := "GET /\nX-User: eve"; ; {
		a := asks(t, envs[1], steps[1], user, caller{client: client4})
		if a.Status == 429 {
			if left := a.Header.Get("RateLimit"); !strings.HasPrefix(left, `"per-hour";r=0;t=3`) {
				t.Errorf("in debt: %s", left)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cost is never charged")
		}
	}
	wantMetric(t, envs[0], `pithead_store_up{store="`+server.Addr+`"} 1`)
	wantMetric(t, envs[0], `pithead_rate_limit_decisions_total{by="local",limiter="route/test/middleware/0"} 0`)
}

// R10: nobody gets a 5xx because Redis is away.
func TestRateLimitStoreAway(t *testing.T) {
	f := func(onError string, want map[string]int) {
		t.Helper()
		t.Run("R10: "+onError, func(t *testing.T) {
			server := redistest.Start(t)
			env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
			step := begin(t, middlewaretest.Build(t, env, "rate_limit: {rate: 10/h, burst: 60, on_store_error: "+onError+", store: {replicas: 3, redis: {address: "+server.Addr+"}}}"))
			server.Kill()
			got := make(map[string]int)
			for range 100 {
				a := asks(t, env, step, "GET /", caller{client: client4})
				reason := ""
				if a.Exchange.Err != nil {
					reason = " " + a.Exchange.Err.Reason
				}
				got[fmt.Sprint(a.Status)+reason]++
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
	f("local", map[string]int{"200": 20, "429 rate_limited": 80})
	f("open", map[string]int{"200": 100})
	f("closed", map[string]int{"429 rate_limit_store": 100})
}

// Blocks with one Redis have one client, over reloads as well, and it ends with the last of them.
func TestRateLimitStoreIsKept(t *testing.T) {
	server := redistest.Start(t)
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	pool := keep.NewPool()
	old, scope := pool.Scope(), pool.Scope()
	build := func(s *keep.Scope, key, burst string) gateway.Step {
		env.Keep, env.Key = s, key
		return begin(t, middlewaretest.Build(t, env, "rate_limit: {rate: 10/h, burst: "+burst+", "+at(server, "")+"}"))
	}
	build(old, "middleware/a", "60")
	step := build(old, "middleware/b", "60")
	if n := pool.Len(); n != 4 {
		t.Errorf("%d values are kept, want two limiters, one client, and the list of limits", n)
	}
	if n := passes(t, env, step, 20); n != 20 {
		t.Errorf("%d pass, want 20", n)
	}
	connections := server.Info("Stats", "total_connections_received")
	step = build(scope, "middleware/b", "40")
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if n := passes(t, env, step, 80); n != 20 {
		t.Errorf("%d pass after a reload with a smaller burst, want the 20 that are left", n)
	}
	if got := server.Info("Stats", "total_connections_received"); got != connections {
		t.Errorf("%s connections after a reload, %s before", got, connections)
	}
	if err := scope.Close(); err != nil || pool.Len() != 0 {
		t.Errorf("%d values are left, %v", pool.Len(), err)
	}
}

func TestRateLimitStoreExplain(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, store: {redis: {address: '127.0.0.1:1'}}}")
	x := &gateway.Exchange{}
	r := gateway.WithExchange(middlewaretest.Request(t, "GET /"), x)
	if got, want := step.Explain(r, x), "goes by client; what is left of the limits, 127.0.0.1:1 knows"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRateLimitStoreMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	f := func(settings string, want ...string) {
		t.Helper()
		block := "rate_limit:\n  rate: 10/s\n  " + settings
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	redis := func(more string) string { return "store: {redis: {address: '10.0.0.5:6379'" + more + "}}" }
	f("on_store_error: open", "3:19: is of no use without a store")
	f("on_store_error: fail", `3:19: "fail" is none of local, open, closed`, "3:19: is of no use without a store")
	f("store: {lease: 10%}", `3:3: store: "redis" is required`)
	f("store: {redis: {}}", `3:11: store.redis: "address" is required`)
	f("store: {redis: {address: redis}}", `3:28: [0]: "redis" is no address; write for example 10.0.0.5:6379`)
	f("store: {redis: {address: ['a:1', 'b:1']}}", "3:19: has several servers; write cluster: true, or the name that sentinels know the master by as master")
	f(redis(", cluster: true, master: a"), "3:54: a cluster has no sentinels; leave master out")
	f(redis(", cluster: true, database: 2"), "3:70: a cluster has only database 0")
	f(redis(", username: a"), "3:11: password: is missing for the username")
	f(redis(", sentinel_password: a"), "3:64: is of no use without master")
	f(redis(", timeout: 5s"), "3:54: must be from 1ms to 1s")
	f(redis(", pool_size: 0"), "3:56: must be from 1 to 1000")
	f(redis(", prefix: '{a}'"), `3:53: "{a}" is no prefix; it has up to 64 letters, digits, -, _, . and :`)
	f(redis(", tls: {cert: a.pem}"), "3:45: a certificate has a cert and a key; give both or none")
	f("store: {lease: 10, redis: {address: 'a:1'}}", `3:18: "10" is no percentage; write for example 10%`)
	f("store: {lease: 60%, redis: {address: 'a:1'}}", "3:18: must be at most 50%")
	f("store: {lease: 5%, redis: {address: 'a:1'}}", "3:18: is less than one request costs; make it larger, or leave it out")
	f("store: {replicas: -1, redis: {address: 'a:1'}}", "3:21: must be from 0 to 10000")
}
