package anatomy

import (
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway"
)

// suspects says whose each phase is.
var suspects = [gateway.Phases]gateway.Verdict{
	gateway.PhaseReceiveQueue:    gateway.VerdictKernelQueue,
	gateway.PhaseClientSend:      gateway.VerdictClientNetwork,
	gateway.PhaseGateway:         gateway.VerdictGateway,
	gateway.PhaseUpstreamWait:    gateway.VerdictUpstream,
	gateway.PhaseEarlierAttempts: gateway.VerdictUpstream,
	gateway.PhaseConnect:         gateway.VerdictUpstreamNetwork,
	gateway.PhaseUpstreamNetwork: gateway.VerdictUpstreamNetwork,
	gateway.PhaseUpstreamService: gateway.VerdictUpstream,
	gateway.PhaseUpstreamQueue:   gateway.VerdictKernelQueue,
	gateway.PhaseUpstreamBody:    gateway.VerdictUpstream,
	gateway.PhaseClientDrain:     gateway.VerdictClientNetwork,
}

// Failed says whether what became of x needs an explanation. A refusal does not.
func Failed(x *gateway.Exchange) bool {
	if x.Err == nil {
		return false
	}
	return x.Status >= http.StatusInternalServerError || x.Status == 0 ||
		x.Status == gateway.StatusClientClosed || x.Status == http.StatusRequestTimeout
}

// Judge says who made a request slow, or fail, whose phases are settled. For a slow
// one it is who took the most time. For one that failed it is who caused the error,
// unless bytes lay unread for most of a long time: a process that does not get to
// run takes everybody else for late.
func Judge(x *gateway.Exchange) gateway.Verdict {
	a := &x.Anatomy
	var sums [gateway.Verdicts]time.Duration
	var whole time.Duration
	for p, span := range a.Spans {
		sums[suspects[p]] += span.Took
		whole += span.Took
	}
	worst := gateway.VerdictClientNetwork
	for v := worst; v < gateway.Verdicts; v++ {
		if sums[v] > sums[worst] {
			worst = v
		}
	}
	switch {
	case Failed(x) && (worst != gateway.VerdictKernelQueue || !a.Slow(whole)):
		return blamed[x.Err.Cause]
	case a.Slow(whole):
		return worst
	}
	return gateway.VerdictNone
}

var blamed = map[gateway.Cause]gateway.Verdict{
	gateway.CauseClient:   gateway.VerdictClientNetwork,
	gateway.CauseGateway:  gateway.VerdictGateway,
	gateway.CauseUpstream: gateway.VerdictUpstream,
	gateway.CauseNetwork:  gateway.VerdictUpstreamNetwork,
}
