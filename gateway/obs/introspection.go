package obs

import "github.com/prometheus/client_golang/prometheus"

// IntrospectorState is what has become of the questions to an authorization server,
// at the moment of a scrape.
type IntrospectorState struct {
	Active, Inactive uint64 // answers
	Failed, Late     uint64 // errors, and no answer in time
	Skipped          uint64 // questions that were not asked
	Hits             uint64 // requests whose answer was remembered
	Open             bool   // the server is being left alone
}

// WatchIntrospector shows the questions to an authorization server, as one client, until
// forget is called.
func (m *Metrics) WatchIntrospector(endpoint, clientID string, state func() IntrospectorState) (forget func()) {
	return m.introspectors.watch(client{endpoint, clientID}, state)
}

func (m *Metrics) collectIntrospectors(ch chan<- prometheus.Metric) {
	for c, s := range m.introspectors.states() {
		for result, count := range map[string]uint64{
			"active": s.Active, "inactive": s.Inactive, "failed": s.Failed, "timeout": s.Late, "skipped": s.Skipped,
		} {
			counter(ch, introspectionRequestsDesc, count, c.at, c.name, result)
		}
		counter(ch, introspectionHitsDesc, s.Hits, c.at, c.name)
		gauge(ch, introspectionOpenDesc, truth(s.Open), c.at, c.name)
	}
}
