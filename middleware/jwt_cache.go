package middleware

import (
	"encoding/json"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
)

const (
	cacheWays     = 8        // tokens that may have the same place
	maxCacheBytes = 32 << 20 // of all tokens of a block
	entryBytes    = 256      // of a token beside its text and headers
)

// jwtIdentity is what a token has proven.
type jwtIdentity struct {
	subject string
	claims  gateway.Claims
	headers []provenHeader
	validity
}

// verifiedToken is a token that was good, and until what happens it is.
type verifiedToken struct {
	hash  uint64
	token string
	keys  *jwks.Cache
	set   *jwks.Set // with which it was verified
	jwtIdentity
}

func (v *verifiedToken) size() int64 {
	n := entryBytes + len(v.token) + len(v.subject) + claimBytes(map[string]any(v.claims))
	for _, h := range v.headers {
		n += len(h.name) + len(h.value) + 64
	}
	return int64(n)
}

// good says whether the token would be accepted if it were verified now.
func (v *verifiedToken) good(now time.Time) bool {
	set, err := v.keys.Set(now)
	return err == nil && set == v.set && v.holds(now)
}

// jwtCache remembers verified tokens. Each has a choice of a few slots, which are
// read and replaced without a lock. The hash has a key that nobody knows, so nobody
// can aim at a slot, and it only finds the slot: the tokens are compared.
type jwtCache struct {
	seed  maphash.Seed
	slots []atomic.Pointer[verifiedToken]
	bytes atomic.Int64
	sweep atomic.Uint64 // the slot that room is made in next
}

func newJWTCache(tokens int) *jwtCache {
	groups := (tokens + cacheWays - 1) / cacheWays
	return &jwtCache{seed: maphash.MakeSeed(), slots: make([]atomic.Pointer[verifiedToken], groups*cacheWays)}
}

// group are the slots for a hash.
func (c *jwtCache) group(hash uint64) []atomic.Pointer[verifiedToken] {
	at := hash % uint64(len(c.slots)/cacheWays) * cacheWays
	return c.slots[at : at+cacheWays]
}

// get finds what a token has proven; nil if it is not known to be good now.
func (c *jwtCache) get(token string, now time.Time) *verifiedToken {
	if len(c.slots) == 0 {
		return nil
	}
	hash := maphash.String(c.seed, token)
	group := c.group(hash)
	for i := range group {
		v := group[i].Load()
		if v != nil && v.hash == hash && v.token == token && v.good(now) {
			return v
		}
	}
	return nil
}

// put remembers a token in the slot that has it already, else in one that is empty or
// whose token is no longer good, else in the place of any other.
func (c *jwtCache) put(token string, keys *jwks.Cache, set *jwks.Set, id jwtIdentity, now time.Time) {
	if len(c.slots) == 0 {
		return
	}
	v := &verifiedToken{hash: maphash.String(c.seed, token), keys: keys, set: set, jwtIdentity: id}
	v.token = strings.Clone(token) // it is a part of the request's whole head
	group := c.group(v.hash)
	into, free := &group[v.hash>>32%cacheWays], false
	for i := range group {
		old := group[i].Load()
		if old != nil && old.token == token {
			into = &group[i]
			break
		}
		if !free && (old == nil || !old.good(now)) {
			into, free = &group[i], true
		}
	}
	c.replace(into, v)
	for c.bytes.Load() > maxCacheBytes {
		c.replace(&c.slots[c.sweep.Add(1)%uint64(len(c.slots))], nil)
	}
}

func (c *jwtCache) replace(slot *atomic.Pointer[verifiedToken], v *verifiedToken) {
	var size int64
	if v != nil {
		size = v.size()
	}
	if old := slot.Swap(v); old != nil {
		size -= old.size()
	}
	c.bytes.Add(size)
}

// claimBytes is about what a decoded claim takes.
func claimBytes(claim any) int {
	const value = 32 // an interface, and what it points to
	n := value
	switch claim := claim.(type) {
	case string:
		n += len(claim)
	case json.Number:
		n += len(claim)
	case []any:
		for _, one := range claim {
			n += claimBytes(one)
		}
	case map[string]any:
		for name, one := range claim {
			n += value + len(name) + claimBytes(one)
		}
	}
	return n
}
