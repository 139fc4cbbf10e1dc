package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pithead/pithead/gateway"
)

// phases are those of the sampled requests that went to one place.
type phases [gateway.Phases]histogram

// observePhases counts what is known of a sampled request. A phase that the gateway
// itself measures is known even if there was none of it. How long a client takes to
// get the end of its answer comes later, see Drained.
func (r *Route) observePhases(s *series, x *gateway.Exchange) {
	if v := x.Anatomy.Verdict; v != gateway.VerdictNone {
		r.verdicts[v].Add(1)
	}
	if !x.Anatomy.Sampled || !x.Anatomy.Known {
		return
	}
	all := s.phasesOf()
	for p := range gateway.Phases {
		span := x.Anatomy.Spans[p]
		switch p {
		case gateway.PhaseClientDrain:
			if !x.Anatomy.Followed {
				all[p].observe(&gatewayBounds, span.Took)
			}
			continue
		case gateway.PhaseReceiveQueue, gateway.PhaseUpstreamQueue, gateway.PhaseUpstreamNetwork:
			if span.By == gateway.ByNobody {
				continue
			}
		case gateway.PhaseClientSend, gateway.PhaseGateway:
		default:
			if x.UpstreamStart.IsZero() {
				continue
			}
		}
		all[p].observe(&gatewayBounds, span.Took)
	}
	if span := x.Anatomy.Spans[gateway.PhaseReceiveQueue]; span.By != gateway.ByNobody && r.saturation != nil {
		accept := min(x.Anatomy.Accept, span.Took)
		r.saturation.observe(time.Now(), accept, span.Took-accept)
	}
}

// phasesOf makes the histograms when the first request is sampled: a route that
// has no traffic has none.
func (s *series) phasesOf() *phases {
	all := s.phases.Load()
	if all == nil {
		s.phases.CompareAndSwap(nil, new(phases))
		all = s.phases.Load()
	}
	return all
}

// Drained counts how long the client of a sampled request kept its answer waiting.
// upstream and arm are those of the request.
func (r *Route) Drained(upstream, arm string, took time.Duration) {
	r.series.get(target{upstream, arm}).phasesOf()[gateway.PhaseClientDrain].observe(&gatewayBounds, took)
}

func (r *Route) collectVerdicts(ch chan<- prometheus.Metric) {
	for v := range r.verdicts {
		if n := r.verdicts[v].Load(); n > 0 {
			counter(ch, slowRequestsDesc, n, r.name, gateway.Verdict(v).String())
		}
	}
}

// collectPhases adds up the upstreams of an arm, which the metric does not tell apart.
func (r *Route) collectPhases(ch chan<- prometheus.Metric) {
	byArm := make(map[string]*phases)
	for _, e := range r.series.all() {
		more := e.value.phases.Load()
		if more == nil {
			continue
		}
		if sum := byArm[e.key.arm]; sum != nil {
			for p := range sum {
				sum[p].add(&more[p])
			}
			continue
		}
		first := new(phases)
		for p := range first {
			first[p].add(&more[p])
		}
		byArm[e.key.arm] = first
	}
	for arm, sum := range byArm {
		for p := range sum {
			sum[p].collect(ch, requestPhaseDesc, &gatewayBounds, r.name, arm, gateway.Phase(p).String())
		}
	}
}
