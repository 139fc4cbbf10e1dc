package breaker

import "time"

// Info is what there is to know of a breaker.
type Info struct {
	State       State
	Force       Force
	Why         string // it is not closed
	Since       time.Time
	Until       time.Time // of the term or the recovery; zero when nothing is waited for
	Opened      int       // times in a row
	Probes      int       // on their way
	Requests    uint64    // in the window
	Failures    uint64
	Slow        uint64
	Consecutive int64

	Changes       [States]uint64 // since the beginning, by the state that they led to
	TotalRefused  uint64
	TotalFailures uint64
	TotalSlow     uint64
}

// Info makes the transitions that time has brought, and tells how things are.
func (b *Breaker) Info() Info {
	b.mu.Lock()
	defer b.unlock()
	b.catchUp()
	v := b.now.Load()
	n := v.window.sum(v.window.tick())
	i := Info{
		State: v.state, Force: v.force, Since: v.since, Opened: v.opened, Probes: len(b.probes),
		Requests: n.requests, Failures: n.failures, Slow: n.slow, Consecutive: b.run.Load(),
		Changes: b.changes, TotalRefused: b.refused.Load(),
	}
	if v.state != Closed {
		i.Why = v.why
	}
	if v.state == Open || v.state == Recovering {
		i.Until = v.until
	}
	i.TotalFailures, i.TotalSlow = v.window.totals()
	i.TotalFailures += b.failures
	i.TotalSlow += b.slow
	return i
}

// RetryAfter is how long a refused request should wait: to the end of the term,
// or a moment when an answer to a probe may come at any time.
func (b *Breaker) RetryAfter() time.Duration {
	v := b.now.Load()
	if v.state == Open && v.force == Auto {
		return max(time.Second, time.Until(v.until))
	}
	if v.force == ForceOpen {
		return v.settings.Open
	}
	return time.Second
}

// idle says that nothing has happened for so long that nobody would miss the breaker.
func (b *Breaker) idle(least time.Duration) bool {
	b.advance()
	v := b.now.Load()
	return v.state == Closed && v.force == Auto && time.Since(v.since) >= least && v.window.idle() >= least
}
