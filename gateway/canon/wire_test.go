package canon

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// edge is a net/http server with the canonical view in front of a handler that
// stands for everything behind it.
type edge struct {
	addr   string
	passed atomic.Int64
}

func newEdge(t *testing.T, o Options) *edge {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, p := &edge{addr: ln.Addr().String()}, NewPolicy(o)
	server := &http.Server{
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               64 << 10,
		ReadHeaderTimeout:            10 * time.Second,
		ErrorLog:                     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			x := &gateway.Exchange{}
			r = gateway.WithExchange(r, x)
			if _, err := p.Request(r, x); err != nil {
				gateway.Fail(w, r, err)
				return
			}
			e.passed.Add(1)
			w.Header().Set("X-Seen", r.Host+" "+r.RequestURI)
		}),
	}
	var running sync.WaitGroup // the server and its connections, which linger after Close
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			running.Add(1)
		case http.StateClosed:
			running.Done()
		}
	}
	running.Go(func() { _ = server.Serve(ln) }) // ends with ErrServerClosed
	t.Cleanup(func() {
		_ = server.Close()
		running.Wait()
	})
	return e
}

// send writes raw bytes on a connection of their own and returns the answer and
// whether the server closed the connection after it.
func (e *edge) send(t *testing.T, raw string) (code int, sawWhat string, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", e.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, raw) // the server may refuse before it has read all
	br := bufio.NewReader(conn)
	method, _, _ := strings.Cut(raw, " ")
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.Close {
		_, err := br.ReadByte()
		closed = err != nil && !isTimeout(err)
	}
	return resp.StatusCode, resp.Header.Get("X-Seen"), closed
}

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

// TestOnTheWire sends the rows as bytes through net/http: who refuses them,
// the standard library or this package, is not the client's business. All must
// be refused with their status, end the connection and not be passed on.
func TestOnTheWire(t *testing.T) {
	e := newEdge(t, headerOptions)
	f := func(row string, want int, lines ...string) {
		t.Run(row, func(t *testing.T) {
			before := e.passed.Load()
			code, _, closed := e.send(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
			if code != want || !closed || e.passed.Load() != before {
				t.Errorf("status %d, closed %v, passed %v; want %d", code, closed, e.passed.Load() != before, want)
			}
		})
	}
	get := func(row string, want int, target string, headers ...string) {
		f(row, want, append([]string{"GET " + target + " HTTP/1.1", "Host: a.example"}, headers...)...)
	}
	get("P01", 400, "/pub/../admin")
	get("P02", 400, "/pub/.%2e/admin")
	get("P03", 400, "/pub%2f..%2fadmin")
	get("P04", 400, `/pub\admin`)
	get("P05", 400, "/admin%00.png")
	get("P06", 400, "/admin;x/")
	get("P07", 400, "/a%3fb")
	get("P08", 400, "/%252e%252e/admin")
	get("P10", 400, "/%c0%ae%c0%ae/")
	get("P11", 400, "/%zz")
	get("P19", 400, "/?a=1;b=2")
	get("P20", 414, "/"+strings.Repeat("../", 20<<10))
	f("T05", 400, "PRI * HTTP/2.0")
	f("T06", 400, "GET / HTTP/1.1")
	f("T07", 400, "GET / HTTP/1.0")
	f("T08", 400, "GET / HTTP/1.1", "Host: a", "Host: b")
	f("T08 same", 400, "GET / HTTP/1.1", "Host: a", "Host: a")
	for _, host := range []string{"a@b", "a/b", "a b", "a#b"} {
		f("T09 "+host, 400, "GET / HTTP/1.1", "Host: "+host)
	}
	for _, host := range []string{"a,b", "a:99999x", "[::1", "a..b", "."} {
		f("T10 "+host, 400, "GET / HTTP/1.1", "Host: "+host)
	}
	get("T13", 400, "ftp://a.example/")
	get("T13 file", 400, "file:///etc/passwd")
	get("T14", 400, "http://u:p@a.example/")
	get("T15", 400, "*")
	f("T15 path", 400, "OPTIONS */x HTTP/1.1", "Host: a")
	f("T16", 405, "OPTIONS * HTTP/1.1", "Host: a")
	f("T17", 405, "CONNECT a:443 HTTP/1.1", "Host: a:443", "Content-Length: 1", "", "x")
	f("T18", 405, "TRACE / HTTP/1.1", "Host: a")
	f("T18 track", 405, "TRACK / HTTP/1.1", "Host: a")
	f("T19 lower case", 405, "get / HTTP/1.1", "Host: a")
	f("T19", 400, "G@T( / HTTP/1.1", "Host: a")
	f("T19 long", 400, strings.Repeat("A", 60<<10)+" / HTTP/1.1", "Host: a")
	get("T20 two spaces", 400, " /")
	get("T20 tab", 400, "\t/")
	get("T20 space", 400, "/a b")
	get("T20 no slash", 400, "a")
	get("T21", 400, "/a#frag")
	get("T22", 400, "/a\x00")
	get("T22 0x01", 400, "/a\x01")
	get("T22 0x7f", 400, "/a\x7f")
	get("T25", 414, "/"+strings.Repeat("a", 8<<10))
	get("T25 2 MiB", 431, "/"+strings.Repeat("a", 2<<20))
	get("H01", 400, "/", "X: a\x00b")
	get("H02", 400, "/", "X(): a")
	get("H03", 400, "/", ": b")
	get("H04", 400, "/", "a")
	get("H05", 400, "/", "X_Forwarded_For: 127.0.0.1")
	get("H06", 400, "/", "X.User.Id: root")
	get("H07", 431, "/", repeat("X-A: b", 5000)...)
	get("H08", 431, "/", "X: "+strings.Repeat("a", 2<<20))
	get("H09", 431, "/", "Cookie: "+strings.Repeat("a=;", 10000))
	get("H13", 400, "/", "Authorization: a", "Authorization: b")
	get("I01", 400, "/", "Connection: X-User-Id, X-Forwarded-For")
	get("I03", 400, "/", "connection: x-real-ip")
	get("I04", 400, "/", "Authorization: a", "Connection: Authorization")
	get("I07", 400, "/", "Connection: "+strings.Repeat("a,", 17))
	get("U02", 400, "/", "Connection: Upgrade", "Upgrade: a\x80b")
	get("U12", 417, "/", "Expect: y 100-continue")
}

// TestPassedOnTheWire are rows that are served, in one spelling.
func TestPassedOnTheWire(t *testing.T) {
	e := newEdge(t, headerOptions)
	f := func(row, want string, lines ...string) {
		t.Run(row, func(t *testing.T) {
			code, got, _ := e.send(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
			if code != http.StatusOK || got != want {
				t.Errorf("status %d, saw %q; want %q", code, got, want)
			}
		})
	}
	f("plain", "a.example /x?y", "GET /x?y HTTP/1.1", "Host: a.example")
	f("HTTP/1.0", "a.example /", "GET / HTTP/1.0", "Host: a.example")
	f("P09", "a /evil/x", "GET //evil/x HTTP/1.1", "Host: a")
	f("P12", "a /Admin", "GET /%41dmin HTTP/1.1", "Host: a")
	f("P17", "a /?x=/public/../..", "GET /?x=/public/../.. HTTP/1.1", "Host: a")
	f("T10", "a.example /", "GET / HTTP/1.1", "Host: a.example.")
	f("T11", "a.example /", "GET / HTTP/1.1", "Host: A.EXAMPLE:80")
	f("T12", "b /x", "GET http://b/x HTTP/1.1", "Host: a")
	f("T23", "a /%C3%A9", "GET /\xc3\xa9 HTTP/1.1", "Host: a")
	f("I06", "a /", "GET / HTTP/1.1", "Host: a", "Keep-Alive: a", "TE: gzip", "Upgrade: foo")
	f("U01", "a /", "GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
}
