package obs

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// limited is which limit a request did not pass, and what became of the request.
type limited struct{ limit, result string }

// Limited counts a request that did not pass a limit. result is "refused", or
// "dry_run" for one that passed all the same.
func (r *Route) Limited(limit, result string) {
	r.limits.get(limited{limit, result}).Add(1)
}

func (r *Route) collectLimits(ch chan<- prometheus.Metric) {
	for _, e := range r.limits.all() {
		counter(ch, rateLimitedDesc, e.value.Load(), r.name, e.key.limit, e.key.result)
	}
}

// retainLimits begins anew when reloads have brought more names than a route has limits.
func (r *Route) retainLimits() {
	if len(r.limits.all()) > maxSeries {
		r.limits.retain(func(limited, *atomic.Uint64) bool { return false })
	}
}

// LimiterState is what the keys of a limiter look like at the moment of a scrape.
type LimiterState struct {
	Keys    int // whose buckets are not full
	Crowded uint64

	Decisions map[string]uint64 // by who has decided; nil if there is only one
}

// WatchLimiter shows the keys of a limiter until forget is called.
func (m *Metrics) WatchLimiter(name string, state func() LimiterState) (forget func()) {
	return m.limiters.watch(name, state)
}

func (m *Metrics) collectLimiters(ch chan<- prometheus.Metric) {
	for name, s := range m.limiters.states() {
		gauge(ch, rateLimitKeysDesc, float64(s.Keys), name)
		counter(ch, rateLimitCrowdedDesc, s.Crowded, name)
		for by, n := range s.Decisions {
			counter(ch, rateLimitDecisionsDesc, n, name, by)
		}
	}
}
