package obs

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// LimitStore counts what is asked of a store of rate limits that gateways share. All
// methods may be called at the same time.
type LimitStore struct {
	name     string
	metrics  *Metrics
	asked    histogram
	errors   table[string, atomic.Uint64]
	gateways atomic.Int64
	up       atomic.Bool
}

// LimitStore shows a store until Forget is called. Of two under one name, the later one
// is shown.
func (m *Metrics) LimitStore(name string) *LimitStore {
	s := &LimitStore{name: name, metrics: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limitStores = append(slices.Clip(m.limitStores), s)
	return s
}

// Forget ends the show.
func (s *LimitStore) Forget() {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	s.metrics.limitStores = slices.DeleteFunc(slices.Clone(s.metrics.limitStores), func(other *LimitStore) bool { return other == s })
}

// Asked counts a question. wrong is one of a few fixed words, "" for an answer.
func (s *LimitStore) Asked(d time.Duration, wrong string) {
	s.asked.observe(&gatewayBounds, d)
	if wrong != "" {
		s.errors.get(wrong).Add(1)
	}
}

// Failures is how many questions have failed.
func (s *LimitStore) Failures() (n uint64) {
	for _, e := range s.errors.all() {
		n += e.value.Load()
	}
	return n
}

// Gateways is how many gateways share the store.
func (s *LimitStore) Gateways(n int64) { s.gateways.Store(n) }

// Ready says whether the store is asked.
func (s *LimitStore) Ready(up bool) { s.up.Store(up) }

func collectLimitStores(ch chan<- prometheus.Metric, all []*LimitStore) {
	latest := make(map[string]*LimitStore, len(all))
	for _, s := range all {
		latest[s.name] = s
	}
	for name, s := range latest {
		up := 0.0
		if s.up.Load() {
			up = 1
		}
		gauge(ch, limitStoreUpDesc, up, name)
		gauge(ch, limitStoreGatewaysDesc, float64(s.gateways.Load()), name)
		s.asked.collect(ch, limitStoreDurationDesc, &gatewayBounds, name)
		for _, e := range s.errors.all() {
			counter(ch, limitStoreErrorsDesc, e.value.Load(), name, e.key)
		}
	}
}
