package shared

import (
	"context"
	"sync/atomic"

	"github.com/pithead/pithead/gateway/limiter"
)

// flight is one question about a caller, for all who ask while the one before it
// is under way.
type flight struct {
	ctx    context.Context // ends with the patience of the one who asked first
	cancel context.CancelFunc
	before *flight // nil is none
	asked  int64   // guarded by caller.mu until the flight begins

	done chan struct{} // closed when the rest holds
	left atomic.Int64  // requests of those who asked that may pass
	g    *grant
	err  error
}

// join adds requests to the next question. Who is first must call fly.
func (l *Limiter) join(c *caller, requests int64) (f *flight, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.next; f == nil {
		f = &flight{before: c.running, done: make(chan struct{})}
		f.ctx, f.cancel = l.store.Within()
		c.next, first = f, true
	}
	f.asked += requests
	return f, first
}

// fly asks, once the question before this one is answered.
func (l *Limiter) fly(c *caller, f *flight, key string) {
	defer f.cancel()
	if f.before != nil {
		select {
		case <-f.before.done:
		case <-f.ctx.Done():
		}
		f.before = nil // or each would hold on to all before it
	}
	c.mu.Lock()
	c.next = nil
	if f.err = f.ctx.Err(); f.err == nil {
		c.running = f
	}
	c.mu.Unlock()
	if f.err == nil {
		l.question(c, f, key)
		c.mu.Lock()
		c.running = nil
		c.mu.Unlock()
	}
	close(f.done)
}

// question sends one, and keeps what the answer leaves.
func (l *Limiter) question(c *caller, f *flight, key string) {
	now := l.now()
	more, changes, undo := l.settle(c, f.asked, now)
	a, err := l.ask(f.ctx, key, f.asked+more, changes)
	if err != nil {
		undo()
		f.err = err
		return
	}
	f.left.Store(min(a.granted, f.asked))
	g := &grant{wanted: more, leased: a.granted - min(a.granted, f.asked), at: now, until: now + int64(leaseTime), limit: a.limit, wait: a.wait, missing: a.missing}
	g.left.Store(g.leased)
	if a.wait > 0 && g.leased == 0 {
		g.deny = now + min(max(a.wait, l.pause), int64(memory))
	}
	f.g = g
	c.grant.Store(g)
	l.share()
	l.fallback.Charge(c.key, a.granted*l.cost)
}

// settle ends the lease that a caller has. It says how large the next one should be:
// as large as the last one was used, and twice that if it was used up in time; and what
// the bucket in Redis must be told of: what it does not know of, and what is left of the
// lease. Of that only as much is given back as has not come back by itself since it was taken,
// or a bucket that has been full in between would get more than it holds.
func (l *Limiter) settle(c *caller, asked, now int64) (more int64, changes [limiter.MaxLimits]int64, undo func()) {
	owed, spent := c.owed.Swap(0), c.spent.Swap(0)
	left, age := int64(0), int64(0)
	if g := c.grant.Load(); g != nil {
		left, age = max(g.left.Swap(0), 0), now-g.at
		switch {
		case age >= 2*int64(leaseTime):
		case left == 0:
			more = 2*g.wanted + asked
		default:
			more = g.leased - left
		}
	}
	for i := range l.limits {
		m := &l.limits[i]
		back := max(left*m.each-age, 0)
		changes[i] = min(owed, m.Burst+m.Debt)*m.token + l.spentHere(c.key, i, spent)*m.token - back
	}
	return min(more, l.lease), changes, func() {
		c.owed.Add(owed)
		c.spent.Add(spent)
	}
}
