package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestFault45ClientLeaves(t *testing.T) {
	t.Run("before the head", func(t *testing.T) {
		arrived, cancelled := make(chan struct{}), make(chan time.Time, 1)
		addr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			cancelled <- time.Now()
		}, nil)
		c := start(t, at(addr), nil)
		ctx, leave := context.WithCancel(t.Context())
		r, _ := requestContext(ctx, t, "GET", nil)
		var left time.Time
		go func() { <-arrived; left = time.Now(); leave() }()
		_, err := c.RoundTrip(r)
		wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
		wantStats(t, c, 1, 0)
		limit := 10 * time.Second // of a machine with much else to do
		if os.Getenv("PITHEAD_FAULTS") == "full" {
			limit = time.Second
		}
		if took := (<-cancelled).Sub(left); took > limit {
			t.Errorf("the endpoint learned of it after %v", took)
		}
	})
	t.Run("in the middle of the answer", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, nil)
		c := start(t, at(addr), nil)
		ctx, leave := context.WithCancel(t.Context())
		r, _ := requestContext(ctx, t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		leave()
		_, err = read(t, resp)
		wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
		wantStats(t, c, 1, 0)
	})
	t.Run("stops reading", func(t *testing.T) {
		addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, nil)
		c := start(t, at(addr), nil)
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		wantStats(t, c, 1, 0)
	})
	t.Run("with a broken body", func(t *testing.T) {
		addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, nil)
		for _, told := range []bool{true, false} {
			c := start(t, at(addr), nil)
			broken := errors.New("malformed chunk")
			r, x := request(t, "POST", nil)
			r.ContentLength, r.Body = -1, io.NopCloser(&failingReader{err: broken, tell: func(err error) {
				if told { // the proxy core does
					x.ClientFailed(err)
				}
			}})
			_, err := c.RoundTrip(r)
			wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
			if !errors.Is(err, broken) {
				t.Errorf("%v does not lead to what the client did", err)
			}
			wantStats(t, c, 1, 0)
		}
	})
	t.Run("an error that knows better is passed on", func(t *testing.T) {
		addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, nil)
		c := start(t, at(addr), nil)
		large := &gateway.Error{Status: 413, Reason: "body_too_large", Msg: "too large", Cause: gateway.CauseClient}
		r, _ := request(t, "POST", nil)
		r.ContentLength, r.Body = -1, io.NopCloser(&failingReader{err: large})
		_, err := c.RoundTrip(r)
		wantError(t, err, 413, "body_too_large", gateway.CauseClient)
		wantStats(t, c, 1, 0)
	})
}

// A transport that gives up closes the request's body; that a read in flight
// then fails says nothing of the client.
func TestBodyClosedByTheTransport(t *testing.T) {
	c := start(t, at("10.0.0.1:80"), nil)
	r, x := request(t, "POST", nil)
	r.Body = io.NopCloser(&failingReader{given: true, err: http.ErrBodyReadAfterClose})
	ep, err := c.acquire(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	a, out := c.begin(x, ep, r)
	if err := out.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Fatal(err)
	}
	e := a.blame(io.EOF, phaseHead)
	wantError(t, e, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
	a.end(e)
	wantStats(t, c, 1, 1)
}

// failingReader gives a few bytes, then fails.
type failingReader struct {
	given bool
	err   error
	tell  func(error)
}

func (r *failingReader) Read(p []byte) (int, error) {
	if !r.given {
		r.given = true
		return copy(p, "some"), nil
	}
	if r.tell != nil {
		r.tell(r.err)
	}
	return 0, r.err
}
