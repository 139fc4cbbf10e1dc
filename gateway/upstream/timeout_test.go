package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// after lets the bubble's clock run.
func after(d time.Duration) { <-time.After(d) }

// hang reads the request with its body, writes text and then keeps silent.
func hang(text string) func(net.Conn) {
	return func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if r, err := http.ReadRequest(br); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, br)
	}
}

// slowly gives its parts one after the other, with a pause before each.
type slowly struct {
	pause time.Duration
	parts []string
}

func (s *slowly) Read(p []byte) (int, error) {
	if len(s.parts) == 0 {
		return 0, io.EOF
	}
	after(s.pause)
	n := copy(p, s.parts[0])
	if s.parts[0] = s.parts[0][n:]; s.parts[0] == "" {
		s.parts = s.parts[1:]
	}
	return n, nil
}

func (s *slowly) Close() error { return nil }

func took(t *testing.T, since time.Time, want time.Duration) {
	t.Helper()
	if got := time.Since(since); got != want {
		t.Errorf("took %v, want %v", got, want)
	}
}

// bubble runs a subtest in a bubble.
func bubble(t *testing.T, name string, test func(*testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestConnectTimeouts(t *testing.T) {
	bubble(t, "connect", func(t *testing.T) {
		c := start(t, at("10.0.0.1:80"), func(o *Options) {
			o.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
			}
		})
		began := time.Now()
		r, _ := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		took(t, began, 2*time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "connect_timeout", gateway.CauseNetwork)
		wantStats(t, c, 1, 1)
	})
	bubble(t, "TLS handshake", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }, func(o *Options) { o.Protocol = "https" })
		began := time.Now()
		r, _ := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		took(t, began, 5*time.Second)
		wantError(t, err, http.StatusBadGateway, "upstream_tls", gateway.CauseNetwork)
		wantStats(t, c, 1, 1)
	})
}

func TestResponseTimeout(t *testing.T) {
	bubble(t, "fault 2, X16: never answers", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		began := time.Now()
		r, x := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		took(t, began, 30*time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
		if got := x.UpstreamEnd.Sub(x.UpstreamStart); got != 30*time.Second {
			t.Errorf("the exchange says it took %v", got)
		}
	})
	bubble(t, "never answers over HTTP/2", func(t *testing.T) {
		c := piped(t, nil, h2(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		began := time.Now()
		r, _ := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		took(t, began, 30*time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
	bubble(t, "a slow client has its own time", func(t *testing.T) {
		c := piped(t, respond(ok), nil)
		began := time.Now()
		r, _ := request(t, "POST", &slowly{25 * time.Second, []string{"one", "two", "three"}})
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		took(t, began, 75*time.Second)
		if _, err := read(t, resp); err != nil {
			t.Error(err)
		}
		wantStats(t, c, 1, 0)
	})
	bubble(t, "the wait begins with the last byte of the request", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		began := time.Now()
		r, _ := request(t, "POST", &slowly{time.Minute, []string{"one", "two"}})
		_, err := c.RoundTrip(r)
		took(t, began, 2*time.Minute+30*time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
	})
	bubble(t, "an endpoint that takes no body is waited for too", func(t *testing.T) {
		done := make(chan struct{})
		c := piped(t, func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReaderSize(conn, 16))
			<-done
		}, nil)
		defer close(done)
		began := time.Now()
		r, _ := request(t, "POST", strings.NewReader(strings.Repeat("x", 1<<20)))
		_, err := c.RoundTrip(r)
		took(t, began, 30*time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
}

func TestHeadThatComesWithTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, at("10.0.0.1:80"), nil)
		r, x := request(t, "GET", nil)
		ep, err := c.acquire(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := c.begin(x, ep, r)
		after(30 * time.Second)
		synctest.Wait()
		err = a.take(r, &http.Response{StatusCode: 200, Body: http.NoBody})
		wantError(t, err, http.StatusGatewayTimeout, "upstream_timeout", gateway.CauseUpstream)
		a.end(gateway.AsError(err))
		wantStats(t, c, 1, 1)
	})
}

func TestFault3BodyIdle(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	bubble(t, "hangs in the middle of the answer", func(t *testing.T) {
		c := piped(t, hang(head+"abc"), nil)
		r, x := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		body, err := read(t, resp)
		took(t, began, time.Minute)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_idle_timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
		if body != "abc" || x.UpstreamEnd.Sub(x.UpstreamHeaders) != time.Minute {
			t.Errorf("read %q in %v", body, x.UpstreamEnd.Sub(x.UpstreamHeaders))
		}
	})
	bubble(t, "hangs over HTTP/2", func(t *testing.T) {
		c := piped(t, nil, h2(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "abc")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = read(t, resp)
		took(t, began, time.Minute)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_idle_timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
	bubble(t, "a shorter limit than that of the head counts", func(t *testing.T) {
		c := piped(t, hang(head+"abc"), func(o *Options) { o.Timeouts.BodyIdle = time.Second })
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = read(t, resp)
		took(t, began, time.Second)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_idle_timeout", gateway.CauseUpstream)
	})
	bubble(t, "fault 7: a slow answer is an answer", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) {
			respond(head)(conn)
			for range 10 {
				after(59 * time.Second)
				_, _ = io.WriteString(conn, "x")
			}
		}, nil)
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := read(t, resp); err != nil || len(body) != 10 {
			t.Errorf("read %q, %v", body, err)
		}
		wantStats(t, c, 1, 0)
	})
	bubble(t, "a client that is slow to take it is not the endpoint's fault", func(t *testing.T) {
		c := piped(t, respond(head+"0123456789"), nil)
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			after(10 * time.Minute)
			if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := read(t, resp); err != nil {
			t.Error(err)
		}
		wantStats(t, c, 1, 0)
	})
}

func TestStreamIdle(t *testing.T) {
	bubble(t, "server-sent events", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) {
			after(50 * time.Minute)
			respond("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")(conn)
			after(50 * time.Minute)
			_, _ = io.WriteString(conn, "data: 1\n\n")
			_, _ = io.Copy(io.Discard, conn)
		}, nil)
		r, _ := request(t, "GET", nil)
		r.Header.Set("Accept", "text/event-stream")
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		body, err := read(t, resp)
		took(t, began, 50*time.Minute+time.Hour)
		wantError(t, err, http.StatusGatewayTimeout, "stream_idle_timeout", gateway.CauseClient)
		wantStats(t, c, 1, 0)
		if body != "data: 1\n\n" {
			t.Errorf("read %q", body)
		}
	})
	bubble(t, "a request for events that gets an ordinary answer", func(t *testing.T) {
		c := piped(t, hang("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), nil)
		r, _ := request(t, "GET", nil)
		r.Header.Set("Accept", "text/event-stream")
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = read(t, resp)
		took(t, began, time.Minute)
		wantError(t, err, http.StatusGatewayTimeout, "upstream_idle_timeout", gateway.CauseUpstream)
	})
	bubble(t, "gRPC, where only the client speaks", func(t *testing.T) {
		c := piped(t, nil, h2(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}))
		r, _ := request(t, "POST", &slowly{50 * time.Minute, []string{"1", "2", "3"}})
		r.ProtoMajor, r.ProtoMinor = 2, 0
		r.Header.Set("Content-Type", "application/grpc")
		began := time.Now()
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, resp); err != nil {
			t.Error(err)
		}
		took(t, began, 150*time.Minute)
		if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
			t.Errorf("Grpc-Status %q", got)
		}
		wantStats(t, c, 1, 0)
	})
	bubble(t, "upgraded connections", func(t *testing.T) {
		gone := make(chan time.Time, 1)
		c := piped(t, func(conn net.Conn) {
			respond("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")(conn)
			_, _ = io.Copy(io.Discard, conn)
			gone <- time.Now()
		}, nil)
		r, x := request(t, "GET", nil)
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		conn := resp.Body.(io.ReadWriteCloser)
		failed := make(chan error, 1)
		go func() {
			_, err := conn.Read(make([]byte, 1))
			failed <- err
		}()
		after(50 * time.Minute)
		if _, err := io.WriteString(conn, "ping"); err != nil {
			t.Error(err)
		}
		wantError(t, <-failed, http.StatusGatewayTimeout, "stream_idle_timeout", gateway.CauseClient)
		took(t, began, 50*time.Minute+time.Hour)
		<-gone
		resp.Body.Close()
		wantStats(t, c, 1, 0)
		if x.UpstreamEnd != x.UpstreamHeaders {
			t.Error("the exchange of an upgrade does not end with its head")
		}
	})
}

func TestTimeoutOfTheExchange(t *testing.T) {
	bubble(t, "while the endpoint is to move", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, _ := requestContext(ctx, t, "GET", nil)
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusGatewayTimeout, "timeout", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
	bubble(t, "while the client is to move", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, _ := requestContext(ctx, t, "POST", &slowly{time.Minute, []string{"x"}})
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusGatewayTimeout, "timeout", gateway.CauseClient)
		wantStats(t, c, 1, 0)
	})
	bubble(t, "with a cause that blames the endpoint, while the client is to move", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		cause := &gateway.Error{Status: 504, Reason: "timeout", Msg: "too slow", Cause: gateway.CauseUpstream}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		r, _ := requestContext(ctx, t, "POST", &slowly{time.Minute, []string{"x"}})
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusGatewayTimeout, "timeout", gateway.CauseClient)
		wantStats(t, c, 1, 0)
	})
	bubble(t, "with a cause that says what it is", func(t *testing.T) {
		c := piped(t, hang(""), nil)
		cause := &gateway.Error{Status: 503, Reason: "shed", Msg: "overloaded", Cause: gateway.CauseGateway}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		r, _ := requestContext(ctx, t, "GET", nil)
		_, err := c.RoundTrip(r)
		if !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
		wantStats(t, c, 1, 0)
	})
}
