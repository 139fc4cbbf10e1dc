package obs

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store counts what is asked of a store that gateways share. All
// methods may be called at the same time.
type Store struct {
	forget   func()
	asked    histogram
	errors   table[string, atomic.Uint64]
	gateways atomic.Int64
	up       atomic.Bool
}

// Store shows a store until Forget is called.
func (m *Metrics) Store(name string) *Store {
	s := &Store{}
	s.forget = m.stores.watch(name, func() *Store { return s })
	return s
}

// Forget ends the show.
func (s *Store) Forget() { s.forget() }

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

func (m *Metrics) collectStores(ch chan<- prometheus.Metric) {
	for name, s := range m.stores.states() {
		gauge(ch, storeUpDesc, truth(s.up.Load()), name)
		gauge(ch, storeGatewaysDesc, float64(s.gateways.Load()), name)
		s.asked.collect(ch, storeDurationDesc, &gatewayBounds, name)
		for _, e := range s.errors.all() {
			counter(ch, storeErrorsDesc, e.value.Load(), name, e.key)
		}
	}
}
