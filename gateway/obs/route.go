package obs

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pithead/pithead/gateway"
)

// Route counts the requests of one route. All methods may be called at the same
// time, and also after Retain has forgotten the route: then nobody sees it.
type Route struct {
	name     string
	inFlight atomic.Int64
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
	series   table[target, series]
	errors   table[failure, atomic.Uint64]
	mirrors  table[copied, atomic.Uint64]
	limits   table[limited, atomic.Uint64]

	verdicts   [gateway.Verdicts]atomic.Uint64
	saturation *saturation // of the process
	faults     table[string, atomic.Uint64]
}

// target is where a request went.
type target struct{ upstream, arm string }

// failure is why a request failed.
type failure struct {
	reason string
	cause  gateway.Cause
}

type series struct {
	requests requestCounts
	whole    histogram
	gateway  histogram
	upstream histogram
	phases   atomic.Pointer[phases] // nil before the first sampled request
	seen     uint64                 // requests at the last Retain; guarded by Metrics.mu
}

// Begin counts a request in. Each Begin needs one End.
func (r *Route) Begin() { r.inFlight.Add(1) }

// End counts a request out, with all that x says of it. now is when the answer ended.
func (r *Route) End(x *gateway.Exchange, method string, now time.Time) {
	r.inFlight.Add(-1)
	if x.BytesIn > 0 {
		r.bytesIn.Add(uint64(x.BytesIn))
	}
	if x.BytesOut > 0 {
		r.bytesOut.Add(uint64(x.BytesOut))
	}
	if x.Err != nil {
		r.errors.get(failure{x.Err.Reason, x.Err.Cause}).Add(1)
	}
	s := r.series.get(target{x.Upstream, x.Arm})
	s.requests.add(method, x.Status)
	t := split(x, now)
	s.whole.observe(&requestBounds, t.whole)
	s.gateway.observe(&gatewayBounds, t.gateway)
	if t.tried {
		s.upstream.observe(&requestBounds, t.upstream)
	}
	if x.Anatomy.Known {
		r.observePhases(s, x)
	}
}

// times says where the time of a request went; gateway + upstream = whole.
type times struct {
	whole, gateway, upstream time.Duration
	tried                    bool // there was an attempt, so upstream means something
}

func split(x *gateway.Exchange, end time.Time) times {
	t := times{whole: max(end.Sub(x.Start), 0), tried: !x.UpstreamStart.IsZero()}
	if t.tried {
		last := x.UpstreamEnd
		if last.IsZero() { // broken off while the upstream was still at it
			last = end
		}
		t.upstream = min(max(last.Sub(x.UpstreamStart), 0), t.whole)
	}
	t.gateway = t.whole - t.upstream
	return t
}

func (r *Route) collect(ch chan<- prometheus.Metric) {
	gauge(ch, inFlightDesc, float64(r.inFlight.Load()), r.name)
	counter(ch, requestBytesDesc, r.bytesIn.Load(), r.name)
	counter(ch, responseBytesDesc, r.bytesOut.Load(), r.name)
	for _, e := range r.errors.all() {
		counter(ch, requestErrorsDesc, e.value.Load(), r.name, e.key.reason, e.key.cause.String())
	}
	r.collectMirrors(ch)
	r.collectLimits(ch)
	r.collectVerdicts(ch)
	r.collectPhases(ch)
	r.collectFaults(ch)
	for _, e := range r.series.all() {
		labels := []string{r.name, e.key.upstream, e.key.arm}
		e.value.requests.collect(ch, r.name, e.key.upstream, e.key.arm)
		e.value.whole.collect(ch, requestDurationDesc, &requestBounds, labels...)
		e.value.gateway.collect(ch, gatewayDurationDesc, &gatewayBounds, labels...)
		e.value.upstream.collect(ch, upstreamDurationDesc, &requestBounds, labels...)
	}
}

// maxSeries is more than any sensible route has. Beyond it, series that nothing
// was added to between two reloads go: the names of arms are not known here,
// and a route that gets new ones with every reload must not grow for ever.
const maxSeries = 64

func (r *Route) retain(upstreams map[string]bool) {
	crowded := len(r.series.all()) > maxSeries
	r.series.retain(func(to target, s *series) bool {
		n := s.whole.count()
		idle := n == s.seen
		s.seen = n
		return upstreams[to.upstream] && (!crowded || !idle)
	})
	r.retainLimits()
	r.mirrors.retain(func(to copied, _ *atomic.Uint64) bool { return upstreams[to.upstream] })
}
