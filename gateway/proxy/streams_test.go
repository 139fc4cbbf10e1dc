package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// An upstream may answer, and end, while the client is still sending. To see the
// HTTP/2 rows hang, leave out.Body in rewrite to ReverseProxy.
func TestEarlyEndOfABidirectionalStream(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		b := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, b)
		w.Header().Set("Content-Type", "application/grpc")
		_, _ = w.Write(b)
		_ = http.NewResponseController(w).Flush() // else there is a length, and HTTP/1 has no trailers
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "3")
	}))
	for name, tc := range map[string]struct{ front, back bool }{
		"h2 to h2": {true, true}, "h2 to h1": {true, false}, "h1 to h2": {false, true}, "h1 to h1": {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, up, tc.back), nil)
			r, w := io.Pipe()
			defer w.Close() // only after the answer
			go func() { _, _ = io.WriteString(w, "hello") }()
			res := do(t, client(t, tc.front), request(t, "POST", d.addr, "/", r))
			if b := body(t, res); b != "hello" || res.Trailer.Get("Grpc-Status") != "3" {
				t.Errorf("body %q, trailers %v", b, res.Trailer)
			}
			if x := d.exchange(t); x.Err != nil {
				t.Errorf("error %v", x.Err)
			}
		})
	}
}

// An HTTP/1 client reads its answer to the end though it has not sent its request
// to the end; the connection ends then, and no read of the transport's outlives
// the handler. To see it fail, take `Connection: close` out of WriteHeader and
// EnableFullDuplex out of newRelay (the answer waits for the request), or only the
// first of them (the rest of the body is taken for the next request).
func TestEarlyAnswers(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", "7")
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "go away")
	}))
	for _, back := range []bool{false, true} {
		for _, path := range []string{"/length", "/chunked"} {
			for name, rest := range map[string]string{"silent": "", "finishing": "3\r\nabc\r\n0\r\n\r\n"} {
				t.Run(fmt.Sprintf("HTTP/2 %v %s %s", back, path, name), func(t *testing.T) {
					d := open(t, newCluster(t, up, back), nil)
					c := dial(t, d.addr)
					c.send(t, crlf("POST "+path+" HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")+"3\r\nabc\r\n")
					res := c.head(t, "POST")
					c.send(t, rest)
					if b := body(t, res); res.StatusCode != http.StatusUnauthorized || b != "go away" {
						t.Errorf("status %d, body %q", res.StatusCode, b)
					}
					c.wantClosed(t)
					if x := d.exchange(t); x.Err != nil {
						t.Errorf("error %v", x.Err)
					}
				})
			}
		}
	}
}

// A transport may still be reading the client's body when the answer is there.
// No such read may outlive the handler: one that then meets the end of the body
// ends the process. Neither may net/http wait for a silent client for ever. To see
// it fail, take settle out of finish.
func TestNoReadOutlivesTheHandler(t *testing.T) {
	for _, h2c := range []bool{false, true} {
		reading, read, late := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		ended := make(chan struct{})
		d := open(t, clusterFunc(func(r *http.Request) (*http.Response, error) {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			go func() {
				close(reading)
				_, _ = r.Body.Read(make([]byte, 3))
				close(read)
				<-ended
				_, err := r.Body.Read(make([]byte, 3))
				late <- err
			}()
			<-reading
			return &http.Response{StatusCode: 200, ContentLength: 0, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
		}), func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(w, r)
				select {
				case <-read: // the server has not closed the body yet: the proxy ended it
				case <-time.After(patience):
					t.Errorf("HTTP/2 %v: a read is still under way", h2c)
				}
			})
		})

		if h2c {
			f := dialFrames(t, d.addr)
			id := f.request(t, false)
			if err := f.WriteData(id, false, []byte("abc")); err != nil {
				t.Fatal(err)
			}
			f.head(t, id)
		} else {
			c := dial(t, d.addr)
			c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 10")+"abc")
			c.answer(t, "POST")
			c.wantClosed(t)
		}
		d.exchange(t)
		close(ended)
		if err := <-late; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("HTTP/2 %v: late read: %v", h2c, err)
		}
	}
}

// The end of the client's body and the end of the answer meet in all orders.
func TestEarlyAnswersRacingTheBody(t *testing.T) {
	// Not net/http, which in full duplex panics when a body ends after its handler.
	h1 := serveRaw(t, func(c net.Conn, _ *bufio.Reader, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		_, _ = io.WriteString(c, crlf("HTTP/1.1 200 OK", "Content-Length: 2")+"ok")
		_, _ = io.Copy(io.Discard, r.Body)
	})
	h2 := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		_, _ = io.WriteString(w, "ok")
	}))
	for _, c := range []*cluster{newCluster(t, h1, false), newCluster(t, h2, true)} {
		d := open(t, c, nil)
		hc := client(t, false)
		for i := range 100 {
			r, w := io.Pipe()
			go func() {
				for range i % 5 {
					_, _ = io.WriteString(w, "some bytes")
				}
				w.Close()
			}()
			res, err := hc.Do(request(t, "POST", d.addr, "/", r))
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if b := body(t, res); b != "ok" {
				t.Errorf("request %d: %q", i, b)
			}
			if x := d.exchange(t); x.Err != nil {
				t.Errorf("request %d: %v", i, x.Err)
			}
			r.Close()
		}
	}
}

func TestX15EarlyRefusalOfALargeBody(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	}))
	for name, tc := range map[string]struct{ front, back bool }{
		"h1 to h1": {false, false}, "h1 to h2": {false, true}, "h2 to h1": {true, false}, "h2 to h2": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, up, tc.back), nil)
			for range 5 {
				res := do(t, client(t, tc.front), request(t, "POST", d.addr, "/", strings.NewReader(strings.Repeat("x", 1<<20))))
				if b := body(t, res); res.StatusCode != http.StatusRequestEntityTooLarge || b != "too much\n" {
					t.Errorf("status %d, body %q", res.StatusCode, b)
				}
			}
		})
	}
}

// A connection may be used again after a failure that was not the client's, as
// long as the client has sent its request to the end.
func TestFailedUploadKeepsTheConnection(t *testing.T) {
	d := open(t, clusterFunc(func(*http.Request) (*http.Response, error) {
		return nil, &gateway.Error{Status: 503, Reason: "no_healthy_endpoint", Cause: gateway.CauseGateway}
	}), nil)
	c := dial(t, d.addr)
	for range 3 {
		c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 100000")+strings.Repeat("x", 100_000))
		if res, _ := c.answer(t, "POST"); res.StatusCode != http.StatusServiceUnavailable || res.Close {
			t.Fatalf("status %d, close %v", res.StatusCode, res.Close)
		}
	}
}

// Bytes pass at once, both ways at the same time, whatever the versions.
func TestFullDuplex(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = rc.Flush()
			if err != nil {
				return
			}
		}
	}))
	for name, tc := range map[string]struct{ front, back bool }{
		"h1 to h1": {false, false}, "h1 to h2": {false, true}, "h2 to h1": {true, false}, "h2 to h2": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, up, tc.back), nil)
			r, w := io.Pipe()
			first := make(chan struct{})
			go func() { // HTTP/1 transports take the head for the answer only after some of the body
				_, _ = io.WriteString(w, "0")
				close(first)
			}()
			res := do(t, client(t, tc.front), request(t, "POST", d.addr, "/", r))
			<-first
			b := make([]byte, 1)
			for i := range 10 {
				if _, err := io.ReadFull(res.Body, b); err != nil || b[0] != byte('0'+i) {
					t.Fatalf("got %q, %v", b, err)
				}
				if i < 9 {
					_, _ = w.Write([]byte{byte('1' + i)})
				}
			}
			w.Close()
			if rest := body(t, res); rest != "" {
				t.Errorf("rest %q", rest)
			}
			if x := d.exchange(t); x.Err != nil {
				t.Errorf("error %v", x.Err)
			}
		})
	}
}

// An event is there when it is sent, and the timeout of the exchange is lifted.
func TestServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		w.WriteHeader(http.StatusOK)
		for i := range 3 {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
		}
	}))
	for _, back := range []bool{false, true} {
		lifted := make(chan struct{}, 1)
		d := open(t, newCluster(t, up, back), exchangeSets(func(x *gateway.Exchange) { x.OnStream(func() { lifted <- struct{}{} }) }))
		res := do(t, client(t, false), request(t, "GET", d.addr, "/", nil)) // the head comes before the first event
		<-lifted
		br := bufio.NewReader(res.Body)
		for i := range 3 {
			next <- struct{}{}
			line, err := br.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
				t.Fatalf("got %q, %v, want %q", line, err, want)
			}
			_, _ = br.ReadString('\n')
		}
		if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
			t.Errorf("rest %q, %v", rest, err)
		}
	}
}

// A tunnel lives on while requests come and go, and ends with its context.
func TestTunnelEndsWithTheContext(t *testing.T) {
	stop := make(chan struct{})
	d := open(t, newCluster(t, echo(t), false), func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			go func() {
				select {
				case <-stop:
				case <-time.After(patience):
				}
				cancel()
			}()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	})
	c := dial(t, d.addr)
	c.send(t, crlf("GET /ws HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: websocket", key))
	if res := c.head(t, "GET"); res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", res.StatusCode)
	}
	if _, err := c.br.Discard(len("hello ")); err != nil {
		t.Fatal(err)
	}
	close(stop)
	c.wantClosed(t)
	d.exchange(t)
}
