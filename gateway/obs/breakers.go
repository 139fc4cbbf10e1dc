package obs

import "github.com/prometheus/client_golang/prometheus"

// BreakerState is what a circuit breaker looks like at the moment of a scrape.
type BreakerState struct {
	Name                    string // unique
	Upstream, Arm, Endpoint string // what it guards, as far as it is one of a kind
	State                   int    // 0 closed, 1 recovering, 2 half-open, 3 open
	Transitions             map[string]uint64
	Refused, Failures, Slow uint64
}

// WatchBreakers shows the breakers of a block until forget is called.
func (m *Metrics) WatchBreakers(name string, states func() []BreakerState) (forget func()) {
	return m.breakers.watch(name, states)
}

func (m *Metrics) collectBreakers(ch chan<- prometheus.Metric) {
	for _, all := range m.breakers.states() {
		for _, s := range all {
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
