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

// introspectorSource is where the state of questions to one server as one client comes from.
type introspectorSource struct {
	endpoint, client string
	state            func() IntrospectorState
}

// WatchIntrospector shows the questions to an authorization server until forget is called.
// While a reload replaces them there may be two under one name, of which the later
// ones are shown.
func (m *Metrics) WatchIntrospector(endpoint, client string, state func() IntrospectorState) (forget func()) {
	i := &introspectorSource{endpoint, client, state}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.introspectors = append(m.introspectors, i)
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for at, other := range m.introspectors {
			if other == i {
				m.introspectors = append(m.introspectors[:at:at], m.introspectors[at+1:]...)
				return
			}
		}
	}
}

func collectIntrospectors(ch chan<- prometheus.Metric, all []*introspectorSource) {
	type name struct{ endpoint, client string }
	latest := make(map[name]*introspectorSource, len(all))
	for _, i := range all {
		latest[name{i.endpoint, i.client}] = i
	}
	for n, i := range latest {
		s, open := i.state(), 0.0
		if s.Open {
			open = 1
		}
		for result, count := range map[string]uint64{
			"active": s.Active, "inactive": s.Inactive, "failed": s.Failed, "timeout": s.Late, "skipped": s.Skipped,
		} {
			counter(ch, introspectionRequestsDesc, count, n.endpoint, n.client, result)
		}
		counter(ch, introspectionHitsDesc, s.Hits, n.endpoint, n.client)
		gauge(ch, introspectionOpenDesc, open, n.endpoint, n.client)
	}
}
