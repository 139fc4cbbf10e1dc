package gateway

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Conduct is how the attempts at one endpoint have ended, for whoever compares
// it with its peers. It outlives reloads. Requests only add to numbers.
type Conduct struct {
	// Failures in a row. Each one counts in its own row and in those before it.
	Errors  atomic.Int32 // of any sort, a status of 500 or more among them
	Gateway atomic.Int32 // without a good answer, or with the status of a broken gateway
	Connect atomic.Int32 // without a connection

	Ended atomic.Uint64 // attempts that have said something of the endpoint
	Bad   atomic.Uint64 // those of them that have failed
	Took  Durations     // until the head of an answer

	Ejection atomic.Pointer[Ejection] // nil while the endpoint may be used
}

// Ejection is why an endpoint is left alone for a while. It never changes.
type Ejection struct {
	Reason string    // which rule the endpoint has broken
	At     time.Time // when it was ejected
	Until  time.Time // when it is used, or tried, again
	Count  int       // of ejections in close succession, this one among them
}

// durationBuckets make room for 2^27 µs, a little more than two minutes, with
// eight buckets for each doubling: a bucket is at most an eighth wide.
const durationBuckets = 28 * 8

// Durations counts how often something took how long. Any number of goroutines
// may add without a lock; whoever reads compares two snapshots.
type Durations [durationBuckets]atomic.Uint32

// Add counts one.
func (d *Durations) Add(took time.Duration) { d[durationBucket(took)].Add(1) }

func durationBucket(took time.Duration) int {
	micros := uint64(max(took/time.Microsecond, 8))
	shift := bits.Len64(micros) - 4
	return min(shift*8+int(micros>>shift)&7, durationBuckets-1)
}

// Snapshot adds to into what has been counted since the last snapshot, which it
// brings up to date.
func (d *Durations) Snapshot(last *[durationBuckets]uint32, into *DurationCounts) {
	for i := range d {
		n := d[i].Load()
		into[i] += float64(n - last[i])
		last[i] = n
	}
}

// DurationSnapshot is what Durations had counted at some time.
type DurationSnapshot = [durationBuckets]uint32

// DurationCounts are numbers of durations that belong together.
type DurationCounts [durationBuckets]float64

// Fade takes away a share of what was counted, so that what comes later weighs more.
func (c *DurationCounts) Fade(share float64) {
	for i := range c {
		c[i] *= 1 - share
	}
}

// Sum is how many there are.
func (c *DurationCounts) Sum() (sum float64) {
	for _, n := range c {
		sum += n
	}
	return sum
}

// Quantile is what a share q of the durations do not exceed, rounded up to the
// end of a bucket; 0 when there are none.
func (c *DurationCounts) Quantile(q float64) time.Duration {
	rest := c.Sum() * q
	if rest <= 0 {
		return 0
	}
	for i, n := range c {
		if rest -= n; rest <= 0 && n > 0 {
			return durationEnd(i)
		}
	}
	return durationEnd(durationBuckets - 1)
}

// durationEnd is the end of a bucket. The first one holds everything below 9 µs.
func durationEnd(bucket int) time.Duration {
	return time.Duration(uint64(bucket&7+9)<<(bucket/8)) * time.Microsecond
}
