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

// keySet is where the state of the keys of an issuer comes from.
type keySet struct {
	issuer, source string
	state          func() KeysState
}

// WatchKeys shows the keys of an issuer until forget is called. source is where they
// come from. While a reload replaces them there may be two under one name, of which
// the later ones are shown.
func (m *Metrics) WatchKeys(issuer, source string, state func() KeysState) (forget func()) {
	k := &keySet{issuer, source, state}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, k)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for i, other := range m.keys {
			if other == k {
				m.keys = append(m.keys[:i:i], m.keys[i+1:]...)
				return
			}
		}
	}
}

func collectKeys(ch chan<- prometheus.Metric, keys []*keySet) {
	type name struct{ issuer, source string }
	latest := make(map[name]*keySet, len(keys))
	for _, k := range keys {
		latest[name{k.issuer, k.source}] = k
	}
	for n, k := range latest {
		s, age := k.state(), math.Inf(1)
		if !s.Confirmed.IsZero() {
			age = max(time.Since(s.Confirmed), 0).Seconds()
		}
		gauge(ch, jwksAgeDesc, age, n.issuer, n.source)
		gauge(ch, jwksKeysDesc, float64(s.Keys), n.issuer, n.source)
		counter(ch, jwksFailuresDesc, s.Failures, n.issuer, n.source)
	}
}
