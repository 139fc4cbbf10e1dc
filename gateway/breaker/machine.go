package breaker

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway"
)

// What the machine is told of the end of an attempt.
var (
	errFailed = errors.New("failed")
	errNone   = errors.New("nobody's fault")
)

// probe is an attempt that a half-open machine has admitted.
type probe struct {
	b      *Breaker
	done   func(error)
	late   time.Time // when it has failed
	stream bool      // its answer has begun, and may go on for ever
	over   bool
}

// Answered implements gateway.Admitter.
func (p *probe) Answered(_ uint64, stream bool) {
	if !stream {
		return
	}
	p.b.mu.Lock()
	defer p.b.unlock()
	p.stream = true
}

// Ended implements gateway.Admitter.
func (p *probe) Ended(_ uint64, o gateway.Outcome, waited time.Duration) {
	b := p.b
	b.mu.Lock()
	defer b.unlock()
	v := b.now.Load()
	switch {
	case o == gateway.OutcomeNone:
		b.settle(p, errNone, "")
	case o == gateway.OutcomeBad, v.settings.isSlow(waited):
		b.settle(p, errFailed, whyProbe)
	default:
		b.settle(p, nil, "")
	}
}

// unlock lets go of the lock, then tells of the transitions under it.
func (b *Breaker) unlock() {
	changes := b.pending
	b.pending = nil
	b.mu.Unlock()
	if b.onChange == nil {
		return
	}
	for _, c := range changes {
		b.onChange(c)
	}
}

// advance makes the transitions that time has brought.
func (b *Breaker) advance() {
	b.mu.Lock()
	defer b.unlock()
	b.catchUp()
}

// catchUp is advance for whoever holds the lock.
func (b *Breaker) catchUp() {
	now := time.Now()
	if v := b.now.Load(); v.state == Recovering && !now.Before(v.until) {
		b.show(Closed, whyRecovered, func(v *view) { v.until, v.opened = time.Time{}, 0 })
	}
	for _, p := range slices.Clone(b.probes) {
		switch {
		case p.over || now.Before(p.late):
		case p.stream:
			b.settle(p, nil, "")
		default:
			b.settle(p, errFailed, whyTimeout)
		}
	}
	if b.machine != nil && b.now.Load().state == Open && b.machine.State() == gobreaker.StateHalfOpen {
		b.show(HalfOpen, whyTerm, func(v *view) { v.until = time.Time{} })
	}
}

// trip opens the circuit with this number, unless somebody has done so before.
func (b *Breaker) trip(number uint64, why string) {
	b.mu.Lock()
	defer b.unlock()
	if v := b.now.Load(); v.number == number && v.state <= Recovering && v.force == Auto {
		b.open(why)
	}
}

// open begins a term. A gobreaker has one length of term for all its life, so each
// opening has a machine of its own, which it trips at once.
func (b *Breaker) open(why string) {
	v := b.now.Load()
	term := v.settings.term(v.opened)
	b.machine = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: uint32(v.settings.Probes), Timeout: term,
		ReadyToTrip: func(gobreaker.Counts) bool { return true }, // it is told of one failure only, when it shall
		IsExcluded:  func(err error) bool { return errors.Is(err, errNone) },
	})
	if done, err := b.machine.Allow(); err == nil {
		done(errFailed)
	}
	b.probes = nil
	b.show(Open, why, func(v *view) { v.until, v.opened, v.why = time.Now().Add(term), v.opened+1, why })
}

// jitter is the part of a term that is drawn: gateways that have seen the same
// failure shall not probe at the same moment.
const jitter = 0.2

// term is how long the breaker is open after it was so n times in a row.
func (s *Settings) term(n int) time.Duration {
	term := s.MaxOpen
	if n < 32 && s.Open<<n > 0 && s.Open<<n < term {
		term = s.Open << n
	}
	return term - time.Duration(rand.Float64()*jitter*float64(term))
}

// ask has the machine admit a probe.
func (b *Breaker) ask() (gateway.Admission, bool) {
	b.mu.Lock()
	defer b.unlock()
	b.catchUp()
	v := b.now.Load()
	switch {
	case v.force == ForceOpen || b.machine == nil && v.state > Recovering:
		return gateway.Admission{}, false
	case v.state <= Recovering: // since it was looked at
		return gateway.Admission{Of: b, Number: v.number}, true
	}
	done, err := b.machine.Allow()
	if err != nil {
		b.fill()
		return gateway.Admission{}, false
	}
	p := &probe{b: b, done: done, late: time.Now().Add(v.settings.ProbeTimeout)}
	b.probes = append(b.probes, p)
	b.fill()
	return gateway.Admission{Of: p}, true
}

// fill notes in the view of a half-open circuit that there is no room for another
// probe, so that nobody comes to ask before one of them is late.
func (b *Breaker) fill() {
	v := *b.now.Load()
	if v.state != HalfOpen {
		return
	}
	v.until = time.Time{}
	if counts := b.machine.Counts(); counts.Requests-counts.TotalExclusions >= uint32(v.settings.Probes) && len(b.probes) > 0 {
		v.until = b.probes[0].late
	}
	b.now.Store(&v)
}

// settle tells the machine how a probe has ended, and follows where it goes.
func (b *Breaker) settle(p *probe, err error, why string) {
	if p.over {
		return
	}
	p.over = true
	mine := slices.Contains(b.probes, p)
	b.probes = slices.DeleteFunc(b.probes, func(other *probe) bool { return other == p })
	if !mine || b.machine == nil {
		return // of an earlier opening
	}
	p.done(err)
	switch b.machine.State() {
	case gobreaker.StateOpen:
		b.open(why)
	case gobreaker.StateClosed:
		b.recover()
	case gobreaker.StateHalfOpen:
		b.fill()
	}
}

// recover begins to count anew, and to let attempts pass again.
func (b *Breaker) recover() {
	b.machine, b.probes = nil, nil
	v := b.now.Load()
	to, until := Closed, time.Time{}
	if v.settings.Recovery > 0 {
		to, until = Recovering, time.Now().Add(v.settings.Recovery)
	}
	b.show(to, whyProbes, func(v *view) {
		if v.until = until; to == Closed {
			v.opened = 0
		}
		v.number++
		b.renew(v, v.settings.Window)
	})
}

// renew begins to count anew in v.
func (b *Breaker) renew(v *view, length time.Duration) {
	failures, slow := v.window.totals()
	b.failures += failures
	b.slow += slow
	b.run.Store(0)
	v.window = newWindow(length)
}

// show makes a transition visible.
func (b *Breaker) show(to State, why string, change func(*view)) {
	v := *b.now.Load()
	from := v.state
	v.state, v.since = to, time.Now()
	change(&v)
	b.now.Store(&v)
	if from == to {
		return // an operator has confirmed what was so
	}
	b.changes[to]++
	c := Change{From: from, To: to, Why: why}
	if !v.until.IsZero() {
		c.For = v.until.Sub(v.since)
	}
	b.pending = append(b.pending, c)
}

// Force has the breaker do what an operator wants, until it is told Auto, with
// which it begins anew.
func (b *Breaker) Force(f Force) {
	b.mu.Lock()
	defer b.unlock()
	b.catchUp()
	if b.now.Load().force == f {
		return
	}
	b.machine, b.probes = nil, nil
	to := Closed
	if f == ForceOpen {
		to = Open
	}
	b.show(to, whyForced, func(v *view) {
		v.force, v.until, v.opened, v.why = f, time.Time{}, 0, ""
		if f == ForceOpen {
			v.why = whyForced
		}
		v.number++
		b.renew(v, v.settings.Window)
	})
}
