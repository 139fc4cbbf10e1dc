package obs

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store counts what is asked of a store that gateways share. All
// methods may be called at the same time.
type Store struct {
	name     string
	metrics  *Metrics
	asked    histogram
	errors   table[string, atomic.Uint64]
	gateways atomic.Int64
	up       atomic.Bool
}

// Store shows a store until Forget is called. Of two under one name, the later one
// is shown.
func (m *Metrics) Store(name string) *Store {
	s := &Store{name: name, metrics: m}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stores = append(slices.Clip(m.stores), s)
	return s
}

// Forget ends the show.
func (s *Store) Forget() {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	s.metrics.stores = slices.DeleteFunc(slices.Clone(s.metrics.stores), func(other *Store) bool { return other == s })
}

// Asked counts a question. wrong is one of a few fixed words, "" for an answer.
func (s *Store) Asked(d time.Duration, wrong string) {
	s.asked.observe(&gatewayBounds, d)
	if wrong != "" {
		s.errors.get(wrong).Add(1)
	}
}

// Failures is how many questions have failed.
func (s *Store) Failures() (n uint64) {
	for _, e := range s.errors.all() {
		n += e.value.Load()
	}
	return n
}

// Gateways is how many gateways share the store.
func (s *Store) Gateways(n int64) { s.gateways.Store(n) }

// Ready says whether the store is asked.
func (s *Store) Ready(up bool) { s.up.Store(up) }

func collectStores(ch chan<- prometheus.Metric, all []*Store) {
	latest := make(map[string]*Store, len(all))
	for _, s := range all {
		latest[s.name] = s
	}
	for name, s := range latest {
		up := 0.0
		if s.up.Load() {
			up = 1
		}
		gauge(ch, storeUpDesc, up, name)
		gauge(ch, storeGatewaysDesc, float64(s.gateways.Load()), name)
		s.asked.collect(ch, storeDurationDesc, &gatewayBounds, name)
		for _, e := range s.errors.all() {
			counter(ch, storeErrorsDesc, e.value.Load(), name, e.key)
		}
	}
}
