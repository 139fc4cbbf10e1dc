package obs

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// LoginState is what has become of logins at an OpenID provider, at the moment of a scrape.
type LoginState struct {
	Logins    map[string]uint64 // by "begun", "completed", or why they failed
	Refreshes map[string]uint64 // by what the provider said of a session
	Logouts   map[string]uint64 // by where they began
	Hits      uint64            // requests of a session that was known
	Sizes     *Sizes            // of the cookies of sessions
}

// client is somebody at a provider: an OpenID client, or one of an authorization server.
type client struct{ at, name string }

// WatchLogins shows the logins of a client at an issuer until forget is called.
func (m *Metrics) WatchLogins(issuer, clientID string, state func() LoginState) (forget func()) {
	return m.logins.watch(client{issuer, clientID}, state)
}

func (m *Metrics) collectLogins(ch chan<- prometheus.Metric) {
	for c, s := range m.logins.states() {
		for result, n := range s.Logins {
			counter(ch, oidcLoginsDesc, n, c.at, c.name, result)
		}
		for result, n := range s.Refreshes {
			counter(ch, oidcRefreshesDesc, n, c.at, c.name, result)
		}
		for from, n := range s.Logouts {
			counter(ch, oidcLogoutsDesc, n, c.at, c.name, from)
		}
		counter(ch, oidcHitsDesc, s.Hits, c.at, c.name)
		s.Sizes.collect(ch, oidcSizeDesc, c.at, c.name)
	}
}

// sizeBounds are the upper bounds of Sizes in bytes.
var sizeBounds = [...]uint64{512, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10}

// Sizes counts sizes in bytes.
type Sizes struct {
	counts [len(sizeBounds) + 1]atomic.Uint64
	sum    atomic.Uint64
}

// Observe takes in one size.
func (s *Sizes) Observe(bytes int) {
	i := 0
	for i < len(sizeBounds) && uint64(bytes) > sizeBounds[i] {
		i++
	}
	s.counts[i].Add(1)
	s.sum.Add(uint64(bytes))
}

func (s *Sizes) collect(ch chan<- prometheus.Metric, desc *prometheus.Desc, labels ...string) {
	buckets := make(map[float64]uint64, len(sizeBounds))
	var n uint64
	for i, bound := range sizeBounds {
		n += s.counts[i].Load()
		buckets[float64(bound)] = n
	}
	n += s.counts[len(sizeBounds)].Load()
	metric, err := prometheus.NewConstHistogram(desc, n, float64(s.sum.Load()), buckets, labels...)
	send(ch, desc, metric, err)
}
