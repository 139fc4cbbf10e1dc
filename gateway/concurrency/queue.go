package concurrency

import (
	"container/list"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// queue holds those who wait, by priority and key. Keys take turns. In quiet times
// the first one of a key is served first; under pressure the last one is, because
// it is better to serve some in time than all too late.
type queue struct {
	mu      sync.Mutex
	ages    *list.List // all waiters, in the order in which they came
	classes [3]class   // by priority
	emptied time.Time  // when there was last nobody before
}

type class struct {
	flows map[uint64]*flow
	turns *list.List // flows; the first one is next
}

// flow is who waits under one key.
type flow struct {
	key     uint64
	waiters *list.List
	turn    *list.Element
}

type waiter struct {
	since    time.Time
	priority gateway.Priority
	flow     *flow
	age      *list.Element // in queue.ages
	place    *list.Element // in flow.waiters
	turn     chan error    // has room, so that serving never blocks
}

func (q *queue) init() {
	q.ages = list.New()
	for i := range q.classes {
		q.classes[i] = class{flows: make(map[uint64]*flow), turns: list.New()}
	}
}

// pressed says that the queue has not been empty for so long that it does not
// bridge a burst, but only makes everybody late.
func (q *queue) pressed(now time.Time, target time.Duration) bool {
	return q.ages.Len() > 0 && now.Sub(q.emptied) > 2*target
}

func (q *queue) add(key uint64, p gateway.Priority, now time.Time) *waiter {
	c := &q.classes[p+1]
	f := c.flows[key]
	if f == nil {
		f = &flow{key: key, waiters: list.New()}
		c.flows[key], f.turn = f, c.turns.PushBack(f)
	}
	w := &waiter{since: now, priority: p, flow: f, turn: make(chan error, 1)}
	w.age, w.place = q.ages.PushBack(w), f.waiters.PushBack(w)
	return w
}

func (q *queue) remove(w *waiter) {
	q.ages.Remove(w.age)
	w.flow.waiters.Remove(w.place)
	if w.flow.waiters.Len() == 0 {
		c := &q.classes[w.priority+1]
		delete(c.flows, w.flow.key)
		c.turns.Remove(w.flow.turn)
	}
}

// next is whose turn it is. There is somebody.
func (q *queue) next(pressed bool) *waiter {
	for i := len(q.classes) - 1; ; i-- {
		c := &q.classes[i]
		front := c.turns.Front()
		if front == nil {
			continue
		}
		f := front.Value.(*flow)
		c.turns.MoveToBack(front)
		return f.pick(pressed)
	}
}

// pick is the last one of the flow, or else the first.
func (f *flow) pick(last bool) *waiter {
	if last {
		return f.waiters.Back().Value.(*waiter)
	}
	return f.waiters.Front().Value.(*waiter)
}

// oldest is who has waited longest; nil is nobody.
func (q *queue) oldest() *waiter {
	if front := q.ages.Front(); front != nil {
		return front.Value.(*waiter)
	}
	return nil
}

// victim is who has to go when there are too many, newcomer being the last that
// came: of the lowest priority that waits, one of the key with the most. A key
// that has no more than others pushes nobody out.
func (q *queue) victim(newcomer *waiter, pressed bool) *waiter {
	for i := range q.classes {
		c := &q.classes[i]
		if c.turns.Len() == 0 {
			continue
		}
		var most *flow
		if newcomer.priority == gateway.Priority(i-1) {
			most = newcomer.flow
		}
		for e := c.turns.Front(); e != nil; e = e.Next() {
			if f := e.Value.(*flow); most == nil || f.waiters.Len() > most.waiters.Len() {
				most = f
			}
		}
		return most.pick(!pressed)
	}
	return newcomer // who is in one of them
}
