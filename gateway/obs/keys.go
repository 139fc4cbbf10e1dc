package obs

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// KeysState is what the keys of an issuer look like at the moment of a scrape.
type KeysState struct {
	Keys      int
	Confirmed time.Time // when they were last read; zero if they never were
	Failures  uint64
}

// issued names the keys of an issuer by where they come from as well.
type issued struct{ issuer, source string }

// WatchKeys shows the keys of an issuer until forget is called. source is where they
// come from.
func (m *Metrics) WatchKeys(issuer, source string, state func() KeysState) (forget func()) {
	return m.keys.watch(issued{issuer, source}, state)
}

func (m *Metrics) collectKeys(ch chan<- prometheus.Metric) {
	for n, s := range m.keys.states() {
		age := math.Inf(1)
		if !s.Confirmed.IsZero() {
			age = max(time.Since(s.Confirmed), 0).Seconds()
		}
		gauge(ch, jwksAgeDesc, age, n.issuer, n.source)
		gauge(ch, jwksKeysDesc, float64(s.Keys), n.issuer, n.source)
		counter(ch, jwksFailuresDesc, s.Failures, n.issuer, n.source)
	}
}
