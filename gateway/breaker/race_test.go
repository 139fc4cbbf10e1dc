package breaker

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// TestRace has 16 goroutines drive one breaker through all its states, and holds
// it against what may never be: more probes at a time than there are to be, and
// a breaker that gets stuck. A probe that is late makes room while it is still on its
// way, and a goroutine may wait for a processor for longer than any short limit, so
// probes are counted only where none is late.
func TestRace(t *testing.T) {
	for name, timeout := range map[string]time.Duration{"probes that end in time": time.Hour, "probes that are late": time.Nanosecond} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.Window, s.Minimum, s.Open, s.MaxOpen, s.Recovery, s.ProbeTimeout = time.Second, 20, time.Millisecond, 2*time.Millisecond, time.Millisecond, timeout
			race(t, s, timeout == time.Hour)
		})
	}
}

func race(t *testing.T, s Settings, inTime bool) {
	const rounds = 10
	var changes [States]atomic.Uint64
	b := New(s, func(c Change) { changes[c.To].Add(1) })
	over := func() bool {
		if inTime {
			return changes[Closed].Load() >= rounds
		}
		return changes[HalfOpen].Load() >= 5*rounds // it hardly ever closes
	}
	var probing atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for !over() {
				if !b.Passes() {
					runtime.Gosched() // only time helps
					continue
				}
				a, ok := b.Admit()
				if !ok {
					runtime.Gosched()
					continue
				}
				if p, isProbe := a.Of.(*probe); isProbe {
					if n := probing.Add(1); n > int64(s.Probes) && inTime {
						t.Errorf("%d probes at a time, want at most %d", n, s.Probes)
					}
					probing.Add(-1) // before it ends: its end makes room
					p.Ended(0, gateway.OutcomeGood, 0)
					continue
				}
				outcome := gateway.OutcomeBad
				if rand.IntN(3) == 0 {
					outcome = gateway.OutcomeGood
				}
				a.Answered(false)
				a.Ended(outcome, 0)
			}
		})
	}
	wg.Wait()
	info := b.Info()
	for to, n := range info.Changes {
		if (n == 0 && inTime) || n != changes[to].Load() {
			t.Errorf("%d changes to %s, %d of them told", n, State(to), changes[to].Load())
		}
	}
}

// TestNothingIsLost counts from 16 goroutines at once.
func TestNothingIsLost(t *testing.T) {
	s := usual()
	s.Window, s.Minimum = 10*time.Minute, 1_000_000
	b := New(s, nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 10_000 {
				a, _ := b.Admit()
				o := gateway.OutcomeGood
				if i%4 == 0 {
					o = gateway.OutcomeBad
				}
				a.Ended(o, 0)
			}
		})
	}
	wg.Wait()
	if got := b.Info(); got.Requests != 160_000 || got.Failures != 40_000 || got.TotalFailures != 40_000 {
		t.Errorf("counted %d attempts and %d failures, want 160000 and 40000", got.Requests, got.Failures)
	}
}

func TestAllocations(t *testing.T) {
	b := New(usual(), nil)
	run := func(what string, want float64, f func()) {
		t.Helper()
		if got := testing.AllocsPerRun(1000, f); got > want {
			t.Errorf("%s: %g allocations, want at most %g", what, got, want)
		}
	}
	run("closed", 0, func() { decide(b, gateway.OutcomeGood) })
	run("closed, one that fails", 0, func() { decide(b, gateway.OutcomeNone); decide(b, gateway.OutcomeGood); decide(b, gateway.OutcomeBad) })
	b.Force(ForceOpen)
	run("open", 0, func() { decide(b, gateway.OutcomeGood) })
	b.Force(ForceClosed)
	b.Force(Auto)
	for range 2000 {
		decide(b, gateway.OutcomeBad)
	}
	run("open by itself", 0, func() { decide(b, gateway.OutcomeGood) })
}

// decide is all that an attempt asks of a breaker.
func decide(b *Breaker, o gateway.Outcome) {
	if !b.Passes() {
		return
	}
	if a, ok := b.Admit(); ok {
		a.Answered(false)
		a.Ended(o, time.Millisecond)
	}
}
