package limiter

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTake(t *testing.T) {
	f := func(name string, limits []Limit, test func(*testing.T, *Table)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, New(limits, 100)) })
		})
	}
	want := func(t *testing.T, d Decision, limit string, wait time.Duration) {
		t.Helper()
		if d != (Decision{OK: limit == "", Limit: limit, Wait: wait}) {
			t.Errorf("decision %+v, want limit %q, wait %s", d, limit, wait)
		}
	}
	f("a burst, then the rate", []Limit{perSecond(10, 5)}, func(t *testing.T, b *Table) {
		if n := admitted(b, 7, 20); n != 5 {
			t.Errorf("%d pass at once, want 5", n)
		}
		want(t, b.Take(7, 1), "per-second", 100*time.Millisecond)
		pass(99 * time.Millisecond)
		want(t, b.Take(7, 1), "per-second", time.Millisecond)
		pass(time.Millisecond)
		want(t, b.Take(7, 1), "", 0)
		pass(time.Hour)
		if n := admitted(b, 7, 20); n != 5 {
			t.Errorf("%d pass after an hour, want 5", n)
		}
	})
	f("keys do not share", []Limit{perSecond(10, 5)}, func(t *testing.T, b *Table) {
		if n := admitted(b, 0, 20) + admitted(b, 2, 20) + admitted(b, 3, 20); n != 15 {
			t.Errorf("%d pass, want 15", n)
		}
	})
	f("costs", []Limit{perSecond(10, 5)}, func(t *testing.T, b *Table) {
		want(t, b.Take(7, 4), "", 0)
		want(t, b.Take(7, 3), "per-second", 200*time.Millisecond)
		want(t, b.Take(7, 1), "", 0)
		want(t, b.Take(8, 1<<60), "", 0) // the whole burst
		want(t, b.Take(8, 1), "per-second", 100*time.Millisecond)
	})
	f("all limits or none", []Limit{perSecond(10, 10), perDay(15)}, func(t *testing.T, b *Table) {
		if n := admitted(b, 7, 20); n != 10 {
			t.Errorf("%d pass, want 10", n)
		}
		pass(time.Second)
		if n := admitted(b, 7, 20); n != 5 {
			t.Errorf("%d pass, want the 5 that the day has left", n)
		}
		levels := b.Levels(7, nil)
		if levels[0].Remaining != 5 || levels[1].Remaining != 0 {
			t.Errorf("levels %+v: a refused request takes tokens", levels)
		}
		day := 24 * time.Hour / 15
		want(t, b.Take(7, 1), "per-day", day-time.Second)
	})
	f("what an operator sees", []Limit{perSecond(10, 5), perDay(15)}, func(t *testing.T, b *Table) {
		left := func(key uint64, want ...int64) {
			t.Helper()
			var got []int64
			for _, l := range b.Look(key) {
				got = append(got, l.Remaining)
			}
			if !slices.Equal(got, want) {
				t.Errorf("left %d, want %d", got, want)
			}
		}
		for range 200 { // far more looks than the bucket has tokens, and the table keys
			left(7, 5, 15)
		}
		b.Take(7, 3)
		left(7, 2, 12)
		for key := range uint64(1000) {
			b.Look(key)
		}
		left(7, 2, 12)
		if s := b.Stats(); s != (Stats{Keys: 1}) {
			t.Errorf("%+v: looking takes slots", s)
		}
		// Where all slots are taken by those who are limited, the next one finds the shared bucket.
		for key := range uint64(2000) {
			b.Take(key<<32|key, 5)
		}
		next := uint64(5000<<32 | 5000)
		d, seen := b.Peek(next, 1), b.Look(next)
		if !d.OK || seen[0].Remaining != 0 || b.Take(next, 1).OK {
			t.Errorf("%+v, though the next request does not pass", seen)
		}
	})
	f("looking takes nothing", []Limit{perSecond(10, 1)}, func(t *testing.T, b *Table) {
		want(t, b.Peek(7, 1), "", 0)
		want(t, b.Take(7, 1), "", 0)
		want(t, b.Peek(7, 1), "per-second", 100*time.Millisecond)
		if s := b.Stats(); s != (Stats{Keys: 1}) {
			t.Errorf("%+v", s)
		}
		pass(time.Second)
		if s := b.Stats(); s != (Stats{}) {
			t.Errorf("%+v, though all buckets are full", s)
		}
	})
}

func TestCharge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := perSecond(10, 10)
		l.Debt = 20
		b := New([]Limit{l}, 100)
		b.Charge(7, 4)
		if n := admitted(b, 7, 20); n != 6 {
			t.Errorf("%d pass after a charge of 4, want 6", n)
		}
		b.Charge(7, 5)
		if d := b.Take(7, 1); d.Wait != 600*time.Millisecond {
			t.Errorf("with a debt of 5: %+v", d)
		}
		b.Charge(7, 1<<62)
		if d := b.Take(7, 1); d.Wait != 2100*time.Millisecond {
			t.Errorf("with all the debt that there may be: %+v", d)
		}
		if level := b.Levels(7, nil)[0]; level.Remaining != 0 || level.Full != 3*time.Second {
			t.Errorf("%+v", level)
		}
		pass(3 * time.Second)
		if n := admitted(b, 7, 20); n != 10 {
			t.Errorf("%d pass when it is paid, want 10", n)
		}
	})
}

// R08: however many ask at once, no token is given twice, from the first request of a
// key on. The clock stands still while they ask.
func TestNeverTooMany(t *testing.T) {
	f := func(name string, limits ...Limit) {
		t.Helper()
		t.Run("R08: "+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(limits, 100_000)
				for round, want := range []int64{100, 10, 10} {
					var passed atomic.Int64
					var wg sync.WaitGroup
					for range 10_000 {
						wg.Go(func() { passed.Add(int64(admitted(b, 7, 2))) })
					}
					wg.Wait()
					if n := passed.Load(); n != want {
						t.Errorf("round %d: %d of 20,000 pass, want %d", round, n, want)
					}
					pass(time.Second)
				}
			})
		})
	}
	f("one limit", perSecond(10, 100))
	f("two limits", perSecond(10, 100), perDay(1_000_000))
}

// With several limits that are used up at the same time, a race may lose a token and
// never makes one.
func TestNeverTooManyOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := perSecond(10, 1000), perDay(900)
		b := New([]Limit{first, second}, 100)
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { passed.Add(int64(admitted(b, 7, 100))) })
		}
		wg.Wait()
		levels := b.Levels(7, nil)
		if n := passed.Load(); n != 900 || levels[1].Remaining != 0 || levels[0].Remaining > 100 {
			t.Errorf("%d pass, want 900; %+v", n, levels)
		}
	})
}

// R09: times are differences of monotonic readings, so setting the system's clock
// changes no bucket.
func TestClockJumps(t *testing.T) {
	t.Run("R09: monotonic", func(t *testing.T) {
		b := New([]Limit{perSecond(10, 10)}, 100)
		if !strings.Contains(b.zero.String(), " m=") {
			t.Errorf("%s has no monotonic reading", b.zero)
		}
	})
	t.Run("R09: an old reading", func(t *testing.T) {
		m := newMeter(perSecond(10, 10))
		now := int64(time.Hour)
		used := m.after(0, now, 4)
		if later := m.after(used, now-int64(time.Minute), 1); later != used+m.each {
			t.Errorf("a request that read the time before others gives %d back", used-later)
		}
	})
}

func TestConfigure(t *testing.T) {
	f := func(name string, after []Limit, maxKeys int, want int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New([]Limit{perSecond(10, 100), perDay(1000)}, 1000)
				pass(time.Minute)
				b.Take(7, 75)
				before := b.store.Load()
				b.Configure(after, maxKeys)
				if kept := b.store.Load() == before; kept != (name == "the same") {
					t.Errorf("the buckets are kept: %t", kept)
				}
				if got := b.Levels(7, nil)[0].Remaining; got != want {
					t.Errorf("%d tokens left, want %d", got, want)
				}
				if got := b.Levels(8, nil)[0].Remaining; got != after[0].Burst {
					t.Errorf("another key has %d left", got)
				}
			})
		})
	}
	f("the same", []Limit{perSecond(10, 100), perDay(1000)}, 1000, 25)
	f("another rate", []Limit{perSecond(20, 100)}, 1000, 25)
	f("a greater burst", []Limit{perSecond(10, 200)}, 1000, 50)
	f("a smaller burst", []Limit{perSecond(10, 20)}, 1000, 5)
	f("another place in the list", []Limit{perDay(2000), perSecond(10, 100)}, 1000, 1850)
	f("less keys", []Limit{perSecond(10, 100)}, 7, 25)
	f("a new limit", []Limit{{Name: "per-hour", Count: 10, Per: time.Hour, Burst: 10}}, 1000, 10)
}

func TestHash(t *testing.T) {
	a, b := New([]Limit{perSecond(1, 1)}, 7), New([]Limit{perSecond(1, 1)}, 7)
	if a.Hash("x") == b.Hash("x") {
		t.Error("two tables have one secret")
	}
	if a.Hash("x") != a.HashBytes([]byte("x")) || a.Hash("x") == a.Hash("y") {
		t.Error("texts and bytes")
	}
	x, y := a.Hash("x"), a.Hash("y")
	if a.Join(x, y) == a.Join(y, x) || a.Join(x, y) == a.Join(x, x) {
		t.Error("joining parts does not tell their order")
	}
}

func TestLimitCheck(t *testing.T) {
	f := func(l Limit, want string) {
		t.Helper()
		got := ""
		if err := l.Check(); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%+v: %q, want %q", l, got, want)
		}
	}
	f(perSecond(1_000_000, 2_000_000), "")
	f(perSecond(1_000_001, 1), "at most 1000000/s")
	f(perSecond(0, 1), "at least 1 in some time")
	f(perSecond(1, 0), "a burst is at least 1")
	f(perDay(1), "")
	f(Limit{Count: 1, Per: 24 * time.Hour, Burst: 367}, "more than a year to come back")
	f(Limit{Count: 1, Per: time.Second, Burst: 1, Debt: -1}, "a debt is at least 0")
	f(Limit{Count: 1, Per: 24 * time.Hour, Burst: 1, Debt: 1 << 40}, "more than a year to pay")
}

func TestAllocations(t *testing.T) {
	b := New([]Limit{perSecond(10, 100), perDay(1000)}, 100)
	var room [MaxLimits]Level
	key := uint64(0)
	for name, f := range map[string]func(){
		"a decision": func() { b.Take(7, 1) }, "a new key": func() { key++; b.Take(key<<40|key, 1) }, "a charge": func() { b.Charge(7, 3) },
		"a hash": func() { b.Take(b.Join(b.Hash("some key"), 3), 1) }, "the levels": func() { b.Levels(7, room[:0]) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s costs %v allocations", name, n)
		}
	}
}
