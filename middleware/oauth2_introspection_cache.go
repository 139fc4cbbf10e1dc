package middleware

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

const maxVerdictBytes = 64 << 20 // of one table

// verdict is what a block thinks of a token: who the caller is, or why it does not pass.
type verdict struct {
	subject string
	headers []provenHeader
	refusal *gateway.Error
	until   time.Time // how long it holds

	hash  uint64
	token string
}

func (v *verdict) size() int64 {
	n := entryBytes + len(v.token) + len(v.subject)
	for _, h := range v.headers {
		n += len(h.name) + len(h.value) + 64
	}
	return int64(n)
}

// verdicts are the answers that a block remembers: those that let in apart from the
// others, so that nobody can drive the former out with tokens that he makes up.
type verdicts struct {
	seed    maphash.Seed
	good    verdictTable
	refused verdictTable
}

func newVerdicts(size int) *verdicts {
	v := &verdicts{seed: maphash.MakeSeed()}
	groups := (size + cacheWays - 1) / cacheWays
	v.good.slots = make([]atomic.Pointer[verdict], groups*cacheWays)
	v.refused.slots = make([]atomic.Pointer[verdict], groups*cacheWays)
	return v
}

// get is what is known of a token now; nil is nothing. The hash has a key that
// nobody knows and only finds the place: tokens are compared whole.
func (c *verdicts) get(token string, now time.Time) *verdict {
	if len(c.good.slots) == 0 {
		return nil
	}
	hash := maphash.String(c.seed, token)
	if v := c.good.get(hash, token, now); v != nil {
		return v
	}
	return c.refused.get(hash, token, now)
}

// put remembers v for a token, unless it holds no longer than now.
func (c *verdicts) put(token string, v *verdict, now time.Time) {
	if len(c.good.slots) == 0 || !v.until.After(now) {
		return
	}
	v.token = strings.Clone(token) // it is a part of the request's whole head
	v.hash = maphash.String(c.seed, token)
	if v.refusal != nil {
		c.refused.put(v, now)
		return
	}
	c.good.put(v, now)
}

// verdictTable has a choice of a few slots for each token, which are read and
// replaced without a lock.
type verdictTable struct {
	slots []atomic.Pointer[verdict]
	bytes atomic.Int64
	sweep atomic.Uint64 // the slot that room is made in next
}

func (t *verdictTable) group(hash uint64) []atomic.Pointer[verdict] {
	at := hash % uint64(len(t.slots)/cacheWays) * cacheWays
	return t.slots[at : at+cacheWays]
}

func (t *verdictTable) get(hash uint64, token string, now time.Time) *verdict {
	group := t.group(hash)
	for i := range group {
		v := group[i].Load()
		if v != nil && v.hash == hash && v.token == token && now.Before(v.until) {
			return v
		}
	}
	return nil
}

// put takes a slot that is empty, has the same token or has run out, else that of
// the verdict which runs out first.
func (t *verdictTable) put(v *verdict, now time.Time) {
	group := t.group(v.hash)
	var into *atomic.Pointer[verdict]
	var first time.Time
	for i := range group {
		old := group[i].Load()
		if old == nil || old.token == v.token || !now.Before(old.until) {
			into = &group[i]
			break
		}
		if into == nil || old.until.Before(first) {
			into, first = &group[i], old.until
		}
	}
	t.replace(into, v)
	for t.bytes.Load() > maxVerdictBytes {
		t.replace(&t.slots[t.sweep.Add(1)%uint64(len(t.slots))], nil)
	}
}

func (t *verdictTable) replace(slot *atomic.Pointer[verdict], v *verdict) {
	var size int64
	if v != nil {
		size = v.size()
	}
	if old := slot.Swap(v); old != nil {
		size -= old.size()
	}
	t.bytes.Add(size)
}
