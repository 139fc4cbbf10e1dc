package breaker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait lets the time of a bubble pass.
func wait(d time.Duration) { <-time.After(d) }

const (
	none = gateway.OutcomeNone
	good = gateway.OutcomeGood
	bad  = gateway.OutcomeBad
)

// usual are the defaults of the middleware.
func usual() Settings {
	return Settings{
		Window: 10 * time.Second, Minimum: 20, FailureRatio: 0.5, Slow: 2 * time.Second,
		Open: 10 * time.Second, MaxOpen: 2 * time.Minute, Probes: 3, ProbeTimeout: 10 * time.Second, Recovery: 10 * time.Second,
	}
}

// bench is a breaker under test and what it has told.
type bench struct {
	*Breaker
	t       *testing.T
	changes []Change
}

func newBench(t *testing.T, change func(*Settings)) *bench {
	t.Helper()
	s := usual()
	if change != nil {
		change(&s)
	}
	b := &bench{t: t}
	b.Breaker = New(s, func(c Change) { b.changes = append(b.changes, c) })
	return b
}

// begin makes an attempt that must be admitted.
func (b *bench) begin() gateway.Admission {
	b.t.Helper()
	a, ok := gateway.Admission{}, b.Passes()
	if ok {
		a, ok = b.Admit()
	}
	if !ok {
		b.t.Fatalf("%s: an attempt was not admitted", b.state())
	}
	return a
}

func (b *bench) end(n int, o gateway.Outcome, waited time.Duration) {
	b.t.Helper()
	for range n {
		a := b.begin()
		a.Answered(false)
		a.Ended(o, waited)
	}
}

func (b *bench) state() State { return b.Info().State }

func (b *bench) want(s State) {
	b.t.Helper()
	if got := b.state(); got != s {
		b.t.Fatalf("state %s, want %s", got, s)
	}
}

func (b *bench) refuses() {
	b.t.Helper()
	if b.Passes() {
		if _, ok := b.Admit(); ok {
			b.t.Fatalf("%s: an attempt was admitted", b.state())
		}
	}
}

// opened is a breaker that has just tripped.
func opened(t *testing.T, change func(*Settings)) *bench {
	t.Helper()
	b := newBench(t, change)
	b.end(20, bad, 0)
	b.want(Open)
	return b
}

func TestTrips(t *testing.T) {
	consecutive := func(s *Settings) { s.FailureRatio, s.Consecutive = 0, 5 }
	slow := func(s *Settings) { s.FailureRatio, s.SlowRatio = 0, 0.8 }
	for _, c := range []struct {
		name   string
		change func(*Settings)
		run    func(b *bench)
		want   State
		why    string
	}{
		{"ratio reached", nil, func(b *bench) { b.end(10, good, 0); b.end(10, bad, 0) }, Open, whyRatio},
		{"ratio not reached", nil, func(b *bench) { b.end(11, good, 0); b.end(9, bad, 0) }, Closed, ""},
		{"fewer than the minimum", nil, func(b *bench) { b.end(19, bad, 0) }, Closed, ""},
		{"a success alone does not trip", nil, func(b *bench) { b.end(19, bad, 0); b.end(1, good, 0) }, Closed, ""},
		{"failures that are out of the window", nil, func(b *bench) {
			b.end(19, bad, 0)
			wait(10 * time.Second)
			b.end(1, bad, 0)
		}, Closed, ""},
		{"failures in the last bucket of the window", nil, func(b *bench) {
			b.end(19, bad, 0)
			wait(9 * time.Second)
			b.end(1, bad, 0)
		}, Open, whyRatio},
		{"the window rolls", nil, func(b *bench) {
			b.end(60, good, 0)
			wait(5 * time.Second)
			b.end(20, bad, 0)
			b.want(Closed)
			wait(5 * time.Second) // the good ones are out, the bad ones are not
			b.end(1, bad, 0)
		}, Open, whyRatio},
		{"in a row", consecutive, func(b *bench) { b.end(3, good, 0); b.end(5, bad, 0) }, Open, whyConsecutive},
		{"not in a row", consecutive, func(b *bench) { b.end(4, bad, 0); b.end(1, good, 0); b.end(4, bad, 0) }, Closed, ""},
		{"in a row, with an abort between", consecutive, func(b *bench) { b.end(4, bad, 0); b.end(1, none, 0); b.end(1, bad, 0) }, Open, whyConsecutive},
		{"slow", slow, func(b *bench) { b.end(4, good, time.Second); b.end(16, good, 2*time.Second) }, Open, whySlow},
		{"not slow enough", slow, func(b *bench) { b.end(4, good, time.Second); b.end(16, good, 2*time.Second-1) }, Closed, ""},
		{"slow, and nobody asks", nil, func(b *bench) { b.end(100, good, time.Hour) }, Closed, ""},
		{"R12 aborts", nil, func(b *bench) { b.end(10_000, none, time.Hour) }, Closed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, c.change)
				c.run(b)
				b.want(c.want)
				if got := b.Info().Why; got != c.why {
					t.Errorf("because of %q, want %q", got, c.why)
				}
				if c.want == Open {
					b.refuses()
				}
			})
		})
	}
}

// TestLateEnds proves that what began before a transition says nothing about what
// came after it.
func TestLateEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(s *Settings) { s.Recovery = 0 })
		var late []gateway.Admission
		for range 100 {
			late = append(late, b.begin())
		}
		b.end(20, bad, 0)
		for _, a := range late[:50] { // they end while it is open
			a.Ended(bad, 0)
		}
		wait(10*time.Second + 1)
		b.end(3, good, 0)
		b.want(Closed)
		for _, a := range late[50:] { // and these, when it is closed again
			a.Ended(bad, 0)
		}
		b.want(Closed)
		if got := b.Info().Requests; got != 0 {
			t.Errorf("%d attempts counted of an earlier circuit", got)
		}
	})
}

func TestTermsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, nil)
		for i, want := range []time.Duration{10, 20, 40, 80, 120, 120} {
			info := b.Info()
			want *= time.Second
			if term := info.Until.Sub(info.Since); term > want || term < want*8/10 {
				t.Errorf("term %d is %s, want %s or up to a fifth less", i+1, term, want)
			}
			if got := b.RetryAfter(); got != time.Until(info.Until) {
				t.Errorf("Retry-After %s, want the rest of the term, %s", got, time.Until(info.Until))
			}
			wait(time.Until(info.Until) - 1)
			b.refuses()
			wait(2)
			b.end(1, bad, 0)
			b.want(Open)
			b.refuses()
		}
	})
}

func TestTermsBeginAnewAfterRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, func(s *Settings) { s.Recovery = time.Second })
		wait(11 * time.Second)
		b.end(1, bad, 0) // the second term
		wait(21 * time.Second)
		b.end(3, good, 0)
		b.want(Recovering)
		wait(time.Second)
		b.end(20, bad, 0)
		if got := b.Info().Opened; got != 1 {
			t.Errorf("opened for the %d. time in a row, want the first", got)
		}
		want := []Change{
			{From: Closed, To: Open, Why: whyRatio},
			{From: Open, To: HalfOpen, Why: whyTerm},
			{From: HalfOpen, To: Open, Why: whyProbe},
			{From: Open, To: HalfOpen, Why: whyTerm},
			{From: HalfOpen, To: Recovering, Why: whyProbes},
			{From: Recovering, To: Closed, Why: whyRecovered},
			{From: Closed, To: Open, Why: whyRatio},
		}
		for i := range b.changes {
			b.changes[i].For = 0
		}
		if diff := cmp.Diff(want, b.changes); diff != "" {
			t.Error(diff)
		}
		if got := b.Info().Changes; got != [States]uint64{Closed: 1, Recovering: 1, HalfOpen: 2, Open: 3} {
			t.Errorf("changes %v", got)
		}
	})
}

// TestRecovery takes the share of attempts that pass in each tenth of the recovery.
func TestRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, nil)
		wait(10*time.Second + 1)
		b.end(3, good, 0)
		b.want(Recovering)
		for i := range 10 {
			passed := 0
			for range 10_000 {
				if b.Passes() {
					passed++
				}
			}
			want := 1000 + 900*i
			if passed < want-300 || passed > want+300 {
				t.Errorf("after %d s: %d of 10000 pass, want about %d", i, passed, want)
			}
			wait(time.Second)
		}
		if !b.Passes() {
			t.Error("after the recovery an attempt does not pass")
		}
		b.want(Closed)
	})
}

func TestRecoveryIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, nil)
		wait(10*time.Second + 1)
		b.end(3, good, 0)
		for range 20 {
			a, _ := b.Admit() // lots have been drawn
			a.Ended(bad, 0)
		}
		b.want(Open)
		if got := b.Info().Opened; got != 2 {
			t.Errorf("opened for the %d. time in a row, want the second", got)
		}
	})
}

func TestForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.Force(ForceOpen)
		b.want(Open)
		wait(time.Hour) // no term ends it
		b.refuses()
		b.Force(ForceClosed)
		b.end(1000, bad, 0)
		b.want(Closed)
		b.Force(Auto) // begins anew
		b.end(19, bad, 0)
		b.want(Closed)
		b.end(1, bad, 0)
		b.want(Open)
		b.Force(Auto) // it is so already
		b.want(Open)
		b.Force(ForceClosed)
		b.Force(Auto)
		b.end(1, good, 0)
		b.want(Closed)
	})
}

func TestForceWhileProbing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t, nil)
		wait(11 * time.Second)
		probe := b.begin()
		b.Force(ForceClosed)
		probe.Ended(bad, 0)
		b.want(Closed)
		b.Force(ForceOpen)
		wait(time.Hour)
		b.want(Open)
	})
}

func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.end(19, bad, 0)
		s := usual()
		s.Minimum = 30
		b.Configure(s) // keeps what was counted
		b.end(10, bad, 0)
		b.want(Closed)
		b.end(1, bad, 0)
		b.want(Open)
		until := b.Info().Until
		s.Window, s.Open = time.Minute, time.Second
		b.Configure(s) // keeps the state
		b.want(Open)
		if got := b.Info(); !got.Until.Equal(until) || got.Requests != 0 || got.TotalFailures != 30 {
			t.Errorf("after another window: %+v", got)
		}
	})
}
