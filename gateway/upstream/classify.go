package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/http1"
)

// timeoutError is the cause with which the watchdog ends an attempt. A stream
// on which both sides are silent is nobody's failure, so it is not the
// endpoint's: any client can open one and say nothing.
func timeoutError(p phase, stream bool) *gateway.Error {
	switch {
	case p == phaseHead:
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "upstream_timeout", Msg: "the service did not answer in time", Cause: gateway.CauseUpstream}
	case stream:
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "stream_idle_timeout", Msg: "the stream was silent for too long", Cause: gateway.CauseClient}
	default:
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "upstream_idle_timeout", Msg: "the service stopped in the middle of its answer", Cause: gateway.CauseUpstream}
	}
}

// refuse judges the head of an answer that the transport lets pass.
func refuse(req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if req.Header.Get("Upgrade") == "" {
			return errors.New("the endpoint switched protocols without being asked")
		}
	} else if resp.StatusCode < 200 || resp.StatusCode > 999 {
		return fmt.Errorf("the endpoint answered with status %d", resp.StatusCode)
	}
	lines := 0
	for _, values := range resp.Header {
		lines += len(values)
	}
	if lines > maxResponseFields {
		return fmt.Errorf("the endpoint answered with %d header lines, the limit is %d", lines, maxResponseFields)
	}
	return nil
}

// blame says what an error of the transport means and who caused it. It goes
// from the client to the endpoint: when a client has failed, everything that
// breaks after it is a consequence.
func (a *attempt) blame(err error, p phase) *gateway.Error {
	if e := a.blameClient(err); e != nil {
		return e
	}
	if p == phaseBody {
		return &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_truncated", Msg: "the service broke off its answer", Cause: gateway.CauseUpstream, Err: err}
	}
	if e := neverSent(err); e != nil {
		return e
	}
	if e := connectFailed(err, a.handshaking()); e != nil {
		return e
	}
	if isReset(err) {
		return &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_reset", Msg: "the service closed the connection without an answer", Cause: gateway.CauseUpstream, Err: err}
	}
	return &gateway.Error{Status: http.StatusBadGateway, Reason: "bad_response", Msg: "the service gave an invalid answer", Cause: gateway.CauseUpstream, Err: err}
}

// blameClient knows what ended the attempt from outside, and the watchdog's
// own verdict.
func (a *attempt) blameClient(err error) *gateway.Error {
	e, typed := errors.AsType[*gateway.Error](err)
	if !typed && a.ctx.Err() != nil {
		e, typed = errors.AsType[*gateway.Error](context.Cause(a.ctx))
	}
	if typed && e.Cause == gateway.CauseUpstream && errors.Is(context.Cause(a.in), e) { // the time for the exchange is over
		late := *e
		late.Cause = a.late()
		return &late
	}
	if typed {
		return e
	}
	if clientErr := a.x.ClientError(); clientErr != nil {
		return &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: clientErr}
	}
	switch {
	case errors.Is(a.in.Err(), context.DeadlineExceeded):
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "timeout", Msg: "the request took too long", Cause: a.late(), Err: err}
	case a.in.Err() != nil, a.send.failed.Load():
		return &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: err}
	}
	return nil
}

// late says who was to move when the time for the whole exchange had passed.
func (a *attempt) late() gateway.Cause {
	if a.watch.waiting() {
		return gateway.CauseUpstream
	}
	return gateway.CauseClient
}

// connectFailed knows the errors of name resolution, dialling and TLS: no byte
// of the request has left. A connection that breaks in the handshake has no type.
func connectFailed(err error, handshaking bool) *gateway.Error {
	if dial, ok := errors.AsType[*dialError](err); ok {
		if _, denied := errors.AsType[*deniedError](dial.err); denied {
			return &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_denied", Msg: "the service could not be reached", Cause: gateway.CauseNetwork, Err: err}
		}
		if isTimeout(dial.err) {
			return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "connect_timeout", Msg: "the service could not be reached in time", Cause: gateway.CauseNetwork, Err: err}
		}
		return &gateway.Error{Status: http.StatusServiceUnavailable, Reason: "connect_failed", Msg: "the service could not be reached", Cause: gateway.CauseNetwork, Err: err}
	}
	if isTLS(err) || handshaking && isReset(err) {
		return &gateway.Error{Status: http.StatusBadGateway, Reason: "upstream_tls", Msg: "no secure connection to the service", Cause: gateway.CauseNetwork, Err: err}
	}
	return nil
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	op, isOp := errors.AsType[*net.OpError](err)
	if isOp {
		return op.Op == "remote error" || op.Op == "local error" // a TLS alert
	}
	// The transport's only timeout without a type of its own is that of the
	// handshake; the others are off.
	return isTimeout(err) || strings.HasPrefix(err.Error(), "tls: ")
}

// isReset knows a connection that ended before the head of the answer was whole.
func isReset(err error) bool {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[streamError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || hasPrefix(err, resetTexts) || hasPrefix(err, unprocessedTexts)
}

// streamError has the fields of an HTTP/2 stream error, which net/http converts
// to any type of that form, so that nobody needs to import x/net for it.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return fmt.Sprintf("stream error %d", e.Code) }

// What net/http says in words only. Tests provoke the first of each list, to
// notice if the words change.
var (
	resetTexts = []string{
		"http: server closed idle connection",
		"http2: client connection lost",
		"http2: client conn could not be established",
		"http2: server sent GOAWAY",
		"http2: Transport received Server's graceful shutdown GOAWAY",
	}
	// An HTTP/2 endpoint has said that it did not look at the request.
	unprocessedTexts = []string{
		"http2: Transport: cannot retry err",
	}
	invalidTexts = []string{
		"net/http: invalid ",
	}
	tooLargeTexts = []string{
		"http2: request header list larger than peer's advertised limit",
	}
)

// neverSent knows requests that the transport refused: whatever let them get
// here, the endpoint has not seen them.
func neverSent(err error) *gateway.Error {
	_, invalid := errors.AsType[*http1.RequestError](err)
	switch {
	case invalid || hasPrefix(err, invalidTexts):
		return &gateway.Error{Status: http.StatusBadRequest, Reason: "bad_request", Msg: "the request cannot be passed on", Cause: gateway.CauseClient, Err: err}
	case hasPrefix(err, tooLargeTexts):
		return &gateway.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "header_too_large", Msg: "the header is too large for the service", Cause: gateway.CauseClient, Err: err}
	}
	return nil
}

func hasPrefix(err error, texts []string) bool {
	text := err.Error()
	for _, t := range texts {
		if strings.HasPrefix(text, t) {
			return true
		}
	}
	return false
}
