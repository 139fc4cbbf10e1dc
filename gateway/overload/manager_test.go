package overload

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// gauge is a resource whose pressure the test sets, in per cent.
type gauge struct{ percent atomic.Int64 }

func (g *gauge) source() Source {
	return Source{Name: "memory", Margin: 0.03, Bounds: Bounds{0.90, 0.95, 0.98}, Read: func() (float64, bool) {
		return float64(g.percent.Load()) / 100, g.percent.Load() >= 0
	}}
}

// pressed runs f beside a manager that follows a gauge, in virtual time.
func pressed(t *testing.T, f func(t *testing.T, m *Manager, g *gauge, log *strings.Builder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		m, g := New(slog.New(slog.NewTextHandler(&log, nil))), new(gauge)
		m.Follow([]Source{g.source()})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Run(ctx) }()
		f(t, m, g, &log)
		g.percent.Store(100)
		<-time.After(time.Second)
		stop()
		<-ended
		if m.Closes() || m.Refuses() || m.Stops() {
			t.Error("there is a step after the end")
		}
	})
}

func after(m *Manager, g *gauge, percent int64, d time.Duration) Step {
	g.percent.Store(percent)
	<-time.After(d + time.Millisecond)
	synctest.Wait()
	return m.Step()
}

func TestSteps(t *testing.T) {
	pressed(t, func(t *testing.T, m *Manager, g *gauge, log *strings.Builder) {
		for _, c := range []struct {
			percent int64
			d       time.Duration
			want    Step
		}{
			{89, 5 * time.Second, Normal},
			{90, 500 * time.Millisecond, Close},
			{88, 10 * time.Second, Close}, // not lower by the margin
			{95, 500 * time.Millisecond, Shed},
			{98, 500 * time.Millisecond, Stop},
			{96, 10 * time.Second, Stop},
			{94, 1500 * time.Millisecond, Stop},
			{94, 500 * time.Millisecond, Shed},
			{50, time.Second, Shed},
			{95, 500 * time.Millisecond, Shed}, // which begins the two seconds anew
			{50, 1500 * time.Millisecond, Shed},
			{50, 500 * time.Millisecond, Close},
			{50, 2 * time.Second, Normal},
			{99, 500 * time.Millisecond, Stop},
			{10, 6 * time.Second, Normal}, // from the worst to nothing in less than ten seconds
			{-1, 10 * time.Second, Normal},
		} {
			if got := after(m, g, c.percent, c.d); got != c.want {
				t.Errorf("after %s at %d%%: %s, want %s", c.d, c.percent, got, c.want)
			}
			if m.Closes() != (c.want >= Close) || m.Stops() != (c.want == Stop) {
				t.Errorf("at %s: closes %t, stops %t", c.want, m.Closes(), m.Stops())
			}
		}
		if lines := strings.Count(log.String(), "\n"); lines != 10 {
			t.Errorf("%d lines in the log, want one for each change of the step:\n%s", lines, log)
		}
		if !strings.Contains(log.String(), "level=WARN msg=overload step=close by=memory pressure.memory=0.9") {
			t.Errorf("log: %s", log)
		}
	})
}

// The share of refused requests grows while that does not help, and gets less slowly.
func TestShare(t *testing.T) {
	pressed(t, func(t *testing.T, m *Manager, g *gauge, _ *strings.Builder) {
		var got []float64
		for _, percent := range []int64{95, 96, 96, 96, 96, 93, 93, 98, 80} {
			after(m, g, percent, 499*time.Millisecond)
			got = append(got, m.Info().Share)
		}
		if want := []float64{0.25, 0.5, 0.75, 1, 1, 0.9375, 0.875, 1, 0.9375}; !slices.Equal(got, want) {
			t.Errorf("shares %v, want %v", got, want)
		}
	})
	pressed(t, func(t *testing.T, m *Manager, g *gauge, _ *strings.Builder) {
		after(m, g, 95, 500*time.Millisecond)
		refused := 0
		for range 10000 {
			if m.Refuses() {
				refused++
			}
		}
		if refused < 2000 || refused > 3000 || m.Info().Refused != uint64(refused) {
			t.Errorf("%d of 10000 refused, want a quarter; counted %d", refused, m.Info().Refused)
		}
		after(m, g, 98, 500*time.Millisecond)
		for range 1000 {
			if !m.Refuses() {
				t.Fatal("one was let in when nothing more is accepted")
			}
		}
	})
}

func TestNoPressure(t *testing.T) {
	var none *Manager
	if none.Closes() {
		t.Error("nobody wants connections to end")
	}
	m := New(slog.New(slog.DiscardHandler))
	m.look(time.Now())
	if m.Closes() || m.Refuses() || m.Stops() {
		t.Error("without sources")
	}
	if n := testing.AllocsPerRun(1000, func() { m.Refuses() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRefuses(b *testing.B) {
	m := New(slog.New(slog.DiscardHandler))
	for b.Loop() {
		m.Refuses()
	}
}
