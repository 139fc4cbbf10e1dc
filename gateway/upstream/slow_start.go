package upstream

import (
	"time"

	"github.com/pithead/pithead/gateway"
)

// rampSteps is in how many equal steps an endpoint gets to its full share: 10 %
// of its weight for the first tenth of the window, 100 % in the last.
const rampSteps = 10

// ramps are the endpoints that have joined a set at work, or come back to it, and
// do not have their full share yet. Cluster.mu guards it.
type ramps struct {
	joined map[string]time.Time // by address
	step   map[string]int       // of those in joined: 1 to rampSteps-1
	timer  *time.Timer          // for the next step; nil when nobody is ramping
}

func (r *ramps) stop() {
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
}

// startSlowly finds out who has joined since the last set and how far those are
// who joined before. It comes before the groups are made; the caller holds c.mu.
//
// The first set of a cluster has no one to spare the newcomers, and after a
// restart all of them would be newcomers.
func (c *Cluster) startSlowly(members []member) {
	select {
	case <-c.filled:
	default:
		return
	}
	if c.opts.SlowStart <= 0 {
		return
	}
	took := make(map[string]bool)
	for _, m := range c.set.Load().members {
		took[m.ep.Addr] = m.usable()
	}
	now, before := time.Now(), c.ramps.joined
	c.ramps.joined, c.ramps.step = make(map[string]time.Time), make(map[string]int)
	for _, m := range members {
		if !m.usable() {
			continue
		}
		joined, ramping := before[m.ep.Addr]
		switch {
		case !took[m.ep.Addr]:
			joined = now
		case !ramping:
			continue
		}
		if step := 1 + int(now.Sub(joined)*rampSteps/c.opts.SlowStart); step < rampSteps {
			c.ramps.joined[m.ep.Addr], c.ramps.step[m.ep.Addr] = joined, step
		}
	}
	if len(c.ramps.joined) == 0 {
		c.ramps.stop()
	} else if c.ramps.timer == nil {
		c.ramps.timer = time.AfterFunc(c.opts.SlowStart/rampSteps, c.rampOn)
	}
}

// rampOn makes the next step.
func (c *Cluster) rampOn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ramps.timer = nil
	if !c.closed.Load() {
		c.rebuild()
	}
}

// apply gives endpoints that are ramping a smaller share. Weights are whole
// numbers, so all the others get a larger one instead.
func (r *ramps) apply(eps []*gateway.Endpoint) []*gateway.Endpoint {
	if len(r.step) == 0 {
		return eps
	}
	scaled := make([]*gateway.Endpoint, len(eps))
	for i, ep := range eps {
		step, ramping := r.step[ep.Addr]
		if !ramping {
			step = rampSteps
		}
		like := *ep
		like.Weight = max(ep.Weight, 1) * step
		scaled[i] = &like
	}
	return scaled
}
