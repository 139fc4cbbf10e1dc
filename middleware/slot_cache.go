package middleware

import (
	"strings"
	"sync/atomic"
	"time"
)

// slotCache remembers values for a time, up to a number of them and of bytes. Each key
// has a choice of a few slots, which are read and replaced without a lock. Its hash must
// have a seed that nobody knows, so that nobody can aim at a slot, and it only finds the
// slot: keys are compared whole.
type slotCache[V any] struct {
	slots []atomic.Pointer[slotEntry[V]]
	limit int64 // of bytes
	bytes atomic.Int64
	sweep atomic.Uint64 // the slot that room is made in next
}

type slotEntry[V any] struct {
	hash  uint64
	key   string
	value V
	until time.Time
	size  int64
}

// newSlotCache makes a cache of at least so many slots; of 0 it remembers nothing.
func newSlotCache[V any](size int, limit int64) *slotCache[V] {
	groups := (size + cacheWays - 1) / cacheWays
	return &slotCache[V]{slots: make([]atomic.Pointer[slotEntry[V]], groups*cacheWays), limit: limit}
}

// group are the slots for a hash.
func (c *slotCache[V]) group(hash uint64) []atomic.Pointer[slotEntry[V]] {
	at := hash % uint64(len(c.slots)/cacheWays) * cacheWays
	return c.slots[at : at+cacheWays]
}

// get is the value under a key, if its time is not over.
func (c *slotCache[V]) get(hash uint64, key string, now time.Time) (value V, ok bool) {
	if len(c.slots) == 0 {
		return value, false
	}
	group := c.group(hash)
	for i := range group {
		e := group[i].Load()
		if e != nil && e.hash == hash && e.key == key && now.Before(e.until) {
			return e.value, true
		}
	}
	return value, false
}

// put takes a slot that is empty, has the same key or has run out, else that of the
// value which runs out first. size is about what the value takes beside its key.
func (c *slotCache[V]) put(hash uint64, key string, value V, size int, until, now time.Time) {
	if len(c.slots) == 0 || !until.After(now) {
		return
	}
	// The key is usually a part of the request's whole head.
	e := &slotEntry[V]{hash: hash, key: strings.Clone(key), value: value, until: until, size: int64(entryBytes + len(key) + size)}
	group := c.group(hash)
	var into *atomic.Pointer[slotEntry[V]]
	var first time.Time
	for i := range group {
		old := group[i].Load()
		if old == nil || old.key == e.key || !now.Before(old.until) {
			into = &group[i]
			break
		}
		if into == nil || old.until.Before(first) {
			into, first = &group[i], old.until
		}
	}
	c.replace(into, e)
	for c.bytes.Load() > c.limit {
		c.replace(&c.slots[c.sweep.Add(1)%uint64(len(c.slots))], nil)
	}
}

// remove forgets what is under a key.
func (c *slotCache[V]) remove(hash uint64, key string) {
	if len(c.slots) == 0 {
		return
	}
	group := c.group(hash)
	for i := range group {
		if e := group[i].Load(); e != nil && e.hash == hash && e.key == key && group[i].CompareAndSwap(e, nil) {
			c.bytes.Add(-e.size)
		}
	}
}

func (c *slotCache[V]) replace(slot *atomic.Pointer[slotEntry[V]], e *slotEntry[V]) {
	var size int64
	if e != nil {
		size = e.size
	}
	if old := slot.Swap(e); old != nil {
		size -= old.size
	}
	c.bytes.Add(size)
}
