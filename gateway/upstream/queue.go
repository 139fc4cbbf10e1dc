package upstream

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// queueRetryAfter is what a client is told that found the upstream full.
const queueRetryAfter = time.Second

// Limits bound what an upstream gets at a time. The zero value bounds nothing.
type Limits struct {
	Requests     int           // at one endpoint, from the pick to the end of the answer
	Queue        int           // requests that wait for a place
	QueueTimeout time.Duration // of one of them
}

// queue is where requests wait while all endpoints that they may go to are full.
// All generations of an upstream share it, as they share what an endpoint has to
// do. Whoever waits in one line is served in the order of arrival; requests of
// another subset may find an endpoint that those cannot use.
//
// No wakeup is lost: a request first says that it waits and then looks for a
// place once more, and what ends a request first gives the place back and then
// looks whether anybody waits.
type queue struct {
	waiting atomic.Int64

	mu    sync.Mutex
	next  uint64 // number of the next one that comes
	lines map[line]*list.List
}

// line is for those that may use the same endpoints.
type line struct {
	c      *Cluster
	subset string
}

type waiter struct {
	x      *gateway.Exchange
	number uint64
	turn   chan turn // has room, so that serving never blocks
}

// turn is what a waiter gets: an endpoint with a place for it, or an error.
type turn struct {
	ep  *gateway.Endpoint
	err error
}

func newQueue() *queue { return &queue{lines: make(map[line]*list.List)} }

// errFull says that endpoints are there, but none has room.
var errFull = errors.New("every endpoint is full")

// acquire chooses an endpoint as Pick does and takes a place there, which the end
// of the attempt gives back. It waits for one if need be.
func (c *Cluster) acquire(ctx context.Context, x *gateway.Exchange) (*gateway.Endpoint, error) {
	if c.opts.Limits.Requests == 0 || c.opts.Stats.queue.waiting.Load() == 0 { // otherwise it would jump the line
		if ep, err := c.pickFree(x); err != errFull { //nolint:errorlint // it is never wrapped
			return ep, err
		}
	}
	begun := time.Now()
	ep, err := c.wait(ctx, x)
	if x.UpstreamStart.IsZero() {
		x.Anatomy.Room += time.Since(begun)
	}
	return ep, err
}

// pickFree chooses an endpoint and takes a place there. The policy has the first
// word: it is asked twice, as the next in turn is as good as the first.
func (c *Cluster) pickFree(x *gateway.Exchange) (*gateway.Endpoint, error) {
	for range 2 {
		ep, err := c.Pick(x)
		if err != nil || c.reserve(ep) {
			return ep, err
		}
	}
	g, _ := c.set.Load().group(x.Subset)
	for i, from := 0, rand.IntN(len(g.healthy)+1); i < len(g.healthy); i++ {
		if ep := g.healthy[(from+i)%len(g.healthy)]; c.passes(x, ep) && c.reserve(ep) {
			return ep, nil
		}
	}
	return nil, errFull
}

// reserve takes a place at an endpoint if there is one.
func (c *Cluster) reserve(ep *gateway.Endpoint) bool {
	limit := int64(c.opts.Limits.Requests)
	if limit == 0 {
		ep.Stats.Active.Add(1)
		return true
	}
	for {
		n := ep.Stats.Active.Load()
		if n >= limit {
			return false
		}
		if ep.Stats.Active.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// free gives a place back. It may be the one that somebody waits for, in this
// generation or another.
func (c *Cluster) free(ep *gateway.Endpoint) {
	ep.Stats.Active.Add(-1)
	if q := c.opts.Stats.queue; q.waiting.Load() > 0 {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.serve()
	}
}

// endpointsChanged lets those in who wait while there is more room now, or
// nothing to wait for.
func (c *Cluster) endpointsChanged() {
	q := c.opts.Stats.queue
	if q.waiting.Load() > 0 {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.serve()
	}
}

// wait stands in line until there is a place, the time is over or the client
// has left.
func (c *Cluster) wait(ctx context.Context, x *gateway.Exchange) (*gateway.Endpoint, error) {
	q, l := c.opts.Stats.queue, line{c, x.Subset}
	w, place := q.join(l, x, c.opts.Limits.Queue)
	if w == nil {
		return nil, overflow("upstream_overflow", "the service has too much to do")
	}
	timer := time.NewTimer(c.opts.Limits.QueueTimeout)
	defer timer.Stop()
	var err error
	select {
	case t := <-w.turn:
		return t.ep, t.err
	case <-timer.C:
		err = overflow("queue_timeout", "the service had no room in time")
	case <-ctx.Done():
		err = ended(ctx)
	}
	if q.leave(l, place) {
		return nil, err
	}
	t := <-w.turn // it came at the same moment
	if ctx.Err() != nil && t.err == nil {
		c.free(t.ep)
		return nil, ended(ctx)
	}
	return t.ep, t.err
}

func overflow(reason, msg string) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: reason, Msg: msg, Cause: gateway.CauseGateway, RetryAfter: queueRetryAfter,
	}
}

// ended says what has ended a request before an attempt at it was made.
func ended(ctx context.Context) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](context.Cause(ctx)); ok {
		return e
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "timeout", Msg: "the request took too long", Cause: gateway.CauseUpstream, Err: ctx.Err()}
	}
	return &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: ctx.Err()}
}

// join puts a request at the end of its line; w is nil when it would have to
// wait and limit others do so already.
func (q *queue) join(l line, x *gateway.Exchange, limit int) (w *waiter, place *list.Element) {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.lines[l] == nil
	if !first && q.waiting.Load() >= int64(limit) {
		return nil, nil
	}
	if first {
		q.lines[l] = list.New()
	}
	q.next++
	w = &waiter{x: x, number: q.next, turn: make(chan turn, 1)}
	place = q.lines[l].PushBack(w)
	q.waiting.Add(1)
	if !first {
		return w, place // whoever is before it has looked for a place
	}
	q.serve()
	if len(w.turn) == 0 && q.waiting.Load() > int64(limit) {
		q.remove(l, place)
		return nil, nil
	}
	return w, place
}

// leave takes a request out of its line; it is not ok when it was served before.
func (q *queue) leave(l line, place *list.Element) (ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(place.Value.(*waiter).turn) > 0 {
		return false
	}
	q.remove(l, place)
	return true
}

func (q *queue) remove(l line, place *list.Element) {
	q.lines[l].Remove(place)
	if q.lines[l].Len() == 0 {
		delete(q.lines, l)
	}
	q.waiting.Add(-1)
}

// serve lets in who can be, the first that came first. A line whose first must
// go on waiting is passed over. The caller holds q.mu.
func (q *queue) serve() {
	var full map[line]bool
	for {
		l, first := q.first(full)
		if first == nil {
			return
		}
		w := first.Value.(*waiter)
		ep, err := l.c.pickFree(w.x)
		if err == errFull { //nolint:errorlint // it is never wrapped
			if len(q.lines) == 1 {
				return
			}
			if full == nil {
				full = make(map[line]bool, len(q.lines))
			}
			full[l] = true
			continue
		}
		q.remove(l, first)
		w.turn <- turn{ep, err}
	}
}

// first is who came first of those whose lines are not full.
func (q *queue) first(full map[line]bool) (of line, first *list.Element) {
	for l, line := range q.lines {
		if full[l] {
			continue
		}
		front := line.Front()
		if first == nil || cmp.Less(front.Value.(*waiter).number, first.Value.(*waiter).number) {
			of, first = l, front
		}
	}
	return of, first
}

// Waiting is how many requests wait for an endpoint of the upstream.
func (c *Cluster) Waiting() int { return int(c.opts.Stats.queue.waiting.Load()) }
