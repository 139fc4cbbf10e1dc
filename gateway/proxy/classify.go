package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/pithead/pithead/gateway"
)

// awaitRead is how long a read of the client's body may take to come back once
// net/http has given up the connection: it only has to be scheduled.
const awaitRead = 50 * time.Millisecond

// blame says who caused err. It never looks at a text: what the client did is
// known by the reader of its body and the writer of its answer, what a cluster
// did by the type of its error, the rest by the context.
func (s *relay) blame(err error) *gateway.Error {
	s.mu.Lock()
	flood := s.interim > maxInterim
	s.mu.Unlock()
	if flood {
		return tooManyInterim()
	}
	if s.w.failed != nil {
		return clientClosed(s.w.failed)
	}
	if s.body != nil && errors.Is(s.Err(), context.Canceled) {
		// net/http cancels the context before it returns from the read that
		// failed, and that one knows more.
		s.body.await(awaitRead)
	}
	if failed := s.x.ClientError(); failed != nil {
		return badBody(failed)
	}
	if e := s.blameContext(); e != nil {
		return e
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	if isTimeout(err) {
		return timedOut(err)
	}
	e := badAnswer("upstream_failed")
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		e.Reason, e.Msg, e.Cause = "connect_failed", "the upstream cannot be reached", gateway.CauseNetwork
	}
	e.Err = err
	return e
}

// blameCut is blame for an answer that broke after its head had been sent.
func (s *relay) blameCut() *gateway.Error {
	err := s.answer.failed
	e := s.blame(err)
	if e.Reason == "upstream_failed" {
		e.Reason, e.Msg = "upstream_truncated", "the upstream broke off its answer"
	}
	return e
}

// blameContext is for requests whose context has ended; nil when it has not.
func (s *relay) blameContext() *gateway.Error {
	err := s.Err()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*gateway.Error](context.Cause(s.Context))
	late := errors.Is(err, context.DeadlineExceeded) || ok && e.Status == http.StatusGatewayTimeout
	switch {
	case late && s.body != nil && (s.body.late.Load() || s.body.waiting()):
		return bodyTimeout(err) // the upstream cannot answer what it has not got
	case ok:
		return e // whoever ended it knows better
	case late:
		return timedOut(err)
	}
	if s.body != nil && s.body.armed.Load() {
		return nil // our own doing
	}
	return clientClosed(err)
}

func isTimeout(err error) bool {
	if ne, ok := errors.AsType[net.Error](err); ok {
		return ne.Timeout()
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// badBody is the answer to a client whose body could not be read.
func badBody(err error) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return &gateway.Error{
			Status: http.StatusRequestEntityTooLarge, Reason: "body_too_large",
			Msg: "the request body is too large", Cause: gateway.CauseClient, Err: err, Close: true,
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return bodyTimeout(err)
	}
	if isGone(err) {
		return clientClosed(err)
	}
	e := gateway.BadRequest("bad_body", "malformed request body")
	e.Err = err
	return e
}

// isGone tells a client that went away from one that sent nonsense, for which
// net/http has no types: whatever is not a broken connection is that.
func isGone(err error) bool {
	for _, gone := range [...]error{io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed, context.Canceled} {
		if errors.Is(err, gone) {
			return true
		}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	_, ok := errors.AsType[streamError](err)
	return ok
}

// streamError is what net/http's errors.As takes for its own unexported type of
// a reset HTTP/2 stream; the fields must be these.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (streamError) Error() string { return "stream reset" }

func clientClosed(err error) *gateway.Error {
	return &gateway.Error{
		Status: gateway.StatusClientClosed, Reason: "client_closed",
		Msg: "the client left", Cause: gateway.CauseClient, Err: err, Close: true,
	}
}

func bodyTimeout(err error) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusRequestTimeout, Reason: "body_timeout",
		Msg: "the request body came too slowly", Cause: gateway.CauseClient, Err: err, Close: true,
	}
}

func timedOut(err error) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusGatewayTimeout, Reason: "timeout",
		Msg: "the upstream did not answer in time", Cause: gateway.CauseUpstream, Err: err,
	}
}

// badAnswer is a 502 by the upstream's fault.
func badAnswer(reason string) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusBadGateway, Reason: reason,
		Msg: "the upstream did not give a valid answer", Cause: gateway.CauseUpstream,
	}
}

func tooManyInterim() *gateway.Error { return badAnswer("interim_flood") }
