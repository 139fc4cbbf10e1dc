package overload

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fast makes a gauge one that is looked at between rounds. relieved counts the relief.
func (g *gauge) fast(read, relieved *atomic.Int64) Source {
	s := g.source()
	inner := s.Read
	s.Most = inner
	s.Read = func() (float64, bool) { read.Add(1); return inner() }
	s.Relieve = func() { relieved.Add(1) }
	return s
}

// Memory that fills within a round is noticed within it, and costs little while it does not.
func TestGlance(t *testing.T) {
	pressed(t, func(t *testing.T, m *Manager, g *gauge, _ *strings.Builder) {
		var read, relieved atomic.Int64
		m.Follow([]Source{g.fast(&read, &relieved)})
		if got := after(m, g, 50, 10*time.Second); got != Normal || read.Load() != 20 {
			t.Errorf("%s after %d reads in 20 rounds", got, read.Load())
		}
		for _, c := range []struct {
			percent int64
			want    Step
			share   float64
		}{{91, Close, 0}, {95, Shed, 0.25}, {99, Stop, 1}} {
			if got := after(m, g, c.percent, 25*time.Millisecond); got != c.want || m.Info().Share != c.share {
				t.Errorf("at %d%%, within 25 ms: %s, share %v", c.percent, got, m.Info().Share)
			}
		}
		if got := after(m, g, 50, 400*time.Millisecond); got != Stop {
			t.Errorf("%s: a glance never goes down", got)
		}
		if got := after(m, g, 50, 6*time.Second); got != Normal {
			t.Errorf("%s after the end", got)
		}
	})
}

// What has come in makes somebody look, at the cost of one number.
func TestTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in which no clock ticks
		var none *Manager
		none.Takes(1 << 30)
		var read, relieved atomic.Int64
		g, m := new(gauge), New(slog.New(slog.DiscardHandler))
		m.Follow([]Source{g.fast(&read, &relieved)})
		g.percent.Store(99)
		for range 31 {
			m.Takes(64 << 10)
		}
		if m.Stops() {
			t.Error("looked before 2 MiB have come")
		}
		m.Takes(64 << 10)
		if !m.Stops() {
			t.Error("nobody has looked after 2 MiB")
		}
		if n := testing.AllocsPerRun(1000, func() { m.Takes(64 << 10) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Relief has its price, so it comes seldom, and only for the resource that needs it.
func TestRelieve(t *testing.T) {
	pressed(t, func(t *testing.T, m *Manager, g *gauge, _ *strings.Builder) {
		var read, memory, other atomic.Int64
		calm := new(gauge)
		calm.percent.Store(10)
		m.Follow([]Source{g.fast(&read, &memory), calm.fast(&read, &other)})
		for _, c := range []struct {
			percent int64
			d       time.Duration
			want    int64
		}{{94, 20 * time.Second, 0}, {95, time.Second, 1}, {95, 10 * time.Second, 3}, {50, 20 * time.Second, 3}} {
			if after(m, g, c.percent, c.d); memory.Load() != c.want || other.Load() != 0 {
				t.Errorf("%s at %d%%: relieved %d times, want %d; the other %d times", c.d, c.percent, memory.Load(), c.want, other.Load())
			}
		}
	})
}
