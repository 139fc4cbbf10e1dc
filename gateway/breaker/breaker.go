package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway"
)

// Settings say when a breaker opens, and how it closes again. A threshold of 0
// never opens it.
type Settings struct {
	Window       time.Duration // over which attempts are counted
	Minimum      int           // of attempts in the window before their shares mean something
	FailureRatio float64       // share of failures that opens
	Consecutive  int           // failures in a row that open
	Slow         time.Duration // from which on an answer is slow
	SlowRatio    float64       // share of slow answers that opens

	Open, MaxOpen time.Duration // of the first opening, and of any
	Probes        int           // that must succeed to close
	ProbeTimeout  time.Duration // after which a probe has failed
	Recovery      time.Duration // from the first attempts after the probes to all
}

// State is what a breaker does with attempts. The numbers are those of the metric.
type State uint8

// The states, the better ones first.
const (
	Closed     State = iota // all pass
	Recovering              // a growing share passes
	HalfOpen                // some pass as probes
	Open                    // none passes
	States
)

var stateNames = [States]string{"closed", "recovering", "half_open", "open"}

func (s State) String() string { return stateNames[s] }

// Force is what an operator wants of a breaker.
type Force uint8

// The wishes of operators.
const (
	Auto        Force = iota // what the attempts say
	ForceOpen                // nothing passes
	ForceClosed              // everything passes, whatever becomes of it
)

var forceNames = [...]string{"auto", "open", "closed"}

func (f Force) String() string { return forceNames[f] }

// Change is a transition of a breaker.
type Change struct {
	From, To State
	Why      string        // one of a few fixed words
	For      time.Duration // how long it is open or recovering; 0 is until something happens
}

// Breaker guards one service, or a part of it.
type Breaker struct {
	now      atomic.Pointer[view]
	run      atomic.Int64 // failures in a row
	refused  atomic.Uint64
	onChange func(Change)

	mu       sync.Mutex
	machine  *gobreaker.TwoStepCircuitBreaker[struct{}] // nil until it opens for the first time, and while an operator rules
	probes   []*probe                                   // on their way
	changes  [States]uint64                             // by the state that they led to
	failures uint64                                     // of windows that were replaced
	slow     uint64
	pending  []Change // to be told when the lock is free
}

// view is what attempts see. It is immutable.
type view struct {
	state    State
	force    Force
	number   uint64 // of the closed circuit, with its recovery: what began before does not count in it
	since    time.Time
	until    time.Time // Open: of the term. HalfOpen: when the first probe is late, if there is no room for another. Recovering: its end
	opened   int       // how often in a row, without a recovery that went through
	why      string    // it opened
	settings *Settings
	window   *window
}

// New makes a closed breaker. onChange, which may be nil, is told of transitions,
// by the goroutine of an attempt.
func New(s Settings, onChange func(Change)) *Breaker {
	b := &Breaker{onChange: onChange}
	b.now.Store(&view{since: time.Now(), settings: &s, window: newWindow(s.Window)})
	return b
}

// Configure changes the settings. State and counts stay, but for counts over
// another window than the one that is wanted now.
func (b *Breaker) Configure(s Settings) {
	b.mu.Lock()
	defer b.unlock()
	v := *b.now.Load()
	if *v.settings == s {
		return
	}
	if v.settings.Window != s.Window {
		b.renew(&v, s.Window)
	}
	v.settings = &s
	b.now.Store(&v)
}

// Passes says whether an attempt would be admitted now. While the breaker
// recovers it draws lots.
func (b *Breaker) Passes() bool {
	v := b.now.Load()
	if v.state == Closed {
		return true
	}
	now := time.Now()
	if v.state == Recovering {
		if now.Before(v.until) {
			return b.drawn(v, now)
		}
		b.advance()
		return true
	}
	if v.force == ForceOpen || now.Before(v.until) {
		b.refused.Add(1)
		return false
	}
	return true
}

// firstShare of the attempts pass when a recovery begins.
const firstShare = 0.1

func (b *Breaker) drawn(v *view, now time.Time) bool {
	done := float64(now.Sub(v.since)) / float64(v.until.Sub(v.since))
	if rand.Float64() < firstShare+(1-firstShare)*done {
		return true
	}
	b.refused.Add(1)
	return false
}

// Admit lets an attempt begin, which it must be asked for right before. Lots have
// been drawn by then.
func (b *Breaker) Admit() (gateway.Admission, bool) {
	v := b.now.Load()
	if v.state <= Recovering {
		return gateway.Admission{Of: b, Number: v.number}, true
	}
	if v.force == Auto && !time.Now().Before(v.until) {
		if a, ok := b.ask(); ok {
			return a, true
		}
	}
	b.refused.Add(1)
	return gateway.Admission{}, false
}

// Answered implements gateway.Admitter.
func (b *Breaker) Answered(uint64, bool) {}

// Ended implements gateway.Admitter: it is how an attempt of a closed circuit ends.
func (b *Breaker) Ended(number uint64, o gateway.Outcome, waited time.Duration) {
	v := b.now.Load()
	if o == gateway.OutcomeNone || v.number != number || v.state > Recovering {
		return
	}
	s, bad, tick := v.settings, o == gateway.OutcomeBad, v.window.tick()
	slow := s.isSlow(waited)
	v.window.add(tick, bad, slow)
	run := int64(0)
	switch {
	case s.Consecutive == 0:
	case bad:
		run = b.run.Add(1)
	case b.run.Load() != 0: // a healthy service is read only
		b.run.Store(0)
	}
	if !bad && !slow || v.force != Auto {
		return
	}
	if why := s.exceeded(v.window.sum(tick), run); why != "" {
		b.trip(number, why)
	}
}

func (s *Settings) isSlow(waited time.Duration) bool { return s.SlowRatio > 0 && waited >= s.Slow }

// Why a breaker changes its state.
const (
	whyRatio       = "failure_ratio"
	whyConsecutive = "consecutive"
	whySlow        = "slow_ratio"
	whyProbe       = "probe_failed"
	whyTimeout     = "probe_timeout"
	whyTerm        = "term_over"
	whyProbes      = "probes_succeeded"
	whyRecovered   = "recovered"
	whyForced      = "forced"
)

// exceeded is the threshold that the numbers are over, "" for none.
func (s *Settings) exceeded(n sum, run int64) string {
	if s.Consecutive > 0 && run >= int64(s.Consecutive) {
		return whyConsecutive
	}
	if n.requests < uint64(s.Minimum) {
		return ""
	}
	all := float64(n.requests)
	switch {
	case s.FailureRatio > 0 && float64(n.failures) >= s.FailureRatio*all:
		return whyRatio
	case s.SlowRatio > 0 && float64(n.slow) >= s.SlowRatio*all:
		return whySlow
	}
	return ""
}
