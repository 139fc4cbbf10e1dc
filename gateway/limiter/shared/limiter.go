package shared

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/store"
)

const (
	leaseTime = time.Second // how long leased tokens may be used
	memory    = time.Second // how long a refusal is repeated without a question, at most

	// gather is how long tokens of a bucket that is used up may come back before they are leased: some
	// at once instead of one by one.
	gather = 5 * time.Millisecond
)

// What to do while Redis is away.
const (
	OnErrorLocal  = "local"  // keep a share of the limits here
	OnErrorOpen   = "open"   // let everything pass
	OnErrorClosed = "closed" // refuse everything
)

// By is who has decided.
type By uint8

// The decision is that of Redis, of a lease, of a refusal that is remembered, of the
// table of this gateway, or nobody's because Redis is away.
const (
	ByStore By = iota
	ByLease
	ByMemory
	ByLocal
	ByOpen
	ByClosed
	byCount
)

var byNames = [byCount]string{"redis", "lease", "memory", "local", "open", "closed"}

// String is the value of the metric label.
func (b By) String() string { return byNames[b] }

// Settings are those of a limiter.
type Settings struct {
	Name     string          // of its buckets, the same on all gateways
	Limits   []limiter.Limit // at most limiter.MaxLimits, which have passed Check
	Cost     int64           // tokens of a request
	Lease    int64           // tokens that a lease takes at most; 0 is no leases
	OnError  string
	Replicas int64 // gateways that share the limits; 0 for those that Redis knows
	MaxKeys  int   // callers that the gateway remembers
}

// Limiter keeps the limits of one block. All methods may be called at the same time.
type Limiter struct {
	Settings

	store    *store.Redis
	prefix   string
	limits   []measure
	cost     int64
	lease    int64 // in requests
	pause    int64 // without questions after a refusal, at least, in nanoseconds
	fallback *limiter.Table
	callers  *callers
	seed     maphash.Seed
	zero     time.Time

	mu       sync.Mutex   // orders changes of the fallback
	replicas atomic.Int64 // that the fallback is made for

	decided [byCount]struct {
		n atomic.Uint64
		_ [56]byte // no two on one cache line
	}
}

// New makes a limiter.
func New(redis *store.Redis, s Settings) *Limiter {
	l := &Limiter{
		Settings: s, store: redis, prefix: redis.Prefix() + ":" + s.Name + ":", cost: s.Cost, lease: s.Lease / s.Cost,
		callers: newCallers(s.MaxKeys), seed: maphash.MakeSeed(), zero: time.Now(),
	}
	for _, one := range s.Limits {
		l.limits = append(l.limits, newMeasure(one, s.Cost))
	}
	if l.pause = int64(gather); l.lease == 0 {
		l.pause = 0
	}
	for _, m := range l.limits {
		l.pause = min(l.pause, l.lease*m.each)
	}
	n := l.gateways()
	l.replicas.Store(n)
	l.fallback = limiter.New(shares(s.Limits, n), s.MaxKeys)
	return l
}

func (l *Limiter) now() int64 { return int64(time.Since(l.zero)) }

func (l *Limiter) gateways() int64 {
	if l.Replicas > 0 {
		return l.Replicas
	}
	return l.store.Gateways()
}

// shares are the limits of one of n gateways.
func shares(limits []limiter.Limit, n int64) []limiter.Limit {
	all := make([]limiter.Limit, len(limits))
	for i, one := range limits {
		one.Per *= time.Duration(n)
		one.Burst, one.Debt = max(one.Burst/n, 1), one.Debt/n
		all[i] = one
	}
	return all
}

// Take lets a request of a caller pass or not. id is what the caller is, and key a hash
// of it that is known to this process alone. It waits for Redis no longer than its timeout.
func (l *Limiter) Take(key uint64, id []byte) (limiter.Decision, By) {
	c, now := l.callers.find(key), l.now()
	if c != nil {
		if g := c.grant.Load(); g != nil {
			if now < g.deny {
				return l.done(l.denied(g, now), ByMemory)
			}
			if g.use(now) {
				return l.done(limiter.Decision{OK: true}, ByLease)
			}
		}
	}
	if !l.store.Ready() {
		return l.alone(key)
	}
	if c == nil {
		c = l.callers.get(key)
	}
	f, first := l.join(c, 1)
	if first {
		l.fly(c, f, l.name(id))
	}
	select {
	case <-f.done:
	case <-f.ctx.Done(): // the flight may have ended as well
		select {
		case <-f.done:
		default:
			return l.alone(key)
		}
	}
	switch {
	case f.err != nil:
		return l.alone(key)
	case f.left.Add(-1) >= 0:
		return l.done(limiter.Decision{OK: true}, ByStore)
	}
	return l.done(l.denied(f.g, l.now()), ByStore)
}

func (l *Limiter) denied(g *grant, now int64) limiter.Decision {
	return limiter.Decision{Limit: l.limits[g.limit].Name, Wait: time.Duration(max(g.at+g.wait-now, 1))}
}

func (l *Limiter) done(d limiter.Decision, by By) (limiter.Decision, By) {
	l.decided[by].n.Add(1)
	return d, by
}

// alone decides without Redis.
func (l *Limiter) alone(key uint64) (limiter.Decision, By) {
	switch l.OnError {
	case OnErrorOpen:
		return l.done(limiter.Decision{OK: true}, ByOpen)
	case OnErrorClosed:
		return l.done(limiter.Decision{Wait: time.Second}, ByClosed)
	}
	l.share()
	d := l.fallback.Take(key, l.cost)
	if d.OK {
		l.callers.get(key).spent.Add(l.cost)
	}
	return l.done(d, ByLocal)
}

// share makes the fallback that of one of as many gateways as there are now.
func (l *Limiter) share() {
	n := l.gateways()
	if l.replicas.Load() == n {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.replicas.Swap(n) != n {
		l.fallback.Configure(shares(l.Limits, n), l.MaxKeys)
	}
}

// spentHere is how many of the tokens that a caller has spent while Redis was away have
// not come back since.
func (l *Limiter) spentHere(key uint64, limit int, spent int64) int64 {
	if spent == 0 {
		return 0
	}
	var room [limiter.MaxLimits]limiter.Level
	level := l.fallback.Levels(key, room[:0])[limit]
	return min(spent, int64(level.Full/level.Limit.Interval()))
}

// Charge takes tokens that have been used already, as far as the debt of each limit
// allows. It does not wait for Redis.
func (l *Limiter) Charge(key uint64, id []byte, tokens int64) {
	c := l.callers.get(key)
	l.share()
	l.fallback.Charge(key, tokens)
	if !l.store.Ready() {
		c.spent.Add(tokens)
		return
	}
	c.owed.Add(tokens)
	f, first := l.join(c, 0)
	if !first {
		return // those who ask next tell
	}
	name := l.name(id)
	if !l.store.Spawn(func() { l.fly(c, f, name) }) {
		l.fly(c, f, name) // it ends at once
	}
}

// name is that of a bucket in Redis. Nobody who reads it learns who the caller is.
func (l *Limiter) name(id []byte) string { return l.prefix + l.store.Hide(id) }

// Levels tells how full the bucket of a caller is, by limit, as far as is known here. It
// adds to all.
func (l *Limiter) Levels(key uint64, all []limiter.Level) []limiter.Level {
	c := l.callers.find(key)
	if c == nil || c.grant.Load() == nil || !l.store.Ready() && l.OnError == OnErrorLocal {
		return l.fallback.Levels(key, all)
	}
	g, now := c.grant.Load(), l.now()
	for i, m := range l.limits {
		missing := max(g.missing[i]-(now-g.at), 0)
		left := max(m.room-missing, 0)/m.token + max(g.left.Load(), 0)*l.cost
		all = append(all, limiter.Level{Limit: m.Limit, Remaining: min(left, m.Burst), Full: time.Duration(missing)})
	}
	return all
}

// Look asks how full the bucket of a caller is, by limit, and takes nothing: of Redis, and without
// it of whoever decides in its place. With OnErrorOpen and OnErrorClosed there is nothing to tell then.
func (l *Limiter) Look(ctx context.Context, key uint64, id []byte) ([]limiter.Level, By) {
	if ctx.Err() == nil && l.store.Ready() {
		asking, cancel := l.store.Within() // whoever stops waiting for the answer must not look like a failure of Redis
		defer cancel()
		a, err := l.ask(asking, l.name(id), 0, [limiter.MaxLimits]int64{})
		if err == nil {
			return l.left(a.missing, l.leased(key)), ByStore
		}
	}
	if by := l.onError(); by != ByLocal {
		return nil, by
	}
	l.share()
	return l.fallback.Look(key), ByLocal
}

// leased is how many requests of a caller may pass here without a question.
func (l *Limiter) leased(key uint64) int64 {
	if c := l.callers.find(key); c != nil {
		if g := c.grant.Load(); g != nil && l.now() < g.until {
			return max(g.left.Load(), 0)
		}
	}
	return 0
}

// left are the levels of a bucket from which so much is missing, and requests with a lease.
func (l *Limiter) left(missing [limiter.MaxLimits]int64, leased int64) (all []limiter.Level) {
	for i, m := range l.limits {
		left := max(m.room-missing[i], 0)/m.token + leased*l.cost
		all = append(all, limiter.Level{Limit: m.Limit, Remaining: min(left, m.Burst), Full: time.Duration(missing[i])})
	}
	return all
}

// Deciding is who decides about requests now, leases and refusals that are remembered apart.
func (l *Limiter) Deciding() By {
	if l.store.Ready() {
		return ByStore
	}
	return l.onError()
}

func (l *Limiter) onError() By {
	switch l.OnError {
	case OnErrorOpen:
		return ByOpen
	case OnErrorClosed:
		return ByClosed
	}
	return ByLocal
}

// Share are the limits that this gateway keeps by itself while Redis is away, and of how
// many gateways it is one.
func (l *Limiter) Share() (limits []limiter.Limit, gateways int64) {
	n := l.gateways()
	return shares(l.Limits, n), n
}

// Hash is the key of a caller in this process.
func (l *Limiter) Hash(id []byte) uint64 { return maphash.Bytes(l.seed, id) }

// Decisions are how many there have been, by who has decided.
func (l *Limiter) Decisions() map[string]uint64 {
	all := make(map[string]uint64, byCount)
	for by := range byCount {
		all[by.String()] = l.decided[by].n.Load()
	}
	return all
}

// Keys is the number of callers whose buckets were not full when Redis was asked, and
// cannot be full again by now.
func (l *Limiter) Keys() int {
	now := l.now()
	return l.callers.count(func(c *caller) bool {
		g := c.grant.Load()
		if g == nil {
			return c.spent.Load() > 0
		}
		most := int64(0)
		for _, m := range g.missing {
			most = max(most, m)
		}
		return g.at+most > now
	})
}
