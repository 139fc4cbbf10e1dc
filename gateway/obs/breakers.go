package obs

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// BreakerState is what a circuit breaker looks like at the moment of a scrape.
type BreakerState struct {
	Name                    string // unique
	Upstream, Arm, Endpoint string // what it guards, as far as it is one of a kind
	State                   int    // 0 closed, 1 recovering, 2 half-open, 3 open
	Transitions             map[string]uint64
	Refused, Failures, Slow uint64
}

// watchedBreakers is where the state of the breakers of a block comes from.
type watchedBreakers struct {
	name   string
	states func() []BreakerState
}

// WatchBreakers shows the breakers of a block until forget is called. Of two under one
// name, the later one is shown.
func (m *Metrics) WatchBreakers(name string, states func() []BreakerState) (forget func()) {
	b := &watchedBreakers{name, states}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.breakers = append(slices.Clip(m.breakers), b)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.breakers = slices.DeleteFunc(slices.Clone(m.breakers), func(other *watchedBreakers) bool { return other == b })
	}
}

func collectBreakers(ch chan<- prometheus.Metric, breakers []*watchedBreakers) {
	latest := make(map[string]*watchedBreakers, len(breakers))
	for _, b := range breakers {
		latest[b.name] = b
	}
	for _, b := range latest {
		for _, s := range b.states() {
			s.collect(ch)
		}
	}
}

func (s *BreakerState) collect(ch chan<- prometheus.Metric) {
	labels := []string{s.Name, s.Upstream, s.Arm, s.Endpoint}
	gauge(ch, breakerStateDesc, float64(s.State), labels...)
	counter(ch, breakerRefusedDesc, s.Refused, labels...)
	counter(ch, breakerFailuresDesc, s.Failures, labels...)
	counter(ch, breakerSlowDesc, s.Slow, labels...)
	for to, n := range s.Transitions {
		counter(ch, breakerTransitionsDesc, n, append(labels[:4:4], to)...)
	}
}
