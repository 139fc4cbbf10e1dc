package upstream

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

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
