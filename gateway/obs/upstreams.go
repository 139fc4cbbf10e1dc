package obs

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// UpstreamState is what an upstream looks like at the moment of a scrape.
type UpstreamState struct {
	Name      string
	Confirmed time.Time       // when discovery last confirmed the set; zero if it never did
	Panic     bool            // too few endpoints are healthy, all are used
	Waiting   int             // requests that wait for an endpoint with room
	LeftZone  map[string]bool // by arm, whether its requests leave the preferred zone; nil when none is preferred
	Subsets   []string        // all arms that the configuration defines, also empty ones
	Endpoints []EndpointState
	Retries   map[string]uint64 // by result
	Hedges    map[string]uint64 // by result
	Ejections map[string]uint64 // by reason
}

// EndpointState is what an endpoint looks like at the moment of a scrape.
type EndpointState struct {
	Addr     string
	Healthy  bool
	Ejected  bool
	Active   int64    // requests on their way
	Requests uint64   // attempts begun
	Failures uint64   // attempts that failed
	Subsets  []string // the arms that it belongs to
}

// CollectUpstreams says where the state of the upstreams comes from. states is
// called once for each scrape.
func (m *Metrics) CollectUpstreams(states func() []UpstreamState) { m.upstreams.Store(&states) }

// DiscoveryFailed counts a failed attempt to reach the registry of an upstream.
func (m *Metrics) DiscoveryFailed(upstream string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failures[upstream]++
}

// DiscoverySkipped takes note of how many instances in the last answer of a
// registry are left out.
func (m *Metrics) DiscoverySkipped(upstream string, instances int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.skipped[upstream] = instances
}

func (m *Metrics) collectUpstreams(ch chan<- prometheus.Metric, failures map[string]uint64, skipped map[string]int) {
	if states := m.upstreams.Load(); states != nil {
		for _, u := range (*states)() {
			u.collect(ch)
			gauge(ch, discoverySkippedDesc, float64(skipped[u.Name]), u.Name)
			if _, failed := failures[u.Name]; !failed {
				failures[u.Name] = 0 // shown before the first failure, so that rate() sees it
			}
		}
	}
	for upstream, n := range failures {
		counter(ch, discoveryFailuresDesc, n, upstream)
	}
}

func (u *UpstreamState) collect(ch chan<- prometheus.Metric) {
	age := math.Inf(1)
	if !u.Confirmed.IsZero() {
		age = max(time.Since(u.Confirmed), 0).Seconds()
	}
	gauge(ch, discoveryAgeDesc, age, u.Name)
	gauge(ch, upstreamPanicDesc, truth(u.Panic), u.Name)
	for arm, left := range u.LeftZone {
		gauge(ch, upstreamLeftZoneDesc, truth(left), u.Name, arm)
	}
	gauge(ch, upstreamWaitingDesc, float64(u.Waiting), u.Name)
	for result, n := range u.Retries {
		counter(ch, upstreamRetriesDesc, n, u.Name, result)
	}

	for result, n := range u.Hedges {
		counter(ch, upstreamHedgesDesc, n, u.Name, result)
	}
	for reason, n := range u.Ejections {
		counter(ch, endpointEjectionsDesc, n, u.Name, reason)
	}

	type count struct{ healthy, unhealthy, ejected int }
	arms := map[string]*count{"": {}}
	for _, name := range u.Subsets {
		arms[name] = &count{}
	}
	seen := make(map[string]bool, len(u.Endpoints))
	for _, e := range u.Endpoints {
		addr := strings.ToValidUTF8(e.Addr, "\uFFFD")
		if seen[addr] { // a registry may name an address twice; a scrape may not
			continue
		}
		seen[addr] = true
		e.collect(ch, u.Name, addr)
		for name, c := range arms {
			switch {
			case name != "" && !slices.Contains(e.Subsets, name):
			case !e.Healthy:
				c.unhealthy++
			case e.Ejected:
				c.ejected++
			default:
				c.healthy++
			}
		}
	}
	for name, c := range arms {
		gauge(ch, upstreamEndpointsDesc, float64(c.healthy), u.Name, name, "healthy")
		gauge(ch, upstreamEndpointsDesc, float64(c.unhealthy), u.Name, name, "unhealthy")
		gauge(ch, upstreamEndpointsDesc, float64(c.ejected), u.Name, name, "ejected")
	}
}

func (e *EndpointState) collect(ch chan<- prometheus.Metric, upstream, addr string) {
	gauge(ch, endpointHealthyDesc, truth(e.Healthy), upstream, addr)
	gauge(ch, endpointActiveDesc, float64(e.Active), upstream, addr)
	counter(ch, endpointAttemptsDesc, e.Requests, upstream, addr)
	counter(ch, endpointFailuresDesc, e.Failures, upstream, addr)
}
