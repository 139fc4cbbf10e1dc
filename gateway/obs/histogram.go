package obs

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const bucketCount = 16

type bounds [bucketCount]time.Duration

// requestBounds are for whole requests and the upstream's part: from a cache's
// answer to the longest that a client waits for.
var requestBounds = bounds{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second,
}

// gatewayBounds are finer, because the gateway's own part is some tens of
// microseconds: all of it would fall into the first of requestBounds.
var gatewayBounds = bounds{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond, 100 * time.Microsecond,
	250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
	500 * time.Millisecond, time.Second, 10 * time.Second, 60 * time.Second,
}

// histogram counts durations in classic buckets. It is smaller and cheaper than
// the client library's, which pays for a consistent snapshot with a third
// atomic operation: here the count is the sum of the buckets, so it is always
// right, and only the sum may be a few observations ahead. Native histograms
// would cost a map look-up for each observation.
type histogram struct {
	buckets [bucketCount + 1]atomic.Uint64 // not cumulative; the last one is +Inf
	sum     atomic.Uint64                  // bits of a float64, in seconds; integer nanoseconds would run over within months
}

func (h *histogram) observe(limits *bounds, d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < bucketCount && d > limits[i] {
		i++
	}
	h.buckets[i].Add(1)
	for {
		old := h.sum.Load()
		if h.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d.Seconds())) {
			return
		}
	}
}

// add counts in what another one has, which may go on changing.
func (h *histogram) add(more *histogram) {
	for i := range h.buckets {
		h.buckets[i].Add(more.buckets[i].Load())
	}
	sum := math.Float64frombits(h.sum.Load()) + math.Float64frombits(more.sum.Load())
	h.sum.Store(math.Float64bits(sum))
}

func (h *histogram) count() (n uint64) {
	for i := range h.buckets {
		n += h.buckets[i].Load()
	}
	return n
}

func (h *histogram) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, limits *bounds, labels ...string) {
	sum := math.Float64frombits(h.sum.Load())
	cumulative := make(map[float64]uint64, bucketCount)
	var n uint64
	for i := range limits {
		n += h.buckets[i].Load()
		cumulative[limits[i].Seconds()] = n
	}
	n += h.buckets[bucketCount].Load()
	if n == 0 {
		return
	}
	metric, err := prometheus.NewConstHistogram(desc, n, sum, cumulative, labels...)
	send(ch, desc, metric, err)
}
