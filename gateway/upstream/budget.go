package upstream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// retryResult is what became of a wish to make an attempt again.
type retryResult uint8

// The results. The first two are retries that were made.
const (
	retryOK            retryResult = iota // it brought an answer that nobody wanted to ask for again
	retryFailed                           // it ended like the attempt before it
	retryBudget                           // not made: the upstream's budget was used up
	retryNotReplayable                    // not made: method or body do not allow it
	retryNoTime                           // not made: it could not have begun before the end of the route's timeout
	retryResults
)

// retryNames are the values of the metric label.
var retryNames = [retryResults]string{"ok", "failed", "budget_exhausted", "not_replayable", "no_time"}

// retries is what one upstream knows of its retries: it counts them, and says
// when there are too many. It outlives reloads. Requests only add to a number
// of the current second; the lock is for those that want to be sent again.
type retries struct {
	epoch  time.Time
	counts [retryResults]atomic.Uint64
	seen   window       // requests under a policy
	active atomic.Int64 // retries on their way, until the end of the answer's body

	mu    sync.Mutex
	begun window
}

func newRetries() *retries { return &retries{epoch: time.Now()} }

// now is the second that it is.
func (r *retries) now() uint32 { return uint32(time.Since(r.epoch) / time.Second) }

// request counts one that may be retried.
func (r *retries) request() { r.seen.add(r.now()) }

// allow takes a retry out of the budget if there is room for one: neither those
// of the last seconds nor those that are still on their way may be too many.
func (r *retries) allow(b gateway.RetryBudget) bool {
	now, seconds := r.now(), uint32(b.Window/time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := max(uint64(b.Min), r.seen.sum(now, seconds)*uint64(b.Percent)/100)
	if used := max(r.begun.sum(now, seconds), uint64(max(0, r.active.Load()))); used >= limit {
		return false
	}
	r.begun.add(now)
	return true
}

func (r *retries) count(result retryResult) { r.counts[result].Add(1) }

// window counts events by the second for a little more than the longest window
// of a budget. Each slot holds its second in the upper half and its count in
// the lower one, so that a slot that is out of date is renewed in one step.
type window [1 << 6]atomic.Uint64

func (w *window) add(now uint32) {
	slot := &w[now%uint32(len(w))]
	for {
		old := slot.Load()
		if uint32(old>>32) == now {
			slot.Add(1) // a second that ends meanwhile gets this one more, which does no harm
			return
		}
		if slot.CompareAndSwap(old, uint64(now)<<32|1) {
			return
		}
	}
}

// sum is the count of the last seconds, the one that it is among them.
func (w *window) sum(now, seconds uint32) (n uint64) {
	for i := range min(seconds, uint32(len(w)), now+1) {
		if v := w[(now-i)%uint32(len(w))].Load(); uint32(v>>32) == now-i {
			n += uint64(uint32(v))
		}
	}
	return n
}

// Retries is how often a wish to send a request to this upstream again had each
// of its results.
func (c *Cluster) Retries() map[string]uint64 {
	all := make(map[string]uint64, len(retryNames))
	for i, name := range retryNames {
		all[name] = c.opts.Stats.retries.counts[i].Load()
	}
	return all
}
