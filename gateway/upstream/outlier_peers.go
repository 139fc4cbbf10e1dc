package upstream

import (
	"math"
	"slices"
	"time"

	"github.com/pithead/pithead/gateway"
)

// SuccessRateOptions eject endpoints whose share of good answers is far below
// that of their peers.
type SuccessRateOptions struct {
	Stdev        float64 // how many standard deviations below the mean is too far
	MinEndpoints int     // that must have had enough requests
	MinRequests  int     // of an endpoint within the interval, to be judged
}

// LatencyOutlierOptions eject endpoints that are much slower than their peers.
type LatencyOutlierOptions struct {
	Factor       float64       // of the peers' median that is too slow
	Least        time.Duration // by which it must be slower at least
	MinEndpoints int           // that must have had enough requests
	MinRequests  int           // of an endpoint within the interval, to be judged
}

// leastFailures is the share of failures below which nobody is an outlier: among
// endpoints that never fail, one in a thousand would be far from the mean.
const leastFailures = 0.05

// peers compares the endpoints of one cluster with each other, once in an
// interval. What it remembers belongs to the timer's goroutine.
type peers struct {
	c     *Cluster
	timer *time.Timer
	last  map[string]*tally // by address
}

// tally is what an endpoint had counted at the last look, and what came since.
type tally struct {
	stats     *gateway.Stats
	ended     uint64
	bad       uint64
	took      gateway.DurationSnapshot
	newEnded  uint64
	newBad    uint64
	newTook   gateway.DurationCounts
	addr      string
	rate      float64 // of good answers, of those that are judged
	median    time.Duration
	candidate bool // has not been ejected
}

// comparePeers begins to compare. The caller holds c.mu.
func (c *Cluster) comparePeers() {
	o := &c.opts.Outliers
	if o.SuccessRate == nil && o.Latency == nil || c.peers != nil {
		return
	}
	p := &peers{c: c, last: make(map[string]*tally)}
	p.look() // what was counted before belongs to no interval
	p.timer = time.AfterFunc(o.Interval, p.run)
	c.peers = p
}

// running is what makes the next look.
func (p *peers) running() *time.Timer {
	if p == nil {
		return nil
	}
	return p.timer
}

func (p *peers) run() {
	all := p.look()
	if o := p.c.opts.Outliers.SuccessRate; o != nil {
		p.judgeRates(o, all)
	}
	if o := p.c.opts.Outliers.Latency; o != nil {
		p.judgeLatencies(o, all)
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if !p.c.closed.Load() {
		p.timer.Reset(p.c.opts.Outliers.Interval)
	}
}

// look finds out what has been counted since the last look.
func (p *peers) look() []*tally {
	members := p.c.set.Load().members
	before := p.last
	p.last = make(map[string]*tally, len(members))
	all := make([]*tally, 0, len(members))
	for _, m := range members {
		t := before[m.ep.Addr]
		if t == nil || t.stats != m.ep.Stats {
			t = &tally{stats: m.ep.Stats, addr: m.ep.Addr}
		}
		own := &m.ep.Stats.Conduct
		bad, ended := own.Bad.Load(), own.Ended.Load() // in this order, so that no more are bad than have ended
		t.newEnded, t.newBad = ended-t.ended, bad-t.bad
		t.ended, t.bad = ended, bad
		t.newTook = gateway.DurationCounts{}
		own.Took.Snapshot(&t.took, &t.newTook)
		t.candidate = m.usable()
		p.last[m.ep.Addr] = t
		all = append(all, t)
	}
	return all
}

// judgeRates ejects whose share of good answers is an outlier.
func (p *peers) judgeRates(o *SuccessRateOptions, all []*tally) {
	var judged []*tally
	mean := 0.0
	for _, t := range all {
		if t.candidate && t.newEnded >= uint64(o.MinRequests) {
			t.rate = 1 - min(float64(t.newBad)/float64(max(t.newEnded, 1)), 1)
			mean += t.rate
			judged = append(judged, t)
		}
	}
	if len(judged) < o.MinEndpoints {
		return
	}
	mean /= float64(len(judged))
	variance := 0.0
	for _, t := range judged {
		variance += (t.rate - mean) * (t.rate - mean)
	}
	least := mean - o.Stdev*math.Sqrt(variance/float64(len(judged)))
	slices.SortFunc(judged, func(a, b *tally) int { return int(math.Copysign(1, a.rate-b.rate)) })
	for _, t := range judged {
		if t.rate < least && 1-t.rate >= leastFailures {
			p.c.eject(t.addr, ejectSuccessRate)
		}
	}
}

// judgeLatencies ejects who is slower than the others by a factor. Each one is held
// against the median of the others, so that of three a slow one cannot hide behind
// itself.
func (p *peers) judgeLatencies(o *LatencyOutlierOptions, all []*tally) {
	var judged []*tally
	for _, t := range all {
		if t.candidate && t.newTook.Sum() >= float64(o.MinRequests) {
			t.median = t.newTook.Quantile(0.5)
			judged = append(judged, t)
		}
	}
	if len(judged) < o.MinEndpoints {
		return
	}
	slices.SortFunc(judged, func(a, b *tally) int { return int(b.median - a.median) }) // the slowest first
	for i, t := range judged {
		others := slices.Delete(slices.Clone(judged), i, i+1)
		median := others[len(others)/2].median // of two in the middle the faster one
		if t.median > time.Duration(o.Factor*float64(median)) && t.median >= median+o.Least {
			p.c.eject(t.addr, ejectLatency)
		}
	}
}
