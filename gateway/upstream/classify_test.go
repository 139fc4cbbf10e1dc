package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// TestBlame is the table of what an error means when nothing else is known of
// the attempt. Most rows come up with real connections in other tests.
func TestBlame(t *testing.T) {
	f := func(err error, status int, reason string, cause gateway.Cause) {
		t.Helper()
		t.Run(err.Error(), func(t *testing.T) {
			a := &attempt{x: &gateway.Exchange{}, in: t.Context(), ctx: t.Context()}
			got := a.blame(err, phaseHead)
			wantError(t, got, status, reason, cause)
			if got.Err != nil && !errors.Is(got, err) {
				t.Error("the cause got lost")
			}
		})
	}
	op := func(op string, err error) error { return &net.OpError{Op: op, Net: "tcp", Err: err} }
	f(&dialError{op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))}, 503, "connect_failed", gateway.CauseNetwork)
	f(&dialError{op("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH))}, 503, "connect_failed", gateway.CauseNetwork)
	f(&dialError{op("dial", os.NewSyscallError("connect", syscall.ETIMEDOUT))}, 504, "connect_timeout", gateway.CauseNetwork)
	f(&dialError{op("dial", &net.DNSError{Err: "no such host", IsNotFound: true})}, 503, "connect_failed", gateway.CauseNetwork)
	f(&dialError{op("dial", &net.DNSError{Err: "timeout", IsTimeout: true})}, 504, "connect_timeout", gateway.CauseNetwork)
	f(&dialError{context.DeadlineExceeded}, 504, "connect_timeout", gateway.CauseNetwork)
	f(fmt.Errorf("http2: %w", &dialError{syscall.ECONNREFUSED}), 503, "connect_failed", gateway.CauseNetwork)
	f(op("remote error", errors.New("tls: bad certificate")), 502, "upstream_tls", gateway.CauseNetwork)
	f(errors.New("tls: server selected unsupported protocol version"), 502, "upstream_tls", gateway.CauseNetwork)
	f(op("read", syscall.ECONNRESET), 502, "upstream_reset", gateway.CauseUpstream)
	f(op("write", syscall.EPIPE), 502, "upstream_reset", gateway.CauseUpstream)
	f(op("read", syscall.ETIMEDOUT), 502, "upstream_reset", gateway.CauseUpstream)
	f(io.EOF, 502, "upstream_reset", gateway.CauseUpstream)
	f(fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", io.ErrUnexpectedEOF), 502, "upstream_reset", gateway.CauseUpstream)
	for _, text := range resetTexts {
		f(errors.New(text), 502, "upstream_reset", gateway.CauseUpstream)
	}
	f(errors.New(`malformed HTTP response "x"`), 502, "bad_response", gateway.CauseUpstream)
	f(&gateway.Error{Status: http.StatusTeapot, Reason: "teapot", Cause: gateway.CauseClient}, 418, "teapot", gateway.CauseClient)
}

// TestClientComesFirst: whatever breaks after a client has failed is no fault
// of the endpoint.
func TestClientComesFirst(t *testing.T) {
	gone := errors.New("connection reset by client")
	for _, p := range []phase{phaseHead, phaseBody} {
		a := &attempt{x: &gateway.Exchange{}, in: t.Context(), ctx: t.Context()}
		a.x.ClientFailed(gone)
		e := a.blame(io.ErrUnexpectedEOF, p)
		wantError(t, e, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
		if !errors.Is(e, gone) {
			t.Errorf("%v does not say what the client did", e)
		}
	}
}
