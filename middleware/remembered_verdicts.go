package middleware

import (
	"hash/maphash"
	"time"
)

// rememberedVerdicts are what a service or a server has said of callers: verdicts that let
// pass apart from the others, so that nobody can drive the former out with credentials that
// he makes up.
type rememberedVerdicts[V any] struct {
	seed          maphash.Seed
	good, refused *slotCache[V]
}

// newRememberedVerdicts has places for size verdicts of each sort, with limit bytes.
func newRememberedVerdicts[V any](size int, limit int64) rememberedVerdicts[V] {
	return rememberedVerdicts[V]{seed: maphash.MakeSeed(), good: newSlotCache[V](size, limit), refused: newSlotCache[V](size, limit)}
}

// get is the verdict under a key that holds now, or the zero value.
func (r *rememberedVerdicts[V]) get(key string, now time.Time) V {
	hash := maphash.String(r.seed, key)
	if v, ok := r.good.get(hash, key, now); ok {
		return v
	}
	v, _ := r.refused.get(hash, key, now)
	return v
}

// remember is slotCache.put.
func (r *rememberedVerdicts[V]) remember(passes bool, key string, v V, size int, until, now time.Time) {
	into := r.refused
	if passes {
		into = r.good
	}
	into.put(maphash.String(r.seed, key), key, v, size, until, now)
}
