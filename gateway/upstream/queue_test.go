package upstream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

func limited(requests, queue int, timeout time.Duration) func(*Options) {
	return func(o *Options) { o.Limits = Limits{requests, queue, timeout} }
}

// hold takes a place and fails the test if there is none.
func hold(t *testing.T, c *Cluster) *gateway.Endpoint {
	t.Helper()
	ep, err := c.acquire(t.Context(), new(gateway.Exchange))
	if err != nil {
		t.Fatal(err)
	}
	return ep
}

// standIn waits for a place in the background.
func standIn(ctx context.Context, c *Cluster, subset string, got func(*gateway.Endpoint, error)) {
	go func() { got(c.acquire(ctx, &gateway.Exchange{Subset: subset})) }()
	synctest.Wait()
}

func TestQueueIsFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, at("a:1"), limited(1, 3, time.Minute))
		ep := hold(t, c)
		var order []int
		var mu sync.Mutex
		for i := range 3 {
			standIn(t.Context(), c, "", func(_ *gateway.Endpoint, err error) {
				mu.Lock()
				defer mu.Unlock()
				if order = append(order, i); err != nil {
					t.Error(err)
				}
			})
		}
		if n := c.Waiting(); n != 3 {
			t.Errorf("%d wait, want 3", n)
		}
		_, err := c.acquire(t.Context(), new(gateway.Exchange))
		wantError(t, err, http.StatusServiceUnavailable, "upstream_overflow", gateway.CauseGateway)
		if e := gateway.AsError(err); e.RetryAfter <= 0 {
			t.Error("no Retry-After")
		}
		for i := range 3 {
			c.free(ep)
			synctest.Wait()
			if len(order) != i+1 {
				t.Fatalf("one place let %v in", order)
			}
		}
		if !slices.IsSorted(order) || ep.Stats.Active.Load() != 1 || c.Waiting() != 0 {
			t.Errorf("order %v, %d active, %d wait", order, ep.Stats.Active.Load(), c.Waiting())
		}
		c.free(ep)
		wantStats(t, c, 0, 0)
	})
}

func TestQueueEnds(t *testing.T) {
	f := func(name string, ctx func(context.Context) (context.Context, func()), wait time.Duration, status int, reason string, cause gateway.Cause) {
		bubble(t, name, func(t *testing.T) {
			c := start(t, at("a:1"), limited(1, 1, time.Second))
			ep := hold(t, c)
			ctx, cancel := ctx(t.Context())
			defer cancel()
			began := time.Now()
			_, err := c.acquire(ctx, new(gateway.Exchange))
			took(t, began, wait)
			wantError(t, err, status, reason, cause)
			if c.Waiting() != 0 || len(c.opts.Stats.queue.lines) != 0 {
				t.Error("who has left still waits")
			}
			c.free(ep)
			c.free(hold(t, c)) // the place is to be had
			wantStats(t, c, 0, 0)
		})
	}
	stays := func(ctx context.Context) (context.Context, func()) { return ctx, func() {} }
	f("after the timeout", stays, time.Second, 503, "queue_timeout", gateway.CauseGateway)
	f("when the client leaves", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(100*time.Millisecond, cancel)
		return ctx, cancel
	}, 100*time.Millisecond, 499, "client_closed", gateway.CauseClient)
	f("with the time of the request", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		return ctx, cancel
	}, 300*time.Millisecond, 504, "timeout", gateway.CauseUpstream)
	late := &gateway.Error{Status: 504, Reason: "route_timeout", Msg: "late", Cause: gateway.CauseClient}
	f("with what ended the request", func(ctx context.Context) (context.Context, func()) {
		ctx, cancel := context.WithCancelCause(ctx)
		time.AfterFunc(time.Millisecond, func() { cancel(late) })
		return ctx, func() { cancel(nil) }
	}, time.Millisecond, 504, "route_timeout", gateway.CauseClient)
}

// Without room to wait in, a full upstream refuses at once.
func TestQueueOfNone(t *testing.T) {
	c := start(t, at("a:1"), limited(1, 0, time.Second))
	ep := hold(t, c)
	_, err := c.acquire(t.Context(), new(gateway.Exchange))
	wantError(t, err, http.StatusServiceUnavailable, "upstream_overflow", gateway.CauseGateway)
	c.free(ep)
	c.free(hold(t, c))
}

func TestFullEndpointsArePassedOver(t *testing.T) {
	c := start(t, at("a:1", "b:1", "c:1"), func(o *Options) {
		limited(2, 0, time.Second)(o)
		o.Policy = func(eps []*gateway.Endpoint) gateway.Picker { return &turnPicker{eps: eps[:min(len(eps), 1)]} } // always the same one
	})
	for range 6 {
		hold(t, c)
	}
	for _, e := range c.Endpoints() {
		if e.Active != 2 {
			t.Errorf("%s has %d requests", e.Addr, e.Active)
		}
	}
	_, err := c.acquire(t.Context(), new(gateway.Exchange))
	wantError(t, err, http.StatusServiceUnavailable, "upstream_overflow", gateway.CauseGateway)
}

func TestQueueSeesNewEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(at("a:1")...)
		c := ward(t, Options{Limits: Limits{1, 5, time.Hour}}, r, nil)
		hold(t, c)
		type result struct {
			ep  *gateway.Endpoint
			err error
		}
		results := make(chan result, 5)
		for range 3 {
			standIn(t.Context(), c, "", func(ep *gateway.Endpoint, err error) { results <- result{ep, err} })
		}
		r.set(at("a:1", "b:1")...)
		synctest.Wait()
		if got := <-results; got.err != nil || got.ep.Addr != "b:1" || len(results) != 0 {
			t.Errorf("a new endpoint for one: %+v, and %d more", got, len(results))
		}
		r.set() // nothing is left to wait for
		synctest.Wait()
		for range 2 {
			wantError(t, (<-results).err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
		}
		if c.Waiting() != 0 {
			t.Errorf("%d wait", c.Waiting())
		}
	})
}

// Who waits for an endpoint of one subset does not keep others from another one.
func TestQueueOfSubsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, []gateway.Target{{Addr: "s:1", Tags: []string{"stable"}}, {Addr: "c:1", Tags: []string{"canary"}}}, func(o *Options) {
			limited(1, 2, time.Hour)(o)
			o.Subsets = map[string]Selector{"stable": {Tag: "stable"}, "canary": {Tag: "canary"}}
		})
		acquire := func(subset string) (*gateway.Endpoint, error) {
			return c.acquire(t.Context(), &gateway.Exchange{Subset: subset})
		}
		canary, err := acquire("canary")
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan *gateway.Endpoint, 2)
		for range 2 {
			standIn(t.Context(), c, "canary", func(ep *gateway.Endpoint, _ error) { served <- ep })
		}
		stable, err := acquire("stable")
		if err != nil {
			t.Fatalf("two who wait for the canary keep one from stable: %v", err)
		}
		_, err = acquire("stable")
		wantError(t, err, http.StatusServiceUnavailable, "upstream_overflow", gateway.CauseGateway)
		c.free(stable)
		synctest.Wait()
		if len(served) != 0 {
			t.Error("stable was given to one who wants the canary")
		}
		for range 2 {
			c.free(canary)
			if ep := <-served; ep.Addr != "c:1" {
				t.Errorf("served %s", ep.Addr)
			}
		}
	})
}

// The first of several lines is the one that has waited longest, whatever the
// subset.
func TestQueueServesLinesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, []gateway.Target{{Addr: "a:1", Tags: []string{"x"}}}, func(o *Options) {
			limited(1, 9, time.Hour)(o)
			o.Subsets = map[string]Selector{"x": {Tag: "x"}}
		})
		ep := hold(t, c)
		served := make(chan string, 4)
		for _, subset := range []string{"x", "", "x", ""} {
			name := subset + string(rune('0'+c.Waiting()))
			standIn(t.Context(), c, subset, func(*gateway.Endpoint, error) { served <- name })
		}
		for _, want := range []string{"x0", "1", "x2", "3"} {
			c.free(ep)
			if got := <-served; got != want {
				t.Errorf("served %s, want %s", got, want)
			}
		}
	})
}

// A reload makes another cluster of the upstream; what the old one gives back is
// what the new one waits for.
func TestQueueOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats := NewStatsStore()
		o := Options{Stats: stats, Limits: Limits{1, 1, time.Hour}}
		one := ward(t, o, newRegistry(at("a:1")...), nil)
		ep := hold(t, one)
		two := ward(t, o, newRegistry(at("a:1")...), nil)
		done := make(chan error, 1)
		standIn(t.Context(), two, "", func(_ *gateway.Endpoint, err error) { done <- err })
		if err := one.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("two requests at an endpoint for one")
		}
		one.free(ep)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// Through the whole of a cluster, with clients that leave, endpoints that come
// and go, and time that runs out: never above the limit, nobody forgotten.
func TestQueueUnderStress(t *testing.T) {
	const limit, queue, clients, each = 3, 40, 64, 50
	var addrs []string
	for range 3 {
		addrs = append(addrs, serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, nil))
	}
	r := newRegistry(at(addrs...)...)
	feed := NewFeed("orders", r, quiet)
	defer feed.Close()
	c := New(Options{Name: "orders", Feed: feed, Policy: turns, Log: quiet, Limits: Limits{limit, queue, 20 * time.Second}})
	defer c.Close()
	c.Start()
	<-c.Filled()
	var ok, full atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				ctx, leave := context.WithCancel(t.Context())
				if rand.IntN(8) == 0 {
					ctx, leave = context.WithTimeout(t.Context(), rand.N(time.Millisecond))
				}
				req, x := requestContext(ctx, t, "GET", nil)
				resp, err := c.RoundTrip(req)
				switch {
				case err == nil:
					if n := x.Endpoint.Stats.Active.Load(); n > limit {
						t.Errorf("%d requests at one endpoint", n)
					}
					ok.Add(1)
					_, _ = read(t, resp)
				case gateway.AsError(err).Reason == "upstream_overflow":
					full.Add(1)
				case gateway.AsError(err).Reason == "queue_timeout", ctx.Err() == nil:
					t.Error(err)
				}
				leave()
			}
		})
	}
	for range 100 {
		r.set(at(addrs[:2]...)...)
		r.set(at(addrs...)...)
	}
	wg.Wait()
	if c.Waiting() != 0 || len(c.opts.Stats.queue.lines) != 0 {
		t.Errorf("%d still wait", c.Waiting())
	}
	for _, e := range c.Endpoints() {
		if e.Active != 0 {
			t.Errorf("%d places at %s are lost", e.Active, e.Addr)
		}
	}
	if ok.Load() == 0 || full.Load() == 0 {
		t.Errorf("%d served, %d refused: no stress", ok.Load(), full.Load())
	}
}

// The same without a network, so that everything happens at once: the number of
// holders is counted apart from the stats.
func TestQueueNeverExceedsTheLimit(t *testing.T) {
	const limit = 4
	c := start(t, at("a:1", "b:1"), limited(limit, 1000, time.Minute))
	var holders sync.Map
	for _, e := range c.Endpoints() {
		holders.Store(e.Addr, new(atomic.Int64))
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					go cancel()
				}
				ep, err := c.acquire(ctx, new(gateway.Exchange))
				if err == nil {
					v, _ := holders.Load(ep.Addr)
					n := v.(*atomic.Int64)
					if n.Add(1) > limit {
						t.Errorf("%d at %s", n.Load(), ep.Addr)
					}
					n.Add(-1)
					c.free(ep)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	for _, e := range c.Endpoints() {
		if e.Active != 0 || c.Waiting() != 0 {
			t.Errorf("%d places at %s are lost, %d wait", e.Active, e.Addr, c.Waiting())
		}
	}
}

func TestQueueCostsNothingUntilSomebodyWaits(t *testing.T) {
	for name, change := range map[string]func(*Options){"without limits": nil, "with room": limited(10, 10, time.Second)} {
		t.Run(name, func(t *testing.T) {
			c := start(t, at("a:1", "b:1"), change)
			x, ctx := new(gateway.Exchange), t.Context()
			if n := testing.AllocsPerRun(100, func() {
				ep, err := c.acquire(ctx, x)
				if err != nil {
					t.Fatal(err)
				}
				c.free(ep)
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func BenchmarkAcquire(b *testing.B) {
	for name, change := range map[string]func(*Options){"without limits": nil, "with room": limited(1000, 10, time.Second)} {
		b.Run(name, func(b *testing.B) {
			c := start(b, at("a:1", "b:1"), change)
			x, ctx := new(gateway.Exchange), b.Context()
			b.ReportAllocs()
			for b.Loop() {
				ep, err := c.acquire(ctx, x)
				if err != nil {
					b.Fatal(err)
				}
				c.free(ep)
			}
		})
	}
}
