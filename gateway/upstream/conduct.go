package upstream

import (
	"net/http"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
)

// deed is what an attempt says of its endpoint.
type deed uint8

const (
	didNothing    deed = iota // the client or the gateway has ended it
	didWell                   // an answer, to its end
	didError                  // an answer that says that the service is broken
	didFail                   // no whole answer, or one that says that something behind it is broken
	didNotConnect             // there was no connection, or no handshake
)

// deed judges an attempt that has ended with e. Statuses that any client can
// cause at will, 501 and 505, are no failures, and neither is an address that
// the gateway itself refuses to dial.
func (a *attempt) deed(e *gateway.Error) deed {
	if e != nil {
		switch {
		case e.Reason == "connect_failed", e.Reason == "connect_timeout", e.Reason == "upstream_tls" && a.handshaking():
			return didNotConnect
		case e.Reason == "upstream_denied":
			return didNothing
		case e.Cause == gateway.CauseUpstream, e.Cause == gateway.CauseNetwork:
			return didFail
		}
		return didNothing
	}
	if a.resp == nil {
		return didNothing
	}
	status := a.resp.StatusCode
	switch {
	case status >= http.StatusBadGateway && status <= http.StatusGatewayTimeout:
		return didFail
	case status == http.StatusInternalServerError, status > http.StatusHTTPVersionNotSupported:
		return didError
	case !a.judged.whole:
		return didNothing
	case a.grpc:
		return grpcDeed(grpcStatusOf(a.resp))
	}
	return didWell
}

// grpcDeed judges the status of a gRPC call. DEADLINE_EXCEEDED is as likely the
// doing of the client, which sets the deadline, and so are most of the others.
func grpcDeed(status int) deed {
	switch status {
	case 14: // UNAVAILABLE
		return didFail
	case 2, 13, 15: // UNKNOWN, INTERNAL, DATA_LOSS
		return didError
	case 1, 4: // CANCELLED, DEADLINE_EXCEEDED
		return didNothing
	}
	return didWell
}

// report tells the endpoint's numbers how the attempt has ended, and has the
// endpoint ejected when it has failed too often in a row.
func (a *attempt) report(e *gateway.Error) {
	own, did := &a.ep.Stats.Conduct, a.deed(e)
	if a.resp != nil {
		clearRow(&own.Connect)
	}
	if did == didNothing {
		return
	}
	own.Ended.Add(1)
	if did == didWell {
		clearRow(&own.Errors)
		clearRow(&own.Gateway)
		a.comeBack()
		return
	}
	own.Bad.Add(1)
	rules := &a.c.opts.Outliers
	if did == didNotConnect && reached(&own.Connect, rules.Connect) {
		a.c.eject(a.ep.Addr, ejectConnect)
	}
	if did == didError {
		clearRow(&own.Gateway)
	} else if reached(&own.Gateway, rules.Gateway) {
		a.c.eject(a.ep.Addr, ejectGateway)
	}
	if reached(&own.Errors, rules.Errors) {
		a.c.eject(a.ep.Addr, ejectErrors)
	}
}

// clearRow looks first: most rows are empty, and a look is not felt by others.
func clearRow(n *atomic.Int32) {
	if n.Load() != 0 {
		n.Store(0)
	}
}

// reached counts a failure and says whether the row is as long as the rule
// allows, or as long as that again.
func reached(n *atomic.Int32, limit int) bool {
	return limit > 0 && int(n.Add(1))%limit == 0
}

// comeBack ends the ejection of an endpoint that could not be connected to and
// has answered since: it was tried because no other could be reached.
func (a *attempt) comeBack() {
	e := a.ep.Stats.Conduct.Ejection.Load()
	if e == nil || e.Reason != ejectNames[ejectConnect] || a.watch.start.Before(e.At) {
		return
	}
	a.c.readmitOne(a.ep, e)
	a.c.flipped()
}
