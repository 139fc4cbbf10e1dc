package anatomy

import (
	"time"

	"github.com/pithead/pithead/gateway"
)

// division cuts a stretch of time into phases. What nobody claims is the gateway's.
type division struct {
	spans *[gateway.Phases]gateway.Span
	left  time.Duration
}

// take gives a part of what is left to a phase.
func (d *division) take(p gateway.Phase, took time.Duration, by gateway.Measurer) {
	took = min(took, d.left)
	if took <= 0 {
		return
	}
	d.left -= took
	d.spans[p].Took += took
	d.spans[p].By = max(d.spans[p].By, by)
}

// Settle divides the time of x, which ends or has come as far as end, into phases.
// It may be called again later.
func Settle(x *gateway.Exchange, c *Client, end time.Time) {
	a := &x.Anatomy
	a.Spans, a.Known, a.Accept = [gateway.Phases]gateway.Span{}, true, c.Accept
	whole := division{&a.Spans, 0}
	if c.By != gateway.ByNobody {
		whole.left = x.Start.Sub(c.Arrived)
		whole.take(gateway.PhaseReceiveQueue, c.Queue, c.By)
		whole.take(gateway.PhaseClientSend, c.HeadSend, c.By)
		if a.Spans[gateway.PhaseReceiveQueue].By == gateway.ByNobody {
			a.Spans[gateway.PhaseReceiveQueue].By = c.By // it is known that there was none
		}
	}
	own := max(whole.left, 0)
	if x.UpstreamStart.IsZero() {
		rest := division{&a.Spans, end.Sub(x.Start)}
		rest.take(gateway.PhaseUpstreamWait, a.Room, gateway.ByUser)
		rest.take(gateway.PhaseClientDrain, c.Drain, gateway.ByUser)
		rest.take(gateway.PhaseClientSend, c.BodySend, gateway.ByUser)
		own += rest.left
	} else {
		own += attempts(x, c, end)
	}
	a.Spans[gateway.PhaseGateway] = gateway.Span{Took: max(own, 0), By: gateway.ByUser}
}

// attempts divides a request that was sent upstream, and returns what is the
// gateway's.
func attempts(x *gateway.Exchange, c *Client, end time.Time) (own time.Duration) {
	a := &x.Anatomy
	before := division{&a.Spans, x.UpstreamStart.Sub(x.Start)}
	before.take(gateway.PhaseUpstreamWait, a.Room, gateway.ByUser)
	own = before.left

	last := a.Attempt
	if last.IsZero() || last.Before(x.UpstreamStart) {
		last = x.UpstreamStart
	}
	a.Spans[gateway.PhaseEarlierAttempts] = spanOf(last.Sub(x.UpstreamStart))
	head, ended := x.UpstreamHeaders, x.UpstreamEnd
	if ended.IsZero() || ended.After(end) {
		ended = end
	}
	answered := !head.IsZero()
	if !answered {
		head = ended
	}
	connected := last
	if a.Connected.After(last) && !a.Connected.After(head) {
		connected = a.Connected
	} else if !answered && a.Opening {
		connected = head
	}
	a.Spans[gateway.PhaseConnect] = spanOf(connected.Sub(last))
	own += exchangeOf(x, c, head.Sub(connected))
	if !answered {
		return own + end.Sub(ended)
	}
	after := division{&a.Spans, end.Sub(head)}
	after.take(gateway.PhaseClientDrain, c.Drain, gateway.ByUser)
	after.take(gateway.PhaseUpstreamBody, ended.Sub(head)-a.Spans[gateway.PhaseClientDrain].Took, gateway.ByUser)
	return own + after.left
}

// exchangeOf divides the wait for the head of the answer.
func exchangeOf(x *gateway.Exchange, c *Client, waited time.Duration) (own time.Duration) {
	a, u := &x.Anatomy, &x.Anatomy.Upstream
	d := division{&a.Spans, waited}
	if u.By == gateway.ByProbe {
		// What the kernel does not see of the wait is this process's.
		own = max(waited-u.Kernel-u.Queue, 0)
		d.left -= own
	}
	d.take(gateway.PhaseUpstreamQueue, u.Queue, u.By)
	if u.By == gateway.ByProbe && a.Spans[gateway.PhaseUpstreamQueue].By == gateway.ByNobody {
		a.Spans[gateway.PhaseUpstreamQueue].By = u.By
	}
	d.take(gateway.PhaseClientSend, c.BodySend, gateway.ByUser)
	d.take(gateway.PhaseUpstreamNetwork, u.RoundTrip+u.Lost, gateway.ByTCPInfo)
	by := gateway.ByUser
	if u.By == gateway.ByProbe {
		by = gateway.ByProbe
	}
	d.take(gateway.PhaseUpstreamService, d.left, by)
	return own
}

func spanOf(took time.Duration) gateway.Span {
	if took <= 0 {
		return gateway.Span{}
	}
	return gateway.Span{Took: took, By: gateway.ByUser}
}
