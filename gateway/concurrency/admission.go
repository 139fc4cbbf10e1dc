package concurrency

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// Health says when a service is well.
type Health struct {
	Target time.Duration // that 95 % of the good answers take at most
	Errors float64       // share of failures from which the service is broken
	Least  float64       // requests per second that are let in at any rate
}

// Condition is what an admission makes of a service.
type Condition int32

// The conditions of a service.
const (
	Healthy    Condition = iota // everything is let in
	Recovering                  // the limit grows
	Degraded                    // too slow: what it can do is let in
	Broken                      // too many failures: a tenth is let in
)

var conditionNames = [...]string{"healthy", "recovering", "degraded", "broken"}

// String is the word for people and metrics.
func (c Condition) String() string { return conditionNames[c] }

// Report is how a request has ended. The zero value says nothing of the service.
type Report struct {
	Waited time.Duration // for a good answer; 0 if there was none
	Ended  bool          // it has done some work
	Failed bool          // badly, by its own doing
}

// How an admission moves.
const (
	admissionWindow = time.Second
	admissionMost   = 5 * time.Second // that a window lasts if little is known
	reportsLeast    = 20              // of a shorter window
	brokenShare     = 0.1             // of the requests that a broken service gets
	backDegraded    = 0.95            // of what a slow service does is let in at most
	backMost        = 0.5             // and this much at least
	growthFast      = 1.3             // per window, far below the rate at which it was slow
	growthSlow      = 1.02            // above
	nearly          = 0.9             // of that rate
	calm            = 0.8             // of the target: below, the limit grows
	idleWindows     = 3               // of little demand, after which there is no limit
	burst           = 100 * time.Millisecond
)

// Admission lets in as many requests per second as a service does well. As long as
// it is well there is no limit. It looks at each window of a second:
//
//   - 95 % of the answers took longer than the target: the limit is what the service
//     has done in the window, less 5 % to 50 %, from one to two times the target. As
//     it goes by what comes out, and not by what was let in, it finds the capacity at
//     once, and the rest lets the service work off what has piled up. The window
//     after that is left out.
//   - more failures than the share: the limit is a tenth.
//   - better than 80 % of the target: the limit grows by 30 % up to nine tenths of
//     what was too much the last time, then by 2 %; when there is no demand
//     for it any more, it is lifted.
//   - between: it stays as it is. This gap, and the slow growth, keep it from swinging.
//
// When a bucket is nearly empty, low priority is refused first.
type Admission struct {
	between atomic.Int64 // nanoseconds between requests; 0 is no limit
	next    atomic.Int64 // when the next request is due, since began
	until   atomic.Int64
	state   atomic.Int32
	refused [3]atomic.Uint64

	offered, done, bad atomic.Int64
	took               gateway.Durations

	began time.Time

	mu      sync.Mutex // of whoever ends a window
	health  Health
	start   time.Time
	last    gateway.DurationSnapshot
	ceiling float64 // requests per second that were too many
	limit   float64 // requests per second; 0 is no limit
	unused  int     // windows in a row
	cut     bool    // by the last window
	p95     time.Duration
	failed  float64 // share of the answers in the last window that had some
}

// NewAdmission makes an admission that lets everything in.
func NewAdmission(h Health) *Admission {
	now := time.Now()
	a := &Admission{began: now, start: now, health: h}
	a.until.Store(int64(admissionWindow))
	return a
}

// Configure changes when the service is well. What has been found out stays.
func (a *Admission) Configure(h Health) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.health = h
}

// shares of the burst that a priority may use.
var shares = [3]int64{1, 2, 4} // quarters

// Admit says whether a request is let in and if not, when it may be.
func (a *Admission) Admit(p gateway.Priority) (wait time.Duration, ok bool) {
	now := int64(time.Since(a.began))
	a.offered.Add(1)
	a.look(now)
	between := a.between.Load()
	if between == 0 {
		return 0, true
	}
	room := int64(burst) * shares[p+1] / 4
	for {
		next := a.next.Load()
		if late := next - now - room; late > 0 {
			a.refused[p+1].Add(1)
			return time.Duration(late), false
		}
		if a.next.CompareAndSwap(next, max(next, now)+between) {
			return 0, true
		}
	}
}

// Done says how a request has ended that was let in.
func (a *Admission) Done(r Report) {
	if !r.Ended {
		return
	}
	a.done.Add(1)
	switch {
	case r.Failed:
		a.bad.Add(1)
	case r.Waited > 0:
		a.took.Add(r.Waited)
	}
	a.look(int64(time.Since(a.began)))
}

// look ends a window if it is time.
func (a *Admission) look(now int64) {
	if now < a.until.Load() || !a.mu.TryLock() {
		return
	}
	defer a.mu.Unlock()
	if now < a.until.Load() {
		return
	}
	at := a.began.Add(time.Duration(now))
	done, length := a.done.Load(), at.Sub(a.start)
	if done < reportsLeast && length < admissionMost && a.offered.Load() > 0 {
		a.until.Store(now + int64(admissionWindow)/4)
		return
	}
	bad, offered := a.bad.Load(), float64(a.offered.Load())/length.Seconds()
	var took gateway.DurationCounts
	a.took.Snapshot(&a.last, &took)
	a.done.Add(-done)
	a.bad.Add(-bad)
	a.offered.Store(0)
	a.start = at
	a.until.Store(now + int64(admissionWindow))
	if done > 0 {
		a.p95, a.failed = took.Quantile(0.95), float64(bad)/float64(done)
		a.judge(float64(done)/length.Seconds(), offered, a.failed, done >= reportsLeast, a.p95)
	}
	if a.limit == 0 {
		a.between.Store(0)
	} else {
		a.between.Store(max(1, int64(float64(time.Second)/a.limit)))
	}
}

// judge moves the limit. rate is what the service has done in a second, offered what
// was asked of it; sure, that there was enough to tell by.
func (a *Admission) judge(rate, offered, failed float64, sure bool, p95 time.Duration) {
	h := a.health
	if a.limit == 0 && !sure {
		return
	}
	switch {
	case failed > h.Errors:
		if a.condition() != Broken {
			a.ceiling = max(rate, a.limit)
		}
		a.set(Broken, max(brokenShare*min(a.ceiling, max(offered, rate)), h.Least))
	case p95 > h.Target && a.cut:
		a.cut = false // what had piled up before the cut is still in these answers
	case p95 > h.Target:
		// While there is something piled up, a service does what it can.
		a.ceiling = rate
		back := min(max(1.5-p95.Seconds()/h.Target.Seconds()/2, backMost), backDegraded)
		a.set(Degraded, max(rate*back, h.Least))
		a.cut = true
	case a.limit == 0:
		a.set(Healthy, 0)
	case offered < nearly*nearly*a.limit:
		if a.unused++; a.unused >= idleWindows {
			a.set(Healthy, 0)
		}
	case p95.Seconds() < calm*h.Target.Seconds():
		limit := min(a.limit*growthFast, max(nearly*a.ceiling, a.limit*growthSlow))
		a.set(Recovering, limit)
	}
}

func (a *Admission) set(c Condition, limit float64) {
	a.state.Store(int32(c))
	a.limit, a.unused, a.cut = limit, 0, false
}

func (a *Admission) condition() Condition { return Condition(a.state.Load()) }

// AdmissionInfo is what an admission looks like at the moment.
type AdmissionInfo struct {
	Condition Condition
	Limit     float64   // requests per second; 0 is none
	Refused   [3]uint64 // low, normal and high priority
	Health    Health    // that is asked for
	P95       time.Duration
	Failed    float64 // share; it and P95 are those of the last window that had answers
}

// Info is the present state.
func (a *Admission) Info() AdmissionInfo {
	i := AdmissionInfo{Condition: a.condition()}
	if between := a.between.Load(); between > 0 {
		i.Limit = float64(time.Second) / float64(between)
	}
	for p := range a.refused {
		i.Refused[p] = a.refused[p].Load()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i.Health, i.P95, i.Failed = a.health, a.p95, a.failed
	return i
}
