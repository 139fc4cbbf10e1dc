package obs

import "github.com/prometheus/client_golang/prometheus"

// CacheState is what a cache looks like at the moment of a scrape.
type CacheState struct {
	Requests       map[string]uint64 // by what became of them
	Bytes, Answers int64
	Evicted        uint64
}

// WatchCache shows a cache until forget is called.
func (m *Metrics) WatchCache(name string, state func() CacheState) (forget func()) {
	return m.caches.watch(name, state)
}

func (m *Metrics) collectCaches(ch chan<- prometheus.Metric) {
	for name, s := range m.caches.states() {
		for result, n := range s.Requests {
			counter(ch, cacheRequestsDesc, n, name, result)
		}
		gauge(ch, cacheBytesDesc, float64(s.Bytes), name)
		gauge(ch, cacheAnswersDesc, float64(s.Answers), name)
		counter(ch, cacheEvictedDesc, s.Evicted, name)
	}
}
