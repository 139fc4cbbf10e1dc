package concurrency

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Adaptive are the bounds of a limit that follows the latency of a service.
type Adaptive struct {
	Min, Max, Initial int
	Tolerance         float64 // how much slower than without load answers may be, at least 1
}

// Sample is what a request says of a service. The zero value says nothing.
type Sample struct {
	Waited time.Duration // for a good answer; 0 if there was none
	Failed bool          // the service was late, or said that it has too much to do
}

// How an adaptive limit moves.
const (
	windowLeast   = 500 * time.Millisecond
	windowMost    = 5 * time.Second
	windowRounds  = 4  // of the mean latency that a window lasts at least
	samplesLeast  = 50 // of a window that does not last windowMost
	fallMost      = 0.8
	growthMost    = 1.2
	outlier       = 4 // times the baseline that a sample counts at most
	probeEvery    = 30 * time.Second
	probeSteady   = 0.7 // of the limit, while the baseline is sure
	probeUnsteady = 0.5 // while it is not
	fallsToProbe  = 4
)

// gradient finds the number of requests at a time beyond which a service only gets
// slower. It compares the mean latency of a window with a baseline, that of the
// service with little to do:
//
//	limit = limit * tolerance * baseline / latency + sqrt(limit) / 4
//
// by a fifth down or up at most, and up only while the limit is in use.
//
// The baseline is learnt where load cannot be what makes the service slow: while
// the limit is not in use, and from time to time by a probe, two windows with a
// lower limit, of which the second one is measured. A probe that finds something
// new is followed by the next one soon. So is a limit that keeps falling: if
// the service is as slow with less to do, it has changed, and the limit goes up
// again. Requests are never held back to a handful for that.
type gradient struct {
	watches atomic.Bool
	began   time.Time    // the zero of until
	until   atomic.Int64 // when the window may end
	clamp   atomic.Int64 // what a sample counts at most; 0 is anything
	sum     atomic.Int64
	good    atomic.Int64
	bad     atomic.Int64
	shown   atomic.Int64 // the baseline
	latest  atomic.Int64 // the mean of the last window that had answers

	mu       sync.Mutex // of whoever ends a window
	bounds   Adaptive
	limit    float64
	baseline float64 // seconds; 0 is unknown
	start    time.Time
	probed   time.Time // when the last probe ended
	phase    probePhase
	saved    float64 // the limit before the probe
	unsteady bool    // the last probe has found something new
	falls    int     // windows in a row
}

type probePhase uint8

const (
	notProbing probePhase = iota
	probeSettles
	probeMeasures
)

func (g *gradient) off() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watches.Store(false)
	g.limit = 0
	g.shown.Store(0)
	g.latest.Store(0)
}

// on begins, or changes the bounds.
func (g *gradient) on(a Adaptive, now time.Time) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit == 0 {
		g.limit, g.baseline, g.began, g.probed, g.phase = float64(a.Initial), 0, now, now, notProbing
		g.clamp.Store(0)
		g.reset(now, windowLeast)
	}
	g.bounds = a
	g.limit = g.within(g.limit)
	g.watches.Store(true)
	return int64(g.limit)
}

func (g *gradient) within(limit float64) float64 {
	return min(max(limit, float64(g.bounds.Min)), float64(g.bounds.Max))
}

func (g *gradient) reset(now time.Time, length time.Duration) {
	g.start = now
	g.sum.Store(0)
	g.good.Store(0)
	g.bad.Store(0)
	g.until.Store(int64(now.Sub(g.began) + length))
}

// observe counts a sample, and says whether the window may be at its end.
func (g *gradient) observe(s Sample) bool {
	switch {
	case s.Failed:
		g.bad.Add(1)
	case s.Waited > 0:
		waited := int64(s.Waited)
		if clamp := g.clamp.Load(); clamp > 0 {
			waited = min(waited, clamp)
		}
		g.sum.Add(waited)
		g.good.Add(1)
	default:
		return false
	}
	return true
}

// step ends a window, if it is time and nobody else does so. peak is how many
// requests have been under way at most.
func (g *gradient) step(now time.Time, peak *atomic.Int64) (limit int64, ok bool) {
	if int64(now.Sub(g.began)) < g.until.Load() || !g.mu.TryLock() {
		return 0, false
	}
	defer g.mu.Unlock()
	good, bad := g.good.Load(), g.bad.Load()
	if g.limit == 0 || int64(now.Sub(g.began)) < g.until.Load() || good+bad < samplesLeast && now.Sub(g.start) < windowMost {
		return 0, false
	}
	mean := 0.0
	if good > 0 {
		mean = time.Duration(g.sum.Load() / good).Seconds()
		g.latest.Store(g.sum.Load() / good)
	}
	switch {
	case bad > 2 && bad*10 > good+bad:
		g.phase = notProbing
		g.move(g.limit * fallMost)
	case good == 0:
	case g.baseline == 0:
		g.baseline = mean
	case g.phase != notProbing:
		g.probe(now, mean)
	default:
		g.follow(now, mean, float64(peak.Load()))
	}
	length := time.Duration(windowRounds * mean * float64(time.Second))
	peak.Store(0)
	g.reset(now, min(max(length, windowLeast), windowMost))
	g.clamp.Store(int64(outlier * g.baseline * float64(time.Second)))
	g.shown.Store(int64(g.baseline * float64(time.Second)))
	return int64(g.limit), true
}

// follow moves the limit after an ordinary window.
func (g *gradient) follow(now time.Time, mean, peak float64) {
	used := peak >= 0.8*g.limit
	switch {
	case peak < g.limit/2:
		g.baseline += 0.1 * (mean - g.baseline)
	case mean < g.baseline:
		g.baseline += 0.2 * (mean - g.baseline)
	}
	next := g.limit*g.bounds.Tolerance*g.baseline/mean + math.Sqrt(g.limit)/4
	if next > g.limit && !used {
		next = g.limit
	}
	g.move(min(max(next, g.limit*fallMost), g.limit*growthMost+1))
	wait := probeEvery
	if g.unsteady {
		wait = 2 * now.Sub(g.start)
	}
	stuck := g.falls >= fallsToProbe || g.limit <= float64(g.bounds.Min) && mean > g.baseline*g.bounds.Tolerance
	if used && now.Sub(g.probed) >= wait || stuck {
		g.saved, g.phase = g.limit, probeSettles
		share := probeSteady
		if g.unsteady || stuck {
			share = probeUnsteady
		}
		g.limit = g.within(g.limit * share)
	}
}

// probe ends a window with a lower limit.
func (g *gradient) probe(now time.Time, mean float64) {
	if g.phase == probeSettles {
		g.phase = probeMeasures
		return
	}
	g.unsteady = math.Abs(mean-g.baseline) > 0.1*g.baseline
	g.baseline, g.limit, g.phase, g.probed, g.falls = mean, g.within(g.saved), notProbing, now, 0
}

func (g *gradient) move(limit float64) {
	limit = g.within(limit)
	if limit < g.limit {
		g.falls++
	} else {
		g.falls = 0
	}
	g.limit = limit
}
