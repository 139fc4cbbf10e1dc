package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// pages say the same of each 5xx of an upstream.
type pages struct{}

func (pages) Page(_ *http.Request, status int, reason string) gateway.Page {
	if status < 500 || reason != "" {
		return gateway.Page{Vary: status == 404}
	}
	return gateway.Page{MediaType: "text/plain", Body: []byte("a page"), Vary: true}
}

func withPages(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gateway.ExchangeOf(r).Pages = pages{}
		next.ServeHTTP(w, r)
	})
}

// What an upstream says of an error gives way to the page, head and all that
// describes the body.
func TestPages(t *testing.T) {
	const etc = "\r\nRetry-After: 3\r\nEtag: \"1\"\r\nContent-Encoding: br\r\nVary: Origin\r\n"
	for name, c := range map[string]struct {
		answer, method, body, vary string
		status                     int
	}{
		"with a length":   {"HTTP/1.1 503 No" + etc + "Content-Length: 5\r\n\r\nwords", "GET", "a page", "Origin, Accept", 503},
		"in chunks":       {"HTTP/1.1 500 No" + etc + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nwords\r\n0\r\nX-Sum: 1\r\n\r\n", "GET", "a page", "Origin, Accept", 500},
		"broken off":      {"HTTP/1.1 502 No" + etc + "Content-Length: 500\r\n\r\nwords", "GET", "a page", "Origin, Accept", 502},
		"to the end":      {"HTTP/1.0 599 No" + etc + "\r\nwords", "GET", "a page", "Origin, Accept", 599},
		"without a body":  {"HTTP/1.1 503 No" + etc + "Content-Length: 0\r\n\r\n", "GET", "a page", "Origin, Accept", 503},
		"to HEAD":         {"HTTP/1.1 503 No" + etc + "Content-Length: 5\r\n\r\n", "HEAD", "", "Origin, Accept", 503},
		"to POST":         {"HTTP/1.1 503 No" + etc + "Content-Length: 5\r\n\r\nwords", "POST", "a page", "Origin, Accept", 503},
		"not this status": {"HTTP/1.1 404 No" + etc + "Content-Length: 5\r\n\r\nwords", "GET", "words", "Origin, Accept", 404},
		"no error":        {"HTTP/1.1 200 OK" + etc + "Content-Length: 5\r\n\r\nwords", "GET", "words", "Origin", 200},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, reply(t, c.answer), false), withPages)
			res := do(t, client(t, false), request(t, c.method, d.addr, "/", strings.NewReader("")))
			b := body(t, res)
			if res.StatusCode != c.status || b != c.body || res.Header.Get("Retry-After") != "3" || strings.Join(res.Header["Vary"], ", ") != c.vary {
				t.Errorf("%d %q %v", res.StatusCode, b, res.Header)
			}
			if x := d.exchange(t); x.Err != nil {
				t.Errorf("the exchange failed: %v", x.Err)
			}
			if b == "words" {
				return
			}
			if res.Header.Get("Etag")+res.Header.Get("Content-Encoding") != "" || len(res.Trailer) > 0 {
				t.Errorf("the head is still that of the upstream's body: %v, trailers %v", res.Header, res.Trailer)
			}
			if res.ContentLength != 6 || res.Header.Get("Content-Type") != "text/plain" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("the head is not that of the page: length %d, %v", res.ContentLength, res.Header)
			}
		})
	}
}

// Errors of gRPC are in trailers, where no page could be read.
func TestPagesLeaveGRPC(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "words")
	}))
	d := open(t, newCluster(t, up, true), withPages)
	r := request(t, "POST", d.addr, "/", strings.NewReader("x"))
	r.Header.Set("Content-Type", "application/grpc")
	if b := body(t, do(t, client(t, true), r)); b != "words" {
		t.Errorf("body %q", b)
	}
}

// The connection to the upstream is used again, and a client has its page before
// the upstream has finished: to see this fail, take flush from pageBody.Close.
func TestPagesDoNotWait(t *testing.T) {
	var conns atomic.Int32
	var last net.Conn
	finish := make(chan struct{})
	up := serveRaw(t, func(c net.Conn, _ *bufio.Reader, _ *http.Request) {
		if c != last {
			conns.Add(1)
			last = c
		}
		_, _ = io.WriteString(c, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwords\r\n")
		select {
		case <-finish:
		case <-t.Context().Done():
			return
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
	})
	d := open(t, newCluster(t, up, false), withPages)
	for range 3 {
		c := dial(t, d.addr)
		c.send(t, crlf("GET / HTTP/1.1", "Host: a"))
		if b, err := io.ReadAll(c.head(t, "GET").Body); err != nil || string(b) != "a page" {
			t.Fatalf("body %q, %v", b, err)
		}
		finish <- struct{}{}
		d.exchange(t)
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the upstream, want 1", n)
	}
}
