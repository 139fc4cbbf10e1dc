package obs

import "github.com/prometheus/client_golang/prometheus"

// Injected counts a fault that a request was given on purpose. fault is one of a few
// fixed words.
func (r *Route) Injected(fault string) { r.faults.get(fault).Add(1) }

func (r *Route) collectFaults(ch chan<- prometheus.Metric) {
	for _, e := range r.faults.all() {
		counter(ch, faultsInjectedDesc, e.value.Load(), r.name, e.key)
	}
}
