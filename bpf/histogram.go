//go:build linux

package bpf

import (
	"math"
	"time"
)

// The buckets of a histogram, as kernel/maps.h has them: eight to an octave from
// 2^10 ns to 2^36 ns, one below and one above.
const (
	lowest  = 10
	highest = 36
	// Buckets is how many a histogram has.
	Buckets = (highest-lowest)*8 + 2
)

// Histogram is a number of durations.
type Histogram struct {
	Sum    time.Duration
	Counts [Buckets]uint64
}

// Edge is the upper edge of bucket i, exclusive. The last bucket has none: its
// edge is the largest duration there is.
func Edge(i int) time.Duration {
	switch {
	case i <= 0:
		return 1 << lowest
	case i >= Buckets-1:
		return math.MaxInt64
	}
	octave, part := (i-1)/8, (i-1)%8
	return time.Duration(9+part) << (lowest + octave - 3)
}

// Middle is a duration in the middle of bucket i.
func Middle(i int) time.Duration {
	switch {
	case i <= 0:
		return 1 << (lowest - 1)
	case i >= Buckets-1:
		return 1 << highest
	}
	return (Edge(i-1) + Edge(i)) / 2
}

// Count is the number of durations.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Mean is the mean duration, 0 of none.
func (h *Histogram) Mean() time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	return time.Duration(uint64(h.Sum) / n)
}

// Quantile is the middle of the bucket that holds the quantile q, 0 of none. It is
// at most 7 % off.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	if n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(n))), 1)
	for i, c := range h.Counts {
		if c >= rank {
			return Middle(i)
		}
		rank -= c
	}
	return Middle(Buckets - 1)
}

// Add adds the durations of other.
func (h *Histogram) Add(other *Histogram) {
	h.Sum += other.Sum
	for i, c := range other.Counts {
		h.Counts[i] += c
	}
}

// Subtract takes away those of other, which must be an earlier state of h.
func (h *Histogram) Subtract(other *Histogram) {
	h.Sum -= other.Sum
	for i, c := range other.Counts {
		h.Counts[i] -= min(c, h.Counts[i])
	}
}
