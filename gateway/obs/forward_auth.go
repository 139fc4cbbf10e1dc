package obs

import "github.com/prometheus/client_golang/prometheus"

// ForwardAuthState is what has become of the questions to a service that decides who may
// pass, at the moment of a scrape.
type ForwardAuthState struct {
	Requests map[string]uint64 // by what it said, or why it said nothing
	Hits     uint64            // requests whose answer was remembered
	Open     bool              // the service is being left alone
}

// WatchForwardAuth shows the questions to a path of an upstream until forget is called.
func (m *Metrics) WatchForwardAuth(upstream, path string, state func() ForwardAuthState) (forget func()) {
	return m.forwardAuths.watch(client{upstream, path}, state)
}

func (m *Metrics) collectForwardAuths(ch chan<- prometheus.Metric) {
	for c, s := range m.forwardAuths.states() {
		for result, n := range s.Requests {
			counter(ch, forwardAuthRequestsDesc, n, c.at, c.name, result)
		}
		counter(ch, forwardAuthHitsDesc, s.Hits, c.at, c.name)
		gauge(ch, forwardAuthOpenDesc, truth(s.Open), c.at, c.name)
	}
}
