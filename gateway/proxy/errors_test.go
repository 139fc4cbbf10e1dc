package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/proxy"
)

func TestBlame(t *testing.T) {
	shutdown := &gateway.Error{Status: 503, Reason: "shutdown", Cause: gateway.CauseGateway}
	tripped := &gateway.Error{Status: 503, Reason: "no_healthy_endpoint", Cause: gateway.CauseGateway}
	past := time.Now().Add(-time.Second)
	end := func(cause error) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(cause)
			return ctx, func() {}
		}
	}
	for name, tc := range map[string]struct {
		failed error // by the client
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		err    error // of the cluster
		status int
		reason string
		cause  gateway.Cause
	}{
		"body too large":      {&http.MaxBytesError{Limit: 1}, nil, io.ErrUnexpectedEOF, 413, "body_too_large", gateway.CauseClient},
		"body too slow":       {&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, nil, io.EOF, 408, "body_timeout", gateway.CauseClient},
		"body nonsense":       {errors.New("invalid byte in chunk length"), nil, tripped, 400, "bad_body", gateway.CauseClient},
		"body cut":            {io.ErrUnexpectedEOF, nil, io.EOF, 499, "client_closed", gateway.CauseClient},
		"body with its error": {&gateway.Error{Status: 422, Reason: "odd", Cause: gateway.CauseClient}, nil, io.EOF, 422, "odd", gateway.CauseClient},
		"client reset":        {&net.OpError{Op: "read", Err: errors.New("reset")}, nil, io.EOF, 499, "client_closed", gateway.CauseClient},
		"client left":         {nil, end(nil), context.Canceled, 499, "client_closed", gateway.CauseClient},
		"ended with a reason": {nil, end(shutdown), context.Canceled, 503, "shutdown", gateway.CauseGateway},
		"X16 route timeout": {nil, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadline(ctx, past)
		}, context.DeadlineExceeded, 504, "timeout", gateway.CauseUpstream},
		"X16 attempt timeout":  {nil, nil, context.DeadlineExceeded, 504, "timeout", gateway.CauseUpstream},
		"X16 socket timeout":   {nil, nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, 504, "timeout", gateway.CauseUpstream},
		"cluster knows better": {nil, nil, tripped, 503, "no_healthy_endpoint", gateway.CauseGateway},
		"refused":              {nil, nil, &net.OpError{Op: "dial", Err: errors.New("refused")}, 502, "connect_failed", gateway.CauseNetwork},
		"anything else":        {nil, nil, errors.New("malformed HTTP response"), 502, "upstream_failed", gateway.CauseUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			x := &gateway.Exchange{Scheme: "http", Cluster: clusterFunc(func(r *http.Request) (*http.Response, error) {
				if tc.failed != nil {
					gateway.ExchangeOf(r).ClientFailed(tc.failed)
				}
				return nil, tc.err
			})}
			r := gateway.WithExchange(httptest.NewRequest("GET", "/", nil), x)
			if tc.ctx != nil {
				ctx, cancel := tc.ctx(r.Context())
				defer cancel()
				r = r.WithContext(ctx)
			}
			w := httptest.NewRecorder()
			p := serveRecover(proxy.New(proxy.Options{}), w, r)
			if x.Err == nil || x.Err.Status != tc.status || x.Err.Reason != tc.reason || x.Err.Cause != tc.cause {
				t.Errorf("blamed %+v, want %d %s by the %s", x.Err, tc.status, tc.reason, tc.cause)
			}
			if aborted := p == any(http.ErrAbortHandler); aborted != (tc.status == 499) || !aborted && w.Code != tc.status {
				t.Errorf("panic %v, answer %d", p, w.Code)
			}
		})
	}
}

// cutBody is a body whose read fails as net/http's do: the context ends first.
type cutBody struct{ cancel context.CancelFunc }

func (b cutBody) Read([]byte) (int, error) {
	b.cancel()
	<-time.After(awaited)
	return 0, os.ErrDeadlineExceeded
}

func (b cutBody) Close() error { return nil }

// awaited is less than what the core waits for such a read.
const awaited = 20 * time.Millisecond

// To see this fail, take one of the two awaits out, in blame or in expire: the
// context ends because the read fails, not because the client left.
func TestTheReadKnowsMoreThanTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		x := &gateway.Exchange{Scheme: "http", Cluster: clusterFunc(func(r *http.Request) (*http.Response, error) {
			go func() { _, _ = r.Body.Read(make([]byte, 1)) }()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})}
		r := httptest.NewRequestWithContext(ctx, "POST", "/", cutBody{cancel})
		w := httptest.NewRecorder()
		p := serveRecover(proxy.New(proxy.Options{}), w, gateway.WithExchange(r, x))
		if p != nil || w.Code != http.StatusRequestTimeout {
			t.Errorf("panic %v, answer %d: %v", p, w.Code, x.Err)
		}
	})
}

func serveRecover(h http.Handler, w http.ResponseWriter, r *http.Request) (p any) {
	defer func() { p = recover() }()
	h.ServeHTTP(w, r)
	return nil
}

func TestPanicsPass(t *testing.T) {
	x := &gateway.Exchange{Cluster: clusterFunc(func(*http.Request) (*http.Response, error) { panic("bug") })}
	p := serveRecover(proxy.New(proxy.Options{}), httptest.NewRecorder(), gateway.WithExchange(httptest.NewRequest("GET", "/", nil), x))
	if p != "bug" || x.Err != nil {
		t.Errorf("panic %v, error %v", p, x.Err)
	}
}

func TestNoCluster(t *testing.T) {
	d := open(t, nil, nil)
	res := do(t, client(t, false), request(t, "GET", d.addr, "/", nil))
	if res.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", res.StatusCode)
	}
	d.wantErr(t, 500, "no_upstream", gateway.CauseGateway)
}

// The timeout of a whole exchange, through real sockets.
func TestX16SilentUpstream(t *testing.T) {
	gone := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	for _, h2c := range []bool{false, true} {
		d := open(t, newCluster(t, up, h2c), timeout)
		res := do(t, client(t, false), request(t, "GET", d.addr, "/", nil))
		if res.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("status %d", res.StatusCode)
		}
		d.wantErr(t, 504, "timeout", gateway.CauseUpstream)
		<-gone // the upstream is told
	}
}

// timeout is long enough for a request to be where it shall be when its time is up.
func timeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// When the time is up while the client has still to send, the upstream cannot
// be blamed for having no answer.
func TestTimeoutWhileTheClientSends(t *testing.T) {
	d := open(t, newCluster(t, serve(t, &seen{}), false), timeout)
	c := dial(t, d.addr)
	c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 10")+"abc")
	if res, _ := c.answer(t, "POST"); res.StatusCode != http.StatusRequestTimeout || !res.Close {
		t.Errorf("status %d, close %v", res.StatusCode, res.Close)
	}
	d.wantErr(t, 408, "body_timeout", gateway.CauseClient)
}

// limits stands for the server's limits of a body: its size, and the time that
// the client may take.
func limits(size int64, d time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(d)); err != nil {
				panic(err)
			}
			r.Body = http.MaxBytesReader(w, r.Body, size)
			next.ServeHTTP(w, r)
		})
	}
}

func TestBodyLimits(t *testing.T) {
	t.Run("too large", func(t *testing.T) {
		for _, h2c := range []bool{false, true} {
			d := open(t, newCluster(t, serve(t, &seen{}), false), limits(1000, patience))
			res := do(t, client(t, h2c), request(t, "POST", d.addr, "/", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 100_000))}))
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("HTTP/2 %v: status %d", h2c, res.StatusCode)
			}
			d.wantErr(t, 413, "body_too_large", gateway.CauseClient)
		}
	})
	t.Run("too slow", func(t *testing.T) {
		d := open(t, newCluster(t, serve(t, &seen{}), false), limits(1000, 50*time.Millisecond))
		c := dial(t, d.addr)
		c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 10")+"abc")
		if res, _ := c.answer(t, "POST"); res.StatusCode != http.StatusRequestTimeout || !res.Close {
			t.Errorf("status %d, close %v", res.StatusCode, res.Close)
		}
		c.wantClosed(t)
		d.wantErr(t, 408, "body_timeout", gateway.CauseClient)
	})
}

func TestClientLeaves(t *testing.T) {
	reached, gone := make(chan struct{}), make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
		}
		reached <- struct{}{}
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	for _, path := range []string{"/silent", "/begun"} {
		for _, h2c := range []bool{false, true} {
			d := open(t, newCluster(t, up, h2c), nil)
			ctx, cancel := context.WithCancel(t.Context())
			r := request(t, "GET", d.addr, path, nil).WithContext(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res, err := client(t, h2c).Do(r); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			}()
			<-reached
			cancel()
			<-gone // the upstream is told
			<-done
			d.wantErr(t, 499, "client_closed", gateway.CauseClient)
		}
	}
}

// A client that takes no more of its answer is seen by the writing, since no
// read is under way while it still has to send.
func TestClientLeavesWhileWritten(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		chunk := make([]byte, 64<<10)
		for r.Context().Err() == nil {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	d := open(t, newCluster(t, up, false), nil)
	c := dial(t, d.addr)
	c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 10")+"abc")
	c.head(t, "POST")
	c.Close()
	d.wantErr(t, 499, "client_closed", gateway.CauseClient)
}
