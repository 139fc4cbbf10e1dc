package middleware

import (
	"sync/atomic"

	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/limiter/shared"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/store"
)

// rateBuckets are what all routes with one block share, and reloads leave alone: a
// table of this gateway, or what it knows of buckets in Redis.
type rateBuckets struct {
	shown
	table  *limiter.Table  // nil if there is a store
	shared *shared.Limiter // nil if there is none
	store  *store.Redis
	facts  atomic.Pointer[rateFacts]
	counts rateCounts
}

// newRateBuckets finds those of a block. Limits of a table may change while it is in use. Buckets in
// Redis take new limits as they are, so what this gateway knows of them begins anew.
func newRateBuckets(c RateLimitConfig, limits []limiter.Limit, env Env) (*rateBuckets, error) {
	key, redis := "rate_limit/"+env.Key, (*store.Redis)(nil)
	if c.Store != nil {
		name, found, err := c.Store.Redis.connection(env)
		if err != nil {
			return nil, err
		}
		key, redis = key+"/"+c.digest(name, limits), found
	}
	buckets, err := keep.Get(env.Keep, key, func() (*rateBuckets, error) {
		if redis == nil {
			return &rateBuckets{table: limiter.New(limits, c.MaxKeys)}, nil
		}
		return &rateBuckets{store: redis, shared: shared.New(redis, shared.Settings{
			Name: env.Key, Limits: limits, Cost: c.Cost, Lease: c.lease(limits), OnError: c.OnStoreError,
			Replicas: int64(c.Store.Replicas), MaxKeys: c.MaxKeys,
		})}, nil
	})
	if err != nil {
		return nil, kind.At("", "%w", err)
	}
	return buckets, nil
}

// start is called when the snapshot is about to serve.
func (b *rateBuckets) start(facts *rateFacts, env Env, registry *limitview.Registry) []<-chan struct{} {
	b.facts.Store(facts)
	b.show(func() func() {
		hide, forget := registry.ShowRate(blockName("rate_limit", env.Key), b), env.Process.WatchLimiter(env.Key, b.state)
		return func() { hide(); forget() }
	})
	if b.shared == nil {
		b.table.Configure(facts.limits, facts.config.MaxKeys)
		return nil
	}
	return []<-chan struct{}{b.store.Start()}
}

func (b *rateBuckets) state() obs.LimiterState {
	if b.shared != nil {
		return obs.LimiterState{Keys: b.shared.Keys(), Decisions: b.shared.Decisions()}
	}
	s := b.table.Stats()
	return obs.LimiterState{Keys: s.Keys, Crowded: s.Crowded}
}

// hash is the key of a caller in this process.
func (b *rateBuckets) hash(id []byte) uint64 {
	if b.shared != nil {
		return b.shared.Hash(id)
	}
	return b.table.HashBytes(id)
}

func (b *rateBuckets) take(key uint64, id []byte, cost int64) limiter.Decision {
	var d limiter.Decision
	if b.shared != nil {
		d, _ = b.shared.Take(key, id)
	} else {
		d = b.table.Take(key, cost)
	}
	b.counts.add(key, d.OK)
	return d
}

func (b *rateBuckets) charge(key uint64, id []byte, tokens int64) {
	if b.shared != nil {
		b.shared.Charge(key, id, tokens)
		return
	}
	b.table.Charge(key, tokens)
}

func (b *rateBuckets) levels(key uint64, all []limiter.Level) []limiter.Level {
	if b.shared != nil {
		return b.shared.Levels(key, all)
	}
	return b.table.Levels(key, all)
}
