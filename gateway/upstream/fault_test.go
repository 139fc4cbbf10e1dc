package upstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/http1"
)

// respond reads one request with its body and writes answer.
func respond(answer string) func(net.Conn) {
	return func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(conn, answer)
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestBrokenHeads(t *testing.T) {
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "X-%d: 1\r\n", i)
	}
	f := func(name, answer, reason string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := start(t, at(listen(t, respond(answer))), nil)
			r, x := request(t, "GET", nil)
			resp, err := c.RoundTrip(r)
			if err == nil {
				resp.Body.Close()
				t.Fatalf("status %d, want an error", resp.StatusCode)
			}
			wantError(t, err, http.StatusBadGateway, reason, gateway.CauseUpstream)
			wantStats(t, c, 1, 1)
			if x.UpstreamEnd.IsZero() || !x.UpstreamHeaders.IsZero() {
				t.Errorf("headers at %v, end at %v; want only an end", x.UpstreamHeaders, x.UpstreamEnd)
			}
		})
	}
	const head = "HTTP/1.1 200 OK\r\n"
	f("X02 two lengths", head+"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", "bad_response")
	f("X02 gzip, chunked", head+"Transfer-Encoding: gzip, chunked\r\n\r\n", "bad_response")
	f("X02 NUL in a value", head+"X-A: a\x00b\r\nContent-Length: 0\r\n\r\n", "bad_response")
	f("X02 no colon", head+"nonsense\r\n\r\n", "bad_response")
	f("X02 status 99", "HTTP/1.1 99 Low\r\n\r\n", "bad_response")
	f("X02 status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n", "bad_response")
	f("X02 status 2000", "HTTP/1.1 2000 High\r\n\r\n", "bad_response")
	f("X02 HTTP 0.9", "just text", "bad_response")
	f("X02 binary", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "bad_response")
	f("X06 unsolicited 101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "bad_response")
	f("X10 close before the head", "", "upstream_reset")
	f("X10 close within the head", head+"Content-Length: 2\r\n", "upstream_reset")
	f("X10 close within a line of the head", head+"Content-Le", "upstream_reset")
	f("X12 5000 header lines", head+many.String()+"Content-Length: 0\r\n\r\n", "bad_response")
	f("X12 5000 lines of one name", head+strings.Repeat("Set-Cookie: a=b\r\n", 5000)+"Content-Length: 0\r\n\r\n", "bad_response")
	f("X12 300 KiB header", head+"X: "+strings.Repeat("x", 300<<10)+"\r\n\r\n", "bad_response")
	f("X12 12 MB header", head+"X: "+strings.Repeat("x", 12<<20)+"\r\n\r\n", "bad_response")
}

func TestBrokenBodies(t *testing.T) {
	f := func(name, answer string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := start(t, at(listen(t, respond(answer))), nil)
			r, x := request(t, "GET", nil)
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if c.Endpoints()[0].Active != 1 {
				t.Error("the request does not count as active while its answer is read")
			}
			_, err = read(t, resp)
			wantError(t, err, http.StatusBadGateway, "upstream_truncated", gateway.CauseUpstream)
			wantStats(t, c, 1, 1)
			if x.UpstreamHeaders.IsZero() || x.UpstreamEnd.IsZero() {
				t.Errorf("headers at %v, end at %v; want both", x.UpstreamHeaders, x.UpstreamEnd)
			}
		})
	}
	const head = "HTTP/1.1 200 OK\r\n"
	f("X09, fault 1: truncated length", head+"Content-Length: 10\r\n\r\nabc")
	f("X09, fault 1: truncated chunks", head+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	f("X09 truncated within a chunk", head+"Transfer-Encoding: chunked\r\n\r\nff\r\nabc")
	f("X09 bad chunk size", head+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n")
}

func TestUnreachable(t *testing.T) {
	t.Run("fault 4: connection refused", func(t *testing.T) {
		c := start(t, at(vacated), nil)
		r, x := request(t, "POST", strings.NewReader("body"))
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusServiceUnavailable, "connect_failed", gateway.CauseNetwork)
		wantStats(t, c, 1, 1)
		if x.Attempts != 1 || x.Endpoint.Addr != vacated {
			t.Errorf("%d attempts, endpoint %v", x.Attempts, x.Endpoint)
		}
	})
	t.Run("unknown name", func(t *testing.T) {
		c := start(t, at("nowhere.invalid:80"), func(o *Options) {
			o.dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid", IsNotFound: true}}
			}
		})
		r, _ := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusServiceUnavailable, "connect_failed", gateway.CauseNetwork)
	})
	t.Run("fault 5: reset after accept", func(t *testing.T) {
		c := start(t, at(listen(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1)) // before, the dial itself may see the reset
			_ = conn.(*net.TCPConn).SetLinger(0)
		})), nil)
		r, _ := request(t, "POST", strings.NewReader("body"))
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
	t.Run("fault 5: reset after the head of the request", func(t *testing.T) {
		c := start(t, at(listen(t, func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_ = conn.(*net.TCPConn).SetLinger(0)
		})), nil)
		r, _ := request(t, "GET", nil)
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
		wantStats(t, c, 1, 1)
	})
	t.Run("fault 10: no endpoints", func(t *testing.T) {
		c := start(t, nil, nil)
		body := &closeRecorder{Reader: strings.NewReader("body")}
		r, x := request(t, "POST", body)
		_, err := c.RoundTrip(r)
		wantError(t, err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
		if e := gateway.AsError(err); e.RetryAfter <= 0 {
			t.Error("no Retry-After")
		}
		if x.Attempts != 0 || x.Endpoint != nil || !body.closed {
			t.Errorf("%d attempts, endpoint %v, body closed: %v", x.Attempts, x.Endpoint, body.closed)
		}
	})
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (b *closeRecorder) Close() error { b.closed = true; return nil }

func TestFault6HalfClosedUpstream(t *testing.T) {
	t.Attr("wants", "the answer is delivered: 0 failed of 1,000")
	// The endpoint ends its direction with the answer and goes on reading.
	c := start(t, at(listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole")
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.Copy(io.Discard, br)
	})), nil)
	for range 100 {
		r, _ := request(t, "POST", strings.NewReader("body"))
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := read(t, resp); err != nil || body != "whole" {
			t.Fatalf("read %q, %v", body, err)
		}
	}
	wantStats(t, c, 100, 0)
}

// staleServer answers one request on each connection and closes it only when
// the next one has begun to arrive, as a server does whose idle timeout crosses
// a request.
func staleServer(t *testing.T) (addr string, requests func() int) {
	count := make(chan int, 1)
	count <- 0
	addr = listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		count <- <-count + 1
		_, _ = io.WriteString(conn, ok)
		_, _ = br.Peek(1)
	})
	return addr, func() int { n := <-count; count <- n; return n }
}

func TestFault8StaleConnection(t *testing.T) {
	t.Run("N6: a request without a body is sent again", func(t *testing.T) {
		addr, requests := staleServer(t)
		c := start(t, at(addr), nil)
		for i := range 20 {
			r, _ := request(t, "GET", http.NoBody)
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if _, err := read(t, resp); err != nil {
				t.Fatal(err)
			}
		}
		wantStats(t, c, 20, 0)
		if n := requests(); n != 20 {
			t.Errorf("the endpoint answered %d requests, want 20", n)
		}
	})
	t.Run("N6: a POST is not, and the error says why", func(t *testing.T) {
		addr, _ := staleServer(t)
		c := start(t, at(addr), nil)
		r, _ := request(t, "POST", strings.NewReader("1"))
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, resp); err != nil {
			t.Fatal(err)
		}
		r, _ = request(t, "POST", io.NopCloser(strings.NewReader("2")))
		_, err = c.RoundTrip(r)
		wantError(t, err, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
	})
	justClosed := func(t *testing.T, change func(c *Cluster)) *gateway.Error {
		hangUp := make(chan struct{})
		c := piped(t, func(conn net.Conn) {
			respond(ok)(conn)
			<-hangUp
		}, nil)
		change(c)
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, resp); err != nil {
			t.Fatal(err)
		}
		r, _ = request(t, "POST", io.NopCloser(strings.NewReader("2")))
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			if !info.Reused {
				t.Error("the connection was not reused")
			}
			close(hangUp)
			synctest.Wait() // until the transport has seen the end
		}}))
		_, err = c.RoundTrip(r)
		wantError(t, err, http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream)
		return gateway.AsError(err)
	}
	bubble(t, "a POST that gets a connection just as it is closed", func(t *testing.T) {
		justClosed(t, func(*Cluster) {})
	})
	bubble(t, "the same with net/http", func(t *testing.T) {
		err := justClosed(t, func(c *Cluster) {
			c.pool.current.Store(&transport{roundTripper: newStandard(&c.opts, newDialer(&c.opts), true)})
		})
		if !strings.HasPrefix(err.Err.Error(), resetTexts[0]) {
			t.Errorf("net/http now says %q", err.Err)
		}
	})
	t.Run("idle connections are dropped before a server with 5 s closes them", func(t *testing.T) {
		if got := start(t, nil, nil).pool.current.Load().roundTripper.(*http1.Transport).IdleTimeout; got != 4*time.Second {
			t.Errorf("idle timeout %v", got)
		}
	})
}

func TestN8X13GzipUntouched(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	var asked string
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}, nil)
	c := start(t, at(addr), nil)
	r, _ := request(t, "GET", nil)
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := read(t, resp)
	if err != nil || body != bomb.String() {
		t.Errorf("%d bytes, %v; want the %d compressed ones", len(body), err, bomb.Len())
	}
	if asked != "" || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("asked for %q, got coding %q", asked, resp.Header.Get("Content-Encoding"))
	}
}

func TestX08BytesAfterTheAnswer(t *testing.T) {
	proceed, discarded := make(chan struct{}), make(chan struct{})
	c := start(t, at(listen(t, func(conn net.Conn) {
		respond(ok)(conn)
		<-proceed
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
		_, _ = io.Copy(io.Discard, conn) // until the gateway hangs up
		discarded <- struct{}{}
	})), nil)
	for range 5 {
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := read(t, resp); err != nil || body != "ok" {
			t.Fatalf("read %q, %v", body, err)
		}
		proceed <- struct{}{}
		<-discarded
	}
}

func TestX15EarlyAnswer(t *testing.T) {
	closed := make(chan error, 1)
	addr := listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
		_, err := io.Copy(io.Discard, br)
		closed <- err
	})
	c := start(t, at(addr), nil)
	// The client would send for ever; it stops when the body is closed.
	pr, pw := io.Pipe()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		chunk := make([]byte, 16<<10)
		for {
			if _, err := pw.Write(chunk); err != nil {
				return
			}
		}
	}()
	r, _ := request(t, "POST", pr)
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := read(t, resp); err != nil || body != "big" || resp.StatusCode != 413 {
		t.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
	<-closed
	<-stopped
	wantStats(t, c, 1, 0)
}
