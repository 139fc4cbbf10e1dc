package middleware

import (
	"net/http"
	"strconv"

	"github.com/pithead/pithead/gateway"
)

// loadReport is what an exchange that has ended says of its upstream.
type loadReport struct {
	ended  bool // it says something
	failed bool // by the upstream's or the network's doing, or with a status that says so
	full   bool // the upstream was too late, or said that it has too much to do
}

// reportOf reads the exchange of r. A client that left or has sent nonsense says nothing of
// the upstream, and neither does an answer of the gateway.
func reportOf(h http.Header, r *http.Request, x *gateway.Exchange) loadReport {
	switch {
	case x.Attempts == 0, x.ClientError() != nil, x.Status == gateway.StatusClientClosed, r.Context().Err() != nil && x.Err == nil:
		return loadReport{}
	case x.Err != nil:
		if x.Err.Cause == gateway.CauseClient || x.Err.Cause == gateway.CauseGateway {
			return loadReport{}
		}
		return loadReport{ended: true, failed: true, full: x.Err.Status == http.StatusGatewayTimeout}
	case gateway.IsGRPC(r):
		return reportOfCall(grpcStatus(h), r.Header.Get("Grpc-Timeout") != "")
	}
	return loadReport{
		ended: true, failed: x.Status >= http.StatusInternalServerError,
		full: x.Status == http.StatusServiceUnavailable || x.Status == http.StatusGatewayTimeout || x.Status == http.StatusTooManyRequests,
	}
}

// The statuses of gRPC that say something of a service.
const (
	grpcUnknown     = 2
	grpcInternal    = 13
	grpcUnavailable = 14
)

// reportOfCall leaves out what the caller may have caused by giving the service no time.
func reportOfCall(status int, ownDeadline bool) loadReport {
	late := status == grpcDeadline
	if late && ownDeadline {
		return loadReport{}
	}
	return loadReport{
		ended:  true,
		failed: late || status == grpcUnknown || status == grpcInternal || status == grpcUnavailable,
		full:   late || status == grpcUnavailable || status == grpcExhausted,
	}
}

// grpcStatus is the status of a call, as the proxy core has written it: in a trailer, or in the
// head of an answer that is nothing but a status. A call without one has an unknown end.
func grpcStatus(h http.Header) int {
	text := h.Get("Grpc-Status")
	if text == "" {
		text = h.Get(http.TrailerPrefix + "Grpc-Status")
	}
	if code, err := strconv.Atoi(text); err == nil {
		return code
	}
	return grpcUnknown
}
