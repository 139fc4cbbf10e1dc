package concurrency

import (
	"testing"
	"testing/synctest"
	"time"
)

var (
	adaptive = Adaptive{Min: 4, Max: 1000, Initial: 20, Tolerance: 1.2}
	short    = Queue{Size: 100, Timeout: time.Second, Target: 20 * time.Millisecond}
)

// bubble runs f in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// At four times what a service can do, it does nearly all that it can, and who is
// let in waits little.
func TestOverload(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		workers  int
		takes    time.Duration
		random   bool
	}{
		{"fixed", Settings{Max: 20, Queue: short}, 20, 50 * time.Millisecond, false},
		{"adaptive", Settings{Adaptive: &adaptive, Queue: short}, 20, 50 * time.Millisecond, false},
		{"adaptive, few workers", Settings{Adaptive: &adaptive, Queue: short}, 6, 50 * time.Millisecond, false},
		{"adaptive, many workers", Settings{Adaptive: &adaptive, Queue: short}, 100, 50 * time.Millisecond, false},
		{"adaptive, random times", Settings{Adaptive: &adaptive, Queue: short}, 20, 50 * time.Millisecond, true},
		{"adaptive, without a queue", Settings{Adaptive: &adaptive}, 20, 50 * time.Millisecond, true},
		{"adaptive, from far above", Settings{Adaptive: &Adaptive{Min: 4, Max: 1000, Initial: 200, Tolerance: 1.2}, Queue: short}, 20, 50 * time.Millisecond, false},
	} {
		bubble(t, c.name, func(t *testing.T) {
			capacity := float64(c.workers) / c.takes.Seconds()
			l, s := New(c.settings), newService(c.workers, c.takes, c.random)
			peak := ask(t, New(Settings{Max: 1000}), newService(c.workers, c.takes, c.random), 10*time.Second, caller{rate: 0.8 * capacity})[0]
			ask(t, l, s, 20*time.Second, caller{rate: 4 * capacity}) // finds its limit
			const over = 20 * time.Second
			got := ask(t, l, s, over, caller{rate: 4 * capacity})[0]
			i := l.Info()
			t.Logf("limit %d, baseline %v, goodput %.0f of %.0f/s, p50 %v, p99 %v, unloaded p99 %v", i.Limit, i.Baseline, got.goodput(over), capacity, got.quantile(0.5), got.quantile(0.99), peak.quantile(0.99))
			if got.goodput(over) < 0.8*capacity {
				t.Errorf("goodput %.0f/s of %.0f", got.goodput(over), capacity)
			}
			if got.quantile(0.99) > 2*peak.quantile(0.99) {
				t.Errorf("p99 %v, %v without overload", got.quantile(0.99), peak.quantile(0.99))
			}
		})
	}
}

// A service that loses and gets back most of its workers gets its traffic back.
func TestLimitReturns(t *testing.T) {
	bubble(t, "after a loss", func(t *testing.T) {
		l, s := New(Settings{Adaptive: &adaptive, Queue: short}), newService(100, 50*time.Millisecond, false)
		steps := func(name string, over time.Duration, rate float64) *tally {
			got := ask(t, l, s, over, caller{rate: rate})[0]
			i := l.Info()
			t.Logf("%s: limit %d, baseline %v, goodput %.0f/s, p99 %v", name, i.Limit, i.Baseline, got.goodput(over), got.quantile(0.99))
			return got
		}
		steps("before", 30*time.Second, 1900)
		s.change(10, 50*time.Millisecond)
		steps("with a tenth", 30*time.Second, 1900)
		if got := steps("with a tenth, later", 20*time.Second, 1900); got.goodput(20*time.Second) < 160 {
			t.Errorf("goodput %.0f/s of 200 that are possible", got.goodput(20*time.Second))
		}
		s.change(100, 50*time.Millisecond)
		steps("again", 20*time.Second, 1900)
		if got := steps("later", 10*time.Second, 1900); got.goodput(10*time.Second) < 0.95*1900 {
			t.Errorf("goodput %.0f/s of 1900", got.goodput(10*time.Second))
		}
	})
	bubble(t, "never pinned to the minimum", func(t *testing.T) {
		l, s := New(Settings{Adaptive: &adaptive, Queue: short}), newService(50, 20*time.Millisecond, false)
		ask(t, l, s, 20*time.Second, caller{rate: 400})
		s.change(50, 200*time.Millisecond) // ten times as slow for good: what could be done at once still can
		got := ask(t, l, s, 60*time.Second, caller{rate: 200})[0]
		t.Logf("limit %d, baseline %v", l.Info().Limit, l.Info().Baseline)
		last := ask(t, l, s, 20*time.Second, caller{rate: 200})[0]
		if last.refused > 0 {
			t.Errorf("limit %d, %d refused, %d before", l.Info().Limit, last.refused, got.refused)
		}
	})
}
