package obs

import (
	"math"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// saturationWindow is how long a mean of saturation looks back at least, and half of
// how long it looks back at most.
const saturationWindow = 10 * time.Second

// saturation is how long work waits for this process before anybody works on it,
// the mean of the last 10 to 20 seconds. Its lock is taken for sampled requests and
// scrapes only.
type saturation struct {
	mu      sync.Mutex
	now     waits
	before  waits
	turned  time.Time
	runtime []metrics.Sample
}

// waits are sums over one window.
type waits struct {
	requests      uint64
	accept, queue time.Duration
	sched         schedule // at its beginning, since the process started
}

// schedule is how often goroutines were ready to run and how long they waited.
type schedule struct{ times, seconds float64 }

const schedLatencies = "/sched/latencies:seconds"

func newSaturation() *saturation {
	return &saturation{runtime: []metrics.Sample{{Name: schedLatencies}}}
}

// turn begins a new window if it is time for one. It needs s.mu.
func (s *saturation) turn(now time.Time) {
	switch age := now.Sub(s.turned); {
	case age < saturationWindow:
		return
	case age < 2*saturationWindow:
		s.before = s.now
	default:
		s.before = waits{sched: s.scheduled()}
	}
	s.now, s.turned = waits{sched: s.scheduled()}, now
}

// scheduled needs s.mu. Waits are counted in buckets, of which the middle is taken.
func (s *saturation) scheduled() (all schedule) {
	metrics.Read(s.runtime)
	if s.runtime[0].Value.Kind() != metrics.KindFloat64Histogram {
		return all // a runtime without it
	}
	h := s.runtime[0].Value.Float64Histogram()
	for i, n := range h.Counts {
		low, high := max(h.Buckets[i], 0), h.Buckets[i+1]
		if math.IsInf(high, 1) {
			high = low
		}
		all.times += float64(n)
		all.seconds += float64(n) * (low + high) / 2
	}
	return all
}

func (s *saturation) observe(now time.Time, accept, queue time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	s.now.requests++
	s.now.accept += accept
	s.now.queue += queue
}

func (s *saturation) collect(ch chan<- prometheus.Metric, now time.Time) {
	s.mu.Lock()
	s.turn(now)
	sum, sched := s.now, s.scheduled()
	sum.requests += s.before.requests
	sum.accept += s.before.accept
	sum.queue += s.before.queue
	since := s.before.sched
	s.mu.Unlock()
	mean := func(d time.Duration) float64 {
		if sum.requests == 0 {
			return 0
		}
		return d.Seconds() / float64(sum.requests)
	}
	gauge(ch, saturationDesc, mean(sum.accept), "accept")
	gauge(ch, saturationDesc, mean(sum.queue), "receive_queue")
	waited := 0.0
	if times := sched.times - since.times; times > 0 {
		waited = (sched.seconds - since.seconds) / times
	}
	gauge(ch, saturationDesc, max(waited, 0), "scheduler")
}
