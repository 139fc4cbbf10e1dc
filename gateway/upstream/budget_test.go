package upstream

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestBudget(t *testing.T) {
	twenty := gateway.RetryBudget{Percent: 20, Min: 3, Window: 10 * time.Second}
	allowed := func(r *retries, b gateway.RetryBudget) (n int) {
		for n < 1000 && r.allow(b) {
			n++
		}
		return n
	}
	ask := func(r *retries, n int) {
		for range n {
			r.request()
		}
	}
	bubble(t, "the floor", func(t *testing.T) {
		r := newRetries()
		if n := allowed(r, twenty); n != 3 {
			t.Errorf("%d without any request", n)
		}
		ask(r, 15)
		if n := allowed(r, twenty); n != 0 {
			t.Errorf("%d more with 15 requests", n)
		}
	})
	bubble(t, "the share", func(t *testing.T) {
		r := newRetries()
		ask(r, 1000)
		if n := allowed(r, twenty); n != 200 {
			t.Errorf("%d of 1000", n)
		}
		if n := allowed(r, gateway.RetryBudget{Percent: 50, Window: time.Second}); n != 300 {
			t.Errorf("%d more for another policy", n)
		}
	})
	bubble(t, "the window", func(t *testing.T) {
		r := newRetries()
		for second := range 200 { // several times around the ring
			ask(r, 100)
			if n := allowed(r, twenty); n != 20 {
				t.Fatalf("%d in second %d", n, second)
			}
			after(time.Second)
		}
		after(9 * time.Second)
		if n := allowed(r, twenty); n != 3 {
			t.Errorf("%d after a long silence", n)
		}
	})
	bubble(t, "those on their way", func(t *testing.T) {
		r := newRetries()
		ask(r, 10)
		r.active.Add(int64(allowed(r, twenty)))
		after(time.Minute)
		if r.allow(twenty) {
			t.Error("three on their way and one more")
		}
		r.active.Add(-1)
		if n := allowed(r, twenty); n != 3 {
			t.Errorf("%d more with two on their way", n) // none of them is on its way here
		}
	})
	bubble(t, "zero percent", func(t *testing.T) {
		r := newRetries()
		ask(r, 1000)
		if n := allowed(r, gateway.RetryBudget{Min: 7, Window: time.Second}); n != 7 {
			t.Errorf("%d", n)
		}
	})
}

// Many at once never get more than the budget has.
func TestBudgetUnderLoad(t *testing.T) {
	r := newRetries()
	for range 5000 {
		r.request()
	}
	var begun atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 1000 {
				if r.allow(gateway.RetryBudget{Percent: 20, Window: gateway.MaxRetryWindow}) {
					begun.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if begun.Load() != 1000 {
		t.Errorf("%d retries, want 1000", begun.Load())
	}
}

// S11: a service that fails four of five requests gets at most a fifth more of them.
func TestBudgetBoundsTheLoadOfAFailingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var load atomic.Int64
		c := start(t, at("10.0.0.1:80", "10.0.0.2:80"), h2(func(w http.ResponseWriter, _ *http.Request) {
			if load.Add(1)%5 != 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		t.Cleanup(synctest.Wait)
		const seconds, perSecond = 30, 100
		var wg sync.WaitGroup
		for range seconds * perSecond {
			wg.Go(func() {
				r, x := request(t, "GET", nil)
				x.Retry = policyOf(func(p *gateway.Retry) { p.Attempts, p.Budget.Min = 3, 3 })
				resp, err := c.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close()
			})
			after(time.Second / perSecond)
		}
		wg.Wait()
		const requests = seconds * perSecond
		if n := load.Load(); n < requests*115/100 || n > requests*120/100+3 {
			t.Errorf("S11: %d attempts for %d requests", n, requests)
		}
		if !strings.Contains(counts(c), "budget_exhausted") {
			t.Errorf("counted %q", counts(c))
		}
		for _, e := range c.Endpoints() {
			if e.Active != 0 {
				t.Errorf("%d requests are active", e.Active)
			}
		}
	})
}

// The budget and its counts are the upstream's, not one cluster's.
func TestBudgetOutlivesAReload(t *testing.T) {
	stats := NewStatsStore()
	ask := func() {
		c := start(t, at("10.0.0.1:80"), func(o *Options) {
			o.Stats = stats
			o.dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
			}
		})
		r, x := request(t, "GET", nil)
		x.Retry = policyOf(func(p *gateway.Retry) { p.Budget = gateway.RetryBudget{Min: 1, Window: time.Minute} })
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusServiceUnavailable, "connect_failed", gateway.CauseNetwork)
	}
	ask()
	ask()
	c := start(t, nil, func(o *Options) { o.Stats = stats })
	if got := counts(c); got != "failed=1 budget_exhausted=2" {
		t.Errorf("counted %q", got)
	}
}

func TestBudgetAllocations(t *testing.T) {
	r := newRetries()
	budget := gateway.RetryBudget{Percent: 20, Min: 3, Window: 10 * time.Second}
	if n := testing.AllocsPerRun(100, func() { r.request(); r.allow(budget) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkBudget(b *testing.B) {
	r := newRetries()
	budget := gateway.RetryBudget{Percent: 20, Min: 3, Window: 10 * time.Second}
	b.Run("request", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.request()
			}
		})
	})
	b.Run("retry", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				r.allow(budget)
			}
		})
	})
}
