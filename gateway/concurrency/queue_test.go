package concurrency

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// line puts requests into the queue of a full limiter, one after the other, and
// tells in which order they get their turn.
type line struct {
	l     *Limiter
	mu    sync.Mutex
	order []string
	ends  map[string]error
	work  sync.WaitGroup
}

func newLine(q Queue) *line {
	n := &line{l: New(Settings{Max: 1, Queue: q}), ends: make(map[string]error)}
	n.l.Try()
	return n
}

func (n *line) ask(ctx context.Context, name string, key uint64, p gateway.Priority) {
	n.work.Go(func() {
		err := n.l.Wait(ctx, key, p)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.ends[name] = err; err == nil {
			n.order = append(n.order, name)
		}
	})
	synctest.Wait()
}

// free gives the place back n times, each time to the next one.
func (n *line) free(times int) []string {
	for range times {
		n.l.Done(Sample{})
		synctest.Wait()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.order)
}

func (n *line) want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("served %v, want %v", got, want)
	}
	after(time.Hour) // nobody waits any more
	n.work.Wait()
	if i := n.l.Info(); i.Waiting != 0 {
		t.Errorf("%d are left", i.Waiting)
	}
}

func TestQueueOrder(t *testing.T) {
	quiet := Queue{Size: 10, Timeout: time.Second, Target: 50 * time.Millisecond}
	low, normal, high := gateway.PriorityLow, gateway.PriorityNormal, gateway.PriorityHigh
	bubble(t, "keys take turns", func(t *testing.T) {
		n := newLine(quiet)
		n.ask(t.Context(), "a1", 1, normal)
		n.ask(t.Context(), "a2", 1, normal)
		n.ask(t.Context(), "a3", 1, normal)
		n.ask(t.Context(), "b1", 2, normal)
		n.want(t, n.free(4), "a1", "b1", "a2", "a3")
	})
	bubble(t, "priorities", func(t *testing.T) {
		n := newLine(quiet)
		n.ask(t.Context(), "low", 1, low)
		n.ask(t.Context(), "normal", 1, normal)
		n.ask(t.Context(), "high", 1, high)
		n.want(t, n.free(3), "high", "normal", "low")
	})
	bubble(t, "the newest first under pressure, and the old ones not at all", func(t *testing.T) {
		n := newLine(quiet)
		n.ask(t.Context(), "first", 1, normal)
		after(80 * time.Millisecond)
		n.ask(t.Context(), "second", 1, normal)
		after(30 * time.Millisecond) // longer than twice the target since the first one
		n.ask(t.Context(), "third", 1, normal)
		n.want(t, n.free(2), "third", "second")
		if !errors.Is(n.ends["first"], ErrShed) {
			t.Errorf("the first one: %v", n.ends["first"])
		}
	})
	bubble(t, "who may wait no longer", func(t *testing.T) {
		n := newLine(quiet)
		n.ask(t.Context(), "late", 1, normal)
		after(2 * time.Second)
		ctx, leave := context.WithCancel(t.Context())
		n.ask(ctx, "gone", 1, normal)
		leave()
		synctest.Wait()
		if !errors.Is(n.ends["late"], ErrLate) || !errors.Is(n.ends["gone"], context.Canceled) {
			t.Errorf("%v", n.ends)
		}
		if got := n.l.Info().Refused; got != [3]uint64{0, 1, 0} {
			t.Errorf("refused %v: who leaves is not refused", got)
		}
		n.want(t, n.free(0))
	})
	bubble(t, "nobody is served after leaving", func(t *testing.T) {
		n := newLine(quiet)
		ctx, leave := context.WithCancel(t.Context())
		n.ask(ctx, "gone", 1, normal)
		leave()
		n.l.Done(Sample{}) // in the same moment
		synctest.Wait()
		if !n.l.Try() && n.ends["gone"] != nil {
			t.Error("the place is lost")
		}
		n.want(t, n.free(0), n.order...)
	})
}

func TestQueueFull(t *testing.T) {
	full := Queue{Size: 2, Timeout: time.Second, Target: 50 * time.Millisecond}
	low, normal, high := gateway.PriorityLow, gateway.PriorityNormal, gateway.PriorityHigh
	bubble(t, "the newest of the key with the most goes", func(t *testing.T) {
		n := newLine(full)
		n.ask(t.Context(), "a1", 1, normal)
		n.ask(t.Context(), "a2", 1, normal)
		n.ask(t.Context(), "a3", 1, normal)
		if !errors.Is(n.ends["a3"], ErrFull) {
			t.Errorf("a3: %v", n.ends["a3"])
		}
		n.ask(t.Context(), "b1", 2, normal)
		if !errors.Is(n.ends["a2"], ErrShed) {
			t.Errorf("a2: %v", n.ends["a2"])
		}
		n.ask(t.Context(), "c1", 3, normal)
		if !errors.Is(n.ends["c1"], ErrFull) {
			t.Errorf("c1 has no more right to wait than a1 and b1: %v", n.ends["c1"])
		}
		n.want(t, n.free(2), "a1", "b1")
	})
	bubble(t, "low priority goes first", func(t *testing.T) {
		n := newLine(full)
		n.ask(t.Context(), "low", 1, low)
		n.ask(t.Context(), "normal", 1, normal)
		n.ask(t.Context(), "high", 1, high)
		n.ask(t.Context(), "late", 1, low)
		if !errors.Is(n.ends["low"], ErrShed) || !errors.Is(n.ends["late"], ErrFull) {
			t.Errorf("%v", n.ends)
		}
		n.want(t, n.free(2), "high", "normal")
	})
	bubble(t, "no queue", func(t *testing.T) {
		n := newLine(Queue{})
		n.ask(t.Context(), "a", 1, high)
		if !errors.Is(n.ends["a"], ErrFull) {
			t.Errorf("%v", n.ends)
		}
		n.l.Done(Sample{})
		n.ask(t.Context(), "b", 1, high)
		n.want(t, n.order, "b")
	})
	bubble(t, "a higher limit lets in who waits", func(t *testing.T) {
		n := newLine(full)
		n.ask(t.Context(), "a", 1, normal)
		n.l.Configure(Settings{Max: 2, Queue: full})
		synctest.Wait()
		n.want(t, n.order, "a")
	})
}

// A caller who asks for little gets it, beside one who asks for far too much.
func TestSmallCallerHasHisShare(t *testing.T) {
	for name, settings := range map[string]Settings{"fixed": {Max: 20, Queue: short}, "adaptive": {Adaptive: &adaptive, Queue: short}} {
		bubble(t, name, func(t *testing.T) {
			l, s := New(settings), newService(20, 50*time.Millisecond, true)
			greedy := caller{rate: 1600, key: 1}
			ask(t, l, s, 20*time.Second, greedy)
			got := ask(t, l, s, 20*time.Second, greedy, caller{rate: 40, key: 2})[1]
			if share := float64(len(got.took)) / (20 * 40); share < 0.95 {
				t.Errorf("the small caller got %.0f%% of a tenth of what is possible", 100*share)
			}
		})
	}
	bubble(t, "priority", func(t *testing.T) {
		l, s := New(Settings{Adaptive: &adaptive, Queue: short}), newService(20, 50*time.Millisecond, true)
		rates := []caller{{rate: 1200, key: 1, priority: gateway.PriorityLow}, {rate: 200, key: 1}, {rate: 100, key: 1, priority: gateway.PriorityHigh}}
		ask(t, l, s, 20*time.Second, rates...)
		got := ask(t, l, s, 20*time.Second, rates...)
		if len(got[2].took) < 1960 || len(got[1].took) < 3400 {
			t.Errorf("of 2000 with high priority %d, of 4000 with normal %d were served", len(got[2].took), len(got[1].took))
		}
		if len(got[0].took) == 0 {
			t.Error("there was room for some of low priority")
		}
	})
}

// However many ask at once, the limit is kept and nobody is forgotten.
func TestLimitIsKept(t *testing.T) {
	const limit, callers, rounds = 8, 64, 2000
	l := New(Settings{Max: limit, Queue: Queue{Size: callers, Timeout: time.Minute, Target: 30 * time.Second}})
	var inside, most atomic.Int64
	var work sync.WaitGroup
	for key := range uint64(callers) {
		work.Go(func() {
			for range rounds {
				if !l.Try() {
					if err := l.Wait(t.Context(), key, gateway.PriorityNormal); err != nil {
						t.Errorf("refused: %v", err)
						return
					}
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				inside.Add(-1)
				l.Done(Sample{})
			}
		})
	}
	work.Wait()
	if i := l.Info(); most.Load() > limit || i.Active != 0 || i.Waiting != 0 {
		t.Errorf("%d at once, then %+v", most.Load(), i)
	}
}

func TestNoAllocations(t *testing.T) {
	for name, s := range map[string]Settings{"fixed": {Max: 10}, "adaptive": {Adaptive: &adaptive}} {
		l := New(s)
		if n := testing.AllocsPerRun(1000, func() {
			l.Try()
			l.Done(Sample{Waited: time.Millisecond})
		}); n != 0 {
			t.Errorf("%s: %v allocations for a request that need not wait", name, n)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	for name, s := range map[string]Settings{"fixed": {Max: 1000}, "adaptive": {Adaptive: &adaptive}} {
		b.Run(name, func(b *testing.B) {
			l := New(s)
			b.SetParallelism(8) // 16 goroutines on two processors
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if l.Try() {
						l.Done(Sample{Waited: time.Millisecond})
					}
				}
			})
		})
	}
}
