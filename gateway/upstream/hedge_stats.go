package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// hedgeResult is what became of an attempt beside another one.
type hedgeResult uint8

// The results. The first two are attempts that were made.
const (
	hedgeWon     hedgeResult = iota // its answer was used
	hedgeLost                       // the other one came first, or it failed
	hedgeBudget                     // not made: the upstream's budget was used up
	hedgeNowhere                    // not made: there was no other endpoint
	hedgeResults
)

// hedgeNames are the values of the metric label.
var hedgeNames = [hedgeResults]string{"won", "lost", "budget_exhausted", "no_endpoint"}

// What a live quantile is made of: a look at all endpoints once in a while, in
// which what was seen before loses a part of its weight. A few seconds decide.
const (
	tookEvery = time.Second
	tookFade  = 1.0 / 8
	tookLeast = 20 // answers, of which a quantile can be told
)

// hedges is what one upstream knows of hedging. It outlives reloads.
type hedges struct {
	counts [hedgeResults]atomic.Uint64
	epoch  time.Time
	next   atomic.Int64 // nanoseconds from epoch to the next look
	seen   atomic.Pointer[gateway.DurationCounts]
	mu     sync.Mutex // of who looks
}

func newHedges() *hedges {
	h := &hedges{epoch: time.Now()}
	h.seen.Store(new(gateway.DurationCounts))
	return h
}

// quantile is how long the share q of the latest answers took at most; 0 when
// there have been too few. One request a second pays for the look.
func (h *hedges) quantile(s *StatsStore, q float64) time.Duration {
	if now := int64(time.Since(h.epoch)); now >= h.next.Load() && h.mu.TryLock() {
		if now >= h.next.Load() {
			counts := *h.seen.Load()
			counts.Fade(tookFade)
			s.took(&counts)
			h.seen.Store(&counts)
			h.next.Store(now + int64(tookEvery))
		}
		h.mu.Unlock()
	}
	counts := h.seen.Load()
	if counts.Sum() < tookLeast {
		return 0
	}
	return counts.Quantile(q)
}

// took adds what all endpoints have counted since it was asked last.
func (s *StatsStore) took(counts *gateway.DurationCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.uses {
		u.stats.Conduct.Took.Snapshot(&u.took, counts)
	}
}

// Hedges is how often an attempt beside another one had each of its results.
func (c *Cluster) Hedges() map[string]uint64 {
	all := make(map[string]uint64, len(hedgeNames))
	for i, name := range hedgeNames {
		all[name] = c.opts.Stats.hedges.counts[i].Load()
	}
	return all
}
