package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// halfOpen is a breaker whose first term is over.
func halfOpen(t *testing.T, change func(*Settings)) *bench {
	t.Helper()
	b := opened(t, change)
	wait(10*time.Second + 1)
	b.want(HalfOpen)
	return b
}

func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := halfOpen(t, nil)
		probes := []gateway.Admission{b.begin(), b.begin(), b.begin()}
		for range 1000 {
			b.refuses() // fault 11: no more than these
		}
		probes[0].Ended(good, 0)
		b.refuses() // one that has succeeded makes no room: three in all
		probes[1].Ended(none, 0)
		probes[1] = b.begin() // one that says nothing does
		b.refuses()
		probes[1].Ended(good, 0)
		b.want(HalfOpen)
		probes[2].Ended(good, 0)
		b.want(Recovering)
	})
}

// TestR13 are probes that never end.
func TestR13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := halfOpen(t, nil)
		hanging := []gateway.Admission{b.begin(), b.begin(), b.begin()}
		wait(10*time.Second - 1)
		b.refuses()
		b.want(HalfOpen)
		wait(1)
		b.want(Open) // as if the probe had failed
		if got := b.Info(); got.Why != whyTimeout || got.Opened != 2 || got.Probes != 0 {
			t.Errorf("after the time of a probe: %+v", got)
		}
		wait(20*time.Second + 1)
		b.want(HalfOpen)
		for _, a := range hanging { // of an earlier opening
			a.Ended(bad, 0)
			a.Ended(good, 0)
		}
		b.want(HalfOpen)
		b.end(3, good, 0)
		b.want(Recovering)
	})
}

func TestProbeTimeoutIsSeenByAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := halfOpen(t, func(s *Settings) { s.Probes = 1 })
		b.begin()
		b.refuses()
		wait(10 * time.Second)
		b.refuses() // which finds the probe late
		if v := b.now.Load(); v.state != Open || v.opened != 2 {
			t.Errorf("state %s, opened %d times in a row; want open for the second time", v.state, v.opened)
		}
	})
}

// TestStreamsAsProbes are probes that go on for as long as their clients want.
func TestStreamsAsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := halfOpen(t, func(s *Settings) { s.Probes = 2 })
		begun, silent := b.begin(), b.begin()
		begun.Answered(true)
		silent.Answered(false)
		silent.Ended(good, 0)
		b.want(HalfOpen)
		wait(10 * time.Second)
		b.want(Recovering)
		begun.Ended(bad, 0) // much later
		b.want(Recovering)
	})
}

func TestSlowProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(s *Settings) { s.SlowRatio = 0.5 }
		b := halfOpen(t, slow)
		b.end(1, good, 2*time.Second)
		b.want(Open)
		b = halfOpen(t, nil) // without a ratio nobody minds
		b.end(1, good, 2*time.Second)
		b.want(HalfOpen)
	})
}
