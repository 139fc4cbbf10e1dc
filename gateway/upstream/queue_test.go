package upstream

import (
	"context"
	"net/http"
	"slices"
	"sync"
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

// Between the end of a request and the start of the next one, a newcomer does not
// take the place of who has waited.
func TestNobodyJumpsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, at("a:1"), limited(1, 3, time.Minute))
		ep := hold(t, c)
		served := make(chan string, 2)
		standIn(t.Context(), c, "", func(*gateway.Endpoint, error) { served <- "first" })
		ep.Stats.Active.Add(-1) // the first half of free
		standIn(t.Context(), c, "", func(*gateway.Endpoint, error) { served <- "second" })
		c.endpointsChanged() // and the second
		if got := <-served; got != "first" {
			t.Errorf("the %s was served first", got)
		}
		c.free(ep)
		<-served
	})
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
