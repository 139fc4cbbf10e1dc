package breaker

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	buckets = 10 // that a window consists of
	slots   = 16 // a power of two above buckets
)

// sum is what a window has counted.
type sum struct{ requests, failures, slow uint64 }

// window counts the ends of attempts over the last buckets. A tick is the
// number of a bucket since the beginning.
//
// Attempts that end at the same time on several processors add to shards that
// they draw, so that they seldom want the same cache line.
type window struct {
	start  time.Time
	bucket time.Duration
	shards []shard
	mask   uint32
}

// shard is a whole number of cache lines. Its first line is that of the totals.
type shard struct {
	failures, slow atomic.Uint64 // since the beginning
	_              [6]uint64
	all, bad, late ring
}

// ring has for each of the last ticks, in one word, the tick and a count, so that
// a slot that is out of date is renewed in one step.
type ring [slots]atomic.Uint64

// maxShards is where a failure, which adds up all of them, would cost more than
// sharing does.
const maxShards = 16

func newWindow(length time.Duration) *window {
	n := 1
	for n < 2*runtime.GOMAXPROCS(0) && n < maxShards {
		n *= 2
	}
	return &window{start: time.Now(), bucket: length / buckets, shards: make([]shard, n), mask: uint32(n - 1)}
}

// tick is the number of the bucket that it is.
func (w *window) tick() uint32 { return uint32(time.Since(w.start) / w.bucket) }

// add counts the end of an attempt.
func (w *window) add(tick uint32, bad, slow bool) {
	s := &w.shards[rand.Uint32()&w.mask]
	s.all.add(tick)
	if bad {
		s.bad.add(tick)
		s.failures.Add(1)
	}
	if slow {
		s.late.add(tick)
		s.slow.Add(1)
	}
}

func (r *ring) add(tick uint32) {
	slot := &r[tick%slots]
	for {
		old := slot.Load()
		switch {
		case uint32(old>>32) == tick:
			slot.Add(1) // a bucket that ends meanwhile gets this one more, which does no harm
			return
		case slot.CompareAndSwap(old, uint64(tick)<<32|1):
			return
		}
	}
}

// sum is what the window holds when it is tick.
func (w *window) sum(tick uint32) (n sum) {
	for i := range w.shards {
		s := &w.shards[i]
		n.requests += s.all.sum(tick)
		n.failures += s.bad.sum(tick)
		n.slow += s.late.sum(tick)
	}
	return n
}

func (r *ring) sum(tick uint32) (n uint64) {
	for i := range min(buckets, tick+1) {
		if v := r[(tick-i)%slots].Load(); uint32(v>>32) == tick-i {
			n += uint64(uint32(v))
		}
	}
	return n
}

// idle is how long nothing has been counted, in whole buckets.
func (w *window) idle() time.Duration {
	last := uint32(0)
	for i := range w.shards {
		for j := range w.shards[i].all {
			last = max(last, uint32(w.shards[i].all[j].Load()>>32))
		}
	}
	return time.Duration(w.tick()-last) * w.bucket
}

// totals are the failures and slow answers since the beginning.
func (w *window) totals() (failures, slow uint64) {
	for i := range w.shards {
		failures += w.shards[i].failures.Load()
		slow += w.shards[i].slow.Load()
	}
	return failures, slow
}
