package main

import (
	"math/bits"
	"time"
)

// subBuckets divide each power of two, so that a value is known to 1.6 %.
const subBuckets = 64

// histogram counts times from a nanosecond to hours in constant memory. It is
// not for concurrent use: each client has its own, and they are merged at the end.
type histogram struct {
	counts [(64 - 5) * subBuckets]uint64
	total  uint64
	most   time.Duration
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
	h.most = max(h.most, d)
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-7, 0)
	return shift*subBuckets + int(v>>shift)
}

// upperBound is the largest value that falls into a bucket.
func upperBound(bucket int) time.Duration {
	if bucket < 2*subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket/subBuckets - 1
	return time.Duration(uint64(bucket-shift*subBuckets+1)<<shift - 1)
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
	h.most = max(h.most, other.most)
}

// quantile is a time that the share q of all recorded ones does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.total))
	var seen uint64
	for i, n := range h.counts {
		if seen += n; n > 0 && seen > rank {
			return min(upperBound(i), h.most)
		}
	}
	return h.most
}
