package upstream

import (
	"cmp"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// OutlierOptions say which endpoints are left alone for a while because of what
// became of requests. Of a rule that is zero there is none.
type OutlierOptions struct {
	Errors  int // failures of any sort in a row
	Gateway int // of those, without a good answer or with status 502, 503 or 504
	Connect int // of those, without a connection

	SuccessRate *SuccessRateOptions
	Latency     *LatencyOutlierOptions
	Interval    time.Duration // between two looks at those; default 10s

	BaseTime   time.Duration // of the first ejection; default 30s
	MaxTime    time.Duration // of the longest one; default 300s
	MaxPercent int           // of the endpoints that may be ejected at a time, and one in any case
}

// on says whether there is any rule.
func (o *OutlierOptions) on() bool {
	return o.Errors+o.Gateway+o.Connect > 0 || o.SuccessRate != nil || o.Latency != nil
}

func (o OutlierOptions) withDefaults() OutlierOptions {
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.BaseTime = cmp.Or(o.BaseTime, 30*time.Second)
	o.MaxTime = cmp.Or(o.MaxTime, 300*time.Second)
	return o
}

// ejectReason is the rule that an endpoint has broken.
type ejectReason uint8

// The rules.
const (
	ejectErrors ejectReason = iota
	ejectGateway
	ejectConnect
	ejectSuccessRate
	ejectLatency
	ejectReasons
)

// ejectNames are the values of the metric label.
var ejectNames = [ejectReasons]string{"consecutive_5xx", "consecutive_gateway_errors", "consecutive_connect_failures", "success_rate", "latency"}

// ejections is what one upstream remembers of its ejections. It outlives reloads.
type ejections struct {
	counts [ejectReasons]atomic.Uint64

	mu    sync.Mutex
	times map[string]ejected // by address
}

// ejected is how often an endpoint was ejected in close succession.
type ejected struct {
	count int
	back  time.Time // when it was to be used again
}

func newEjections() *ejections { return &ejections{times: make(map[string]ejected)} }

// next counts an ejection of addr. While an endpoint is well, it is forgiven one
// for each base time.
func (j *ejections) next(addr string, now time.Time, base time.Duration) (count int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.times[addr]
	e.count = max(0, e.count-int(max(0, now.Sub(e.back))/base)) + 1
	e.back = now
	j.times[addr] = e
	return e.count
}

func (j *ejections) returned(addr string, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e, ok := j.times[addr]; ok {
		e.back = now
		j.times[addr] = e
	}
}

func (j *ejections) forget(addr string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.times, addr)
}

// Ejections is how often an endpoint of this upstream was ejected, by reason.
func (c *Cluster) Ejections() map[string]uint64 {
	all := make(map[string]uint64, len(ejectNames))
	for i, name := range ejectNames {
		all[name] = c.opts.Stats.ejections.counts[i].Load()
	}
	return all
}

// eject takes an endpoint out of use, unless too many are out already. It is told
// again and again while an endpoint fails.
func (c *Cluster) eject(addr string, why ejectReason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	ep, out, usable := (*gateway.Endpoint)(nil), 0, 0
	for _, m := range c.set.Load().members {
		if m.ep.Addr == addr {
			ep = m.ep
		} else if m.usable() {
			usable++
		}
		if m.ep.Stats.Conduct.Ejection.Load() != nil {
			out++
		}
	}
	if ep == nil {
		return // it has gone meanwhile
	}
	if ep.Stats.Conduct.Ejection.Load() != nil {
		c.rebuild() // another generation of the upstream has done it
		return
	}
	// The last one that is left does better than nobody.
	if usable == 0 || out >= max(1, len(c.endpoints)*c.opts.Outliers.MaxPercent/100) {
		return
	}
	now := time.Now()
	count := c.opts.Stats.ejections.next(addr, now, c.opts.Outliers.BaseTime)
	term := c.ejectionTime(why, count)
	ep.Stats.Conduct.Ejection.Store(&gateway.Ejection{Reason: ejectNames[why], At: now, Until: now.Add(term), Count: count})
	c.opts.Stats.ejections.counts[why].Add(1)
	c.opts.Log.Warn("endpoint ejected", "endpoint", addr, "reason", ejectNames[why], "for", term.Round(time.Millisecond), "count", count)
	c.rebuild()
}

// ejectionTime grows with the count, and is given or taken a tenth, so that
// gateways do not bring an endpoint back together. Of one that could not be
// connected to it is the time until that is tried again.
func (c *Cluster) ejectionTime(why ejectReason, count int) time.Duration {
	o := &c.opts.Outliers
	if why == ejectConnect {
		return spread(min(time.Duration(count)*probeFirst, probeLast))
	}
	// A count that has grown for long must not overflow.
	return spread(min(time.Duration(min(count, 1000))*min(o.BaseTime, o.MaxTime), o.MaxTime))
}

// spread gives or takes a tenth.
func spread(d time.Duration) time.Duration { return d*9/10 + rand.N(d/5+1) }

// readmit ends the ejections whose time is over, and sees to it that somebody
// looks again at the next one. The caller holds c.mu or is alone.
func (c *Cluster) readmit() {
	var next time.Time
	now := time.Now()
	for _, ep := range c.endpoints {
		e := ep.Stats.Conduct.Ejection.Load()
		switch {
		case e == nil:
			continue
		case now.Before(e.Until):
		case e.Reason == ejectNames[ejectConnect]:
			c.probe(ep)
			continue
		default:
			c.readmitOne(ep, e)
			continue
		}
		if next.IsZero() || e.Until.Before(next) {
			next = e.Until
		}
	}
	if c.returns != nil {
		c.returns.Stop()
		c.returns = nil
	}
	if !next.IsZero() {
		c.returns = time.AfterFunc(next.Sub(now), c.flipped)
	}
}

// readmitOne ends one ejection, if nobody else has.
func (c *Cluster) readmitOne(ep *gateway.Endpoint, e *gateway.Ejection) {
	now, own := time.Now(), &ep.Stats.Conduct
	if !own.Ejection.CompareAndSwap(e, nil) {
		return
	}
	own.Errors.Store(0)
	own.Gateway.Store(0)
	own.Connect.Store(0)
	c.opts.Stats.ejections.returned(ep.Addr, now)
	c.opts.Log.Info("endpoint used again", "endpoint", ep.Addr, "reason", e.Reason, "ejected_for", now.Sub(e.At).Round(time.Millisecond))
}
