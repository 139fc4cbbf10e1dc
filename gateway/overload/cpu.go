package overload

import (
	"math"
	"runtime/metrics"
	"time"
)

const schedLatencies = "/sched/latencies:seconds"

// CPU tells how long goroutines that could run wait for a processor. That is what
// all processors being busy, a quota of the control group that is used up and a
// neighbour who takes the machine have in common, and what requests feel of it;
// processors that are busy while nobody waits are well used.
type CPU struct {
	samples []metrics.Sample
	last    []uint64
}

// NewCPU begins to watch.
func NewCPU() *CPU {
	c := &CPU{samples: []metrics.Sample{{Name: schedLatencies}}}
	c.Delay()
	return c
}

// Delay is what 99 % of the waits since the last call did not exceed; ok is false
// when there were too few to tell. It is for one goroutine.
func (c *CPU) Delay() (d time.Duration, ok bool) {
	metrics.Read(c.samples)
	if c.samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0, false
	}
	h := c.samples[0].Value.Float64Histogram()
	if len(c.last) != len(h.Counts) {
		c.last = make([]uint64, len(h.Counts))
	}
	fresh, sum := make([]uint64, len(h.Counts)), uint64(0)
	for i, n := range h.Counts {
		fresh[i] = n - c.last[i]
		sum += fresh[i]
	}
	copy(c.last, h.Counts)
	return quantile(fresh, h.Buckets, sum)
}

const delaysLeast = 100

func quantile(counts []uint64, bounds []float64, sum uint64) (time.Duration, bool) {
	if sum < delaysLeast {
		return 0, false
	}
	rest := sum - sum/100
	for i, n := range counts {
		if n < rest {
			rest -= n
			continue
		}
		end := bounds[i+1]
		if math.IsInf(end, 1) {
			end = bounds[i]
		}
		return time.Duration(end * float64(time.Second)), true
	}
	return 0, false // cannot be: rest is within sum
}
