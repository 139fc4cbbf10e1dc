package middleware_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
	"github.com/pithead/pithead/test/redistest"
)

// seen is what operators see of the limits of env; who is what they know of a caller.
func seen(t *testing.T, env middleware.Env, who ...string) limitview.Report {
	t.Helper()
	registry, err := keep.Get(env.Keep, limitview.Kept, func() (*limitview.Registry, error) { return limitview.NewRegistry(), nil })
	if err != nil {
		t.Fatal(err)
	}
	facts, err := limitview.ParseFacts(who)
	if err != nil {
		t.Fatal(err)
	}
	return registry.Report(t.Context(), "", facts)
}

// What the view says of a caller is what the next request of that caller finds, by whatever
// the limit goes.
func TestRateLimitView(t *testing.T) {
	f := func(key, request string, c caller, claims gateway.Claims, who ...string) {
		t.Helper()
		limitCase(t, key, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			env.Route = "orders"
			step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, burst: 9, max_keys: 70, key: "+key+"}")
			step.Start()
			for range 4 {
				x := &gateway.Exchange{Subject: c.subject, Claims: claims, Client: netip.MustParseAddr(c.client)}
				middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), x)
			}
			for range 20 { // more than the bucket holds
				got := seen(t, env, who...).Rates[0].Caller
				want := &limitview.Caller{Told: "local", Left: []limitview.Left{{Name: "per-hour", Remaining: 5, Full: 4 * 3600}}}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("(-want +got):\n%s", diff)
				}
			}
		})
	}
	ada := caller{client: client4, subject: "Ada L=1"}
	f("client", "GET /", caller{client: "203.0.113.7"}, nil, "client=203.0.113.7")
	f("[client, host]", "GET http://Shop.Example:8080/", caller{client: "2001:db8::1"}, nil, "client=2001:db8::ffff", "host=shop.example")
	f("subject", "GET /", ada, nil, "subject=Ada L=1")
	f("[subject, route]", "GET /", ada, nil, "subject=Ada L=1", "route=orders")
	f("all", "GET /", ada, nil, "subject=anybody")
	f("header:x-customer", "GET /\nX-Customer: Acme", ada, nil, "header:x-customer=ACME")
	f("cookie:sid", "GET /\nCookie: a=b; sid=x7", ada, nil, "cookie:sid=x7")
	f("query:q", "GET /?q=a%26b&r=2", ada, nil, "query:q=a&b")
	f("claim:org.tenant", "GET /", ada, gateway.Claims{"org": map[string]any{"tenant": "acme"}}, "claim:org.tenant=acme")
	f("claim:plan", "GET /", ada, gateway.Claims{"plan": json.Number("7")}, "claim:plan=7")
}

// What is not known of a caller is said, and nothing is made up.
func TestRateLimitViewWithoutAPart(t *testing.T) {
	f := func(name, settings string, want limitview.Caller, who ...string) {
		t.Helper()
		limitCase(t, name, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, burst: 9, max_keys: 70, "+settings+"}")
			step.Start()
			asks(t, env, step, "GET /", caller{client: client4}) // without the header
			if diff := cmp.Diff(&want, seen(t, env, who...).Rates[0].Caller); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const part = "header:X-Customer"
	f("nothing in its place", "key: header:x-customer", limitview.Caller{Missing: []string{part}}, "subject=ada")
	f("the client in its place", "key: header:x-customer", limitview.Caller{
		Missing: []string{part}, Told: "local", Left: []limitview.Left{{Name: "per-hour", Remaining: 8, Full: 3600}},
	}, "client="+client4)
	f("a value that does not count", "key: header:x-customer", limitview.Caller{Missing: []string{"client"}}, "header:x-customer=Ä")
	f("skip", "key: header:x-customer, on_missing: skip", limitview.Caller{Missing: []string{part}, Unbound: true}, "client="+client4)
	f("reject", "key: header:x-customer, on_missing: reject", limitview.Caller{Missing: []string{part}, Rejected: true}, "client="+client4)
}

// The listing counts, follows reloads, and names no caller.
func TestRateLimitViewLists(t *testing.T) {
	limitCase(t, "counts", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		env.Key = "middleware/fair"
		block := "rate_limit: {limits: [{rate: 10/s, burst: 5}, {rate: 100/d}], max_keys: 700, key: [subject, 'header:x-key']}"
		step := middlewaretest.Build(t, env, block)
		step.Start()
		for range 8 {
			asks(t, env, step, "GET /\nX-Key: sk-hidden", caller{client: client4, subject: "somebody"})
		}
		got := seen(t, env)
		want := []limitview.Rate{{
			Name: "fair", Algorithm: "gcra", By: []string{"subject", "header:X-Key"}, Cost: 1, Keys: 1, MaxKeys: 700, Allowed: 5, Denied: 3,
			Limits: []limitview.Limit{
				{Name: "per-second", Tokens: 10, Period: 1, Burst: 5, Window: 0.5},
				{Name: "per-day", Tokens: 100, Period: 86400, Burst: 100, Window: 86400},
			},
			Store: limitview.Store{Kind: "local", Deciding: "local"},
		}}
		if diff := cmp.Diff(want, got.Rates); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, who := range [][]string{nil, {"subject=somebody", "header:x-key=sk-hidden"}} {
			text, err := json.Marshal(seen(t, env, who...))
			if err != nil || strings.Contains(string(text), "hidden") || strings.Contains(string(text), "somebody") {
				t.Errorf("%v: the view names callers: %s", err, text)
			}
		}
		// A reload changes what is seen, and the counts stay.
		middlewaretest.Build(t, env, "rate_limit: {rate: 7/s, dry_run: true}").Start()
		again := seen(t, env).Rates
		if len(again) != 1 || again[0].Limits[0].Tokens != 7 || !again[0].DryRun || again[0].Allowed != 5 || again[0].MaxKeys != 100_000 {
			t.Errorf("after a reload: %+v", again)
		}
	})
	t.Run("goes with the last route", func(t *testing.T) {
		env, pool := middlewaretest.Env(t, middlewaretest.NewCluster("orders")), keep.NewPool()
		shown, route := pool.Scope(), pool.Scope()
		env.Keep = route
		for _, block := range []string{"rate_limit: {rate: 1/s}", "concurrency: {max: 3}", "adaptive_limit"} {
			middlewaretest.Build(t, env, block).Start()
		}
		env.Keep = shown
		if r := seen(t, env); len(r.Rates) != 1 || len(r.Concurrency) != 1 || len(r.Adaptive) != 1 {
			t.Errorf("%+v", r)
		}
		if err := route.Close(); err != nil {
			t.Fatal(err)
		}
		if r := seen(t, env); !r.Empty() {
			t.Errorf("still there: %+v", r)
		}
		if err := shown.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRateLimitViewOfRedis(t *testing.T) {
	server := redistest.Start(t)
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	env.Key = "middleware/fair"
	step := begin(t, middlewaretest.Build(t, env, "rate_limit: {rate: 10/h, burst: 60, store: {lease: 10%, replicas: 3, redis: {address: "+server.Addr+", timeout: 1s, password: ''}}}"))
	if a := asks(t, env, step, "GET /", caller{client: client4}); a.Status != 200 {
		t.Fatal(a.Status)
	}
	store, who := seen(t, env).Rates[0].Store, "client="+client4
	if store.Kind != "redis" || store.Deciding != "redis" || !store.Redis.Up || store.Redis.Breaker != "closed" || store.Redis.Address != server.Addr ||
		store.Redis.Lease != 6 || store.Redis.Gateways != 3 || store.Redis.Decisions["redis"] != 1 || len(store.Share) != 1 || store.Share[0].Burst != 20 {
		t.Errorf("%+v %+v", store, store.Redis)
	}
	if c := seen(t, env, who).Rates[0].Caller; c.Told != "redis" || c.Left[0].Remaining != 59 {
		t.Errorf("%+v", c)
	}
	server.Kill()
	for deadline := time.Now().Add(20 * time.Second); seen(t, env).Rates[0].Store.Redis.Up; {
		asks(t, env, step, "GET /", caller{client: client4})
		if time.Now().After(deadline) {
			t.Fatal("redis is never away")
		}
	}
	store = seen(t, env).Rates[0].Store
	if store.Deciding != "local" || store.Redis.Breaker == "closed" || store.Redis.Error == "" {
		t.Errorf("%+v %+v", store, store.Redis)
	}
	if c := seen(t, env, who).Rates[0].Caller; c.Told != "local" || len(c.Left) != 1 || c.Left[0].Remaining > 20 {
		t.Errorf("%+v", c)
	}
}

func TestConcurrencyView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		env.Key = "middleware/few"
		d := newDesk(t, env, "concurrency: {max: 2, queue: {size: 3}}")
		var all []*visit
		for range 4 {
			all = append(all, d.ask(middlewaretest.Request(t, "GET /")))
		}
		want := limitview.Concurrency{Name: "few", Limit: 2, Min: 2, Max: 2, Active: 2, Waiting: 2, Queue: 3, Refused: map[string]uint64{"low": 0, "normal": 0, "high": 0}}
		if diff := cmp.Diff([]limitview.Concurrency{want}, seen(t, env).Concurrency); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for range all {
			d.ends <- func(http.ResponseWriter, *gateway.Exchange) {}
		}
		synctest.Wait()
		if got := seen(t, env).Concurrency[0]; got.Active != 0 || got.Waiting != 0 {
			t.Errorf("%+v", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		step := middlewaretest.Build(t, env, "concurrency: {adaptive: {min: 5, max: 50, initial: 9}}")
		step.Start()
		if got := seen(t, env).Concurrency[0]; !got.Adaptive || got.Limit != 9 || got.Min != 5 || got.Max != 50 || got.Latency != 0 || got.Baseline != 0 {
			t.Errorf("%+v", got)
		}
		h := step.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			x := gateway.ExchangeOf(r)
			x.Attempts, x.Status, x.UpstreamWaited = 1, 200, 30*time.Millisecond
			<-time.After(30 * time.Millisecond)
		}))
		for range 100 {
			h.ServeHTTP(&recorder{h: http.Header{}}, gateway.WithExchange(middlewaretest.Request(t, "GET /"), &gateway.Exchange{}))
		}
		if got := seen(t, env).Concurrency[0]; got.Baseline != 0.03 || got.Latency != 0.03 {
			t.Errorf("%+v: what it steers by is not seen", got)
		}
	})
}

func TestAdaptiveLimitView(t *testing.T) {
	f := func(name string, end func(i int, x *gateway.Exchange), state, why string) {
		t.Helper()
		adaptiveCase(t, name, "GET /", func() func(http.ResponseWriter, *gateway.Exchange) {
			n := 0
			return func(_ http.ResponseWriter, x *gateway.Exchange) {
				n++
				x.Attempts, x.Status, x.UpstreamWaited = 1, 200, 10*time.Millisecond
				end(n, x)
			}
		}(), func(t *testing.T, env middleware.Env, _ gateway.Step, _ int) {
			got := seen(t, env).Adaptive[0]
			if got.State != state || !strings.Contains(got.Why, why) || got.Target != 0.2 || got.MaxErrors != 0.05 || (got.Limit > 0) != (state != "healthy") {
				t.Errorf("%+v", got)
			}
		})
	}
	f("healthy", func(int, *gateway.Exchange) {}, "healthy", "everything passes")
	f("slow", func(_ int, x *gateway.Exchange) { x.UpstreamWaited = 400 * time.Millisecond }, "degraded", "more than 200ms")
	f("failing", func(i int, x *gateway.Exchange) {
		if i%4 == 0 {
			x.Status = 500
		}
	}, "broken", "% of the answers failed, more than 5.0 %")
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	middlewaretest.Build(t, env, "adaptive_limit").Start()
	if got := fmt.Sprint(seen(t, env).Adaptive[0].Why); got != "nothing is known of the service yet" {
		t.Error(got)
	}
}
