package gateway

import (
	"math"
	"sync"
	"testing"
	"time"
)

func wantLatency(t *testing.T, l *Latency, at time.Time, want time.Duration) {
	t.Helper()
	got := l.At(at)
	if math.Abs(got-want.Seconds()) > want.Seconds()/1000 {
		t.Errorf("the average is %.6f s, want %.6f", got, want.Seconds())
	}
}

func times(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

func TestLatency(t *testing.T) {
	const ms = time.Millisecond
	start := time.Now()
	followed := func() *Latency {
		l := new(Latency)
		l.Follow(10 * time.Second)
		return l
	}
	t.Run("nothing is kept for nobody", func(t *testing.T) {
		l := new(Latency)
		l.Observe(start, time.Second)
		l.Fail(start)
		if l.Followed() || l.At(start) != 0 {
			t.Errorf("followed: %t, average %v", l.Followed(), l.At(start))
		}
	})
	t.Run("nothing is known at first", func(t *testing.T) {
		if l := followed(); !l.Followed() || l.At(start) != 0 {
			t.Errorf("followed: %t, average %v", l.Followed(), l.At(start))
		}
	})
	t.Run("a slower answer counts at once", func(t *testing.T) {
		l := followed()
		l.Observe(start, 10*ms)
		l.Observe(start, 80*ms)
		wantLatency(t, l, start, 80*ms)
	})
	t.Run("a faster one by the time since", func(t *testing.T) {
		l := followed()
		l.Observe(start, 80*ms)
		l.Observe(start, 10*ms)
		wantLatency(t, l, start, 80*ms)
		l.Observe(start.Add(10*time.Second), 10*ms)
		wantLatency(t, l, start.Add(10*time.Second), 10*ms+times(70*ms, math.Exp(-1)))
	})
	t.Run("silence lowers it too", func(t *testing.T) {
		l := followed()
		l.Observe(start, 80*ms)
		wantLatency(t, l, start.Add(20*time.Second), times(80*ms, math.Exp(-2)))
	})
	t.Run("many answers of one millisecond are one", func(t *testing.T) {
		l := followed()
		l.Observe(start, 80*ms)
		for range 1000 {
			l.Observe(start.Add(time.Second), 10*ms)
		}
		wantLatency(t, l, start.Add(time.Second), 10*ms+times(70*ms, math.Exp(-0.1)))
	})
	t.Run("a failure is a tenth of the decay at least", func(t *testing.T) {
		l := followed()
		l.Observe(start, 10*ms)
		l.Fail(start)
		wantLatency(t, l, start, time.Second)
		l.Observe(start, 3*time.Second)
		l.Fail(start.Add(time.Millisecond))
		wantLatency(t, l, start, 3*time.Second)
	})
	t.Run("reports may come in any order", func(t *testing.T) {
		l := followed()
		l.Observe(start.Add(time.Second), 80*ms)
		l.Observe(start, 10*ms)
		wantLatency(t, l, start, 80*ms)
	})
	t.Run("allocates nothing", func(t *testing.T) {
		l := followed()
		if n := testing.AllocsPerRun(100, func() { l.Observe(time.Now(), ms); l.At(time.Now()) }); n != 0 {
			t.Errorf("%v allocations, want 0", n)
		}
	})
}

// However many report at once, the average stays between what they reported.
func TestLatencyConcurrent(t *testing.T) {
	var l Latency
	l.Follow(10 * time.Millisecond)
	start := time.Now()
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 5000 {
				at := start.Add(time.Duration(i) * 100 * time.Microsecond)
				l.Observe(at, time.Duration(10+n)*time.Millisecond)
				if v := l.At(at); v <= 0 || v > 0.0171 {
					t.Errorf("the average is %v s", v)
					return
				}
			}
		})
	}
	wg.Wait()
	if v := l.At(start.Add(500 * time.Millisecond)); v < 0.009 || v > 0.0171 {
		t.Errorf("in the end the average is %v s", v)
	}
}
