package shared

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/pithead/pithead/gateway/limiter"
)

const (
	ways    = 4  // places that a caller has to choose from
	stripes = 64 // locks of those who look for a place
)

// grant is what Redis has last said of a caller. Only left changes.
type grant struct {
	left    atomic.Int64 // requests that may pass without a question; below 0 means none
	wanted  int64        // how many the lease should have had
	leased  int64        // and had
	at      int64        // when Redis was asked
	until   int64        // when the lease is over
	wait    int64        // from then on, until the next request could pass
	deny    int64        // before then no request can pass
	limit   int          // because of this limit
	missing [limiter.MaxLimits]int64
}

// use takes one request from the lease.
func (g *grant) use(now int64) bool {
	return now < g.until && g.left.Load() > 0 && g.left.Add(-1) >= 0
}

// caller is one that this gateway has asked about.
type caller struct {
	key   uint64
	grant atomic.Pointer[grant]
	owed  atomic.Int64 // tokens that the bucket in Redis does not know of: what answers have cost
	spent atomic.Int64 // and what was spent here while Redis was away

	mu      sync.Mutex
	next    *flight // those who ask with the next question
	running *flight // the one under way
}

// callers are a bounded number of them. One that loses its place loses what is left of
// its lease; nobody else gets that.
type callers struct {
	places []atomic.Pointer[caller]
	groups uint64
	locks  [stripes]sync.Mutex
}

func newCallers(n int) *callers {
	groups := max(n/ways, 1)
	return &callers{places: make([]atomic.Pointer[caller], groups*ways), groups: uint64(groups)}
}

func (t *callers) group(key uint64) []atomic.Pointer[caller] {
	at, _ := bits.Mul64(key, t.groups)
	return t.places[at*ways : at*ways+ways]
}

// find is nil for one that has no place.
func (t *callers) find(key uint64) *caller {
	group := t.group(key)
	for i := range group {
		if c := group[i].Load(); c != nil && c.key == key {
			return c
		}
	}
	return nil
}

// get finds a caller, or gives it the place of the one that has been quiet for longest.
func (t *callers) get(key uint64) *caller {
	if c := t.find(key); c != nil {
		return c
	}
	lock := &t.locks[key%stripes]
	lock.Lock()
	defer lock.Unlock()
	if c := t.find(key); c != nil {
		return c
	}
	c := &caller{key: key}
	for {
		place, old := t.oldest(key)
		if place.CompareAndSwap(old, c) {
			return c
		}
	}
}

func (t *callers) oldest(key uint64) (place *atomic.Pointer[caller], old *caller) {
	group := t.group(key)
	least := int64(0)
	for i := range group {
		c := group[i].Load()
		if c == nil {
			return &group[i], nil
		}
		at := int64(-1)
		if g := c.grant.Load(); g != nil {
			at = g.at
		}
		if place == nil || at < least {
			place, old, least = &group[i], c, at
		}
	}
	return place, old
}

// count is the number of callers for which f holds.
func (t *callers) count(f func(*caller) bool) (n int) {
	for i := range t.places {
		if c := t.places[i].Load(); c != nil && f(c) {
			n++
		}
	}
	return n
}
