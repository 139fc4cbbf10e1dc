package hostile_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
)

const (
	keyLine   = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)

func handshake(lines ...string) string {
	return get("/ws", append([]string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"}, lines...)...)
}

// Upgrades: only WebSocket passes, and only whole.
func TestUpgrades(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, upgradeRows())
}

func upgradeRows() []row {
	ignored := func(name string, lines ...string) row {
		return row{
			name: name, in: get("/", lines...), status: 200, open: true, to: "GET /",
			check: without("Upgrade", "Connection", "Http2-Settings"),
		}
	}
	refused := func(name, reason, in string) row { return row{name: name, in: in, status: 400, reason: reason} }
	return []row{
		ignored("U01 h2c", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
		ignored("U01 only Upgrade", "Connection: Upgrade", "Upgrade: h2c"),
		ignored("U01 capitals", "Connection: upgrade", "Upgrade: H2C"),
		ignored("U01 TLS", "Connection: Upgrade", "Upgrade: TLS/1.0"),
		ignored("U01 beside WebSocket", "Connection: Upgrade", "Upgrade: foo, websocket", keyLine),
		refused("U02 no token", "bad_upgrade", get("/", "Connection: Upgrade", "Upgrade: a\x80b")),
		refused("U02 after a good one", "bad_upgrade", get("/", "Connection: Upgrade", "Upgrade: websocket, a b", keyLine)),
		ignored("U04 other protocol", "Connection: Upgrade", "Upgrade: foo/2"),
		ignored("U04 not named in Connection", "Upgrade: websocket", keyLine),
		{
			name: "U05 HTTP/1.0", in: "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + keyLine + "\r\n\r\n",
			status: 200, to: "GET /", check: without("Upgrade"),
		},
		refused("U05 POST", "bad_upgrade", post("/", "abc", "Content-Length: 3", "Connection: Upgrade", "Upgrade: websocket", keyLine)),
		refused("U05 GET with a body", "bad_upgrade", handshake(keyLine, "Content-Length: 3")+"abc"),
		refused("U06 no key", "bad_upgrade", handshake()),
		refused("U06 short key", "bad_upgrade", handshake("Sec-WebSocket-Key: YWJj")),
		refused("U06 no base64", "bad_upgrade", handshake("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==")),
		refused("U06 two keys", "duplicate_header", handshake(keyLine, keyLine)),
	}
}

// U03: there is no tunnel before the upstream has switched protocols. What an
// impatient client sends is its next request.
func TestRefusedUpgrade(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(&script{play: func(c net.Conn, _ *bufio.Reader, m *message) {
		if m.upgrade() {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, plainAnswer)
	}})
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	hidden := "GET /admin HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n"
	send(t, c, strings.Replace(handshake(keyLine), "Version: 13", "Version: 777", 1)+hidden)
	if got, err := readAnswer(br, "GET"); err != nil || got.status != 426 {
		t.Fatalf("got %v, %v; want 426", got, err)
	}
	if m := e.upstream.wait(t); m.target != "/ws" {
		t.Errorf("the upstream got %q", m.target)
	}
	if got, err := readAnswer(br, "GET"); err != nil || got.status != 400 {
		t.Errorf("the hidden request got %v, %v; want 400", got, err)
	}
	if m := e.upstream.next(); m != nil {
		t.Errorf("the hidden request came upstream as %v", m)
	}
}

// A tunnel carries bytes both ways, and its upstream connection carries nothing
// else afterwards.
func TestTunnel(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(&script{close: true, play: func(c net.Conn, r *bufio.Reader, m *message) {
		if !m.upgrade() {
			_, _ = io.WriteString(c, plainAnswer)
			return
		}
		_, _ = io.WriteString(c, switching)
		line, _ := r.ReadString('\n')
		_, _ = io.WriteString(c, line)
	}})
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	send(t, c, handshake(keyLine, "Sec-WebSocket-Protocol: chat"))
	if got, err := readAnswer(br, "GET"); err != nil || got.status != 101 {
		t.Fatalf("got %v, %v; want 101", got, err)
	}
	with("Sec-WebSocket-Protocol", "chat")(t, e.upstream.wait(t))
	send(t, c, "GET /admin HTTP/1.1\n")
	if line, err := br.ReadString('\n'); err != nil || line != "GET /admin HTTP/1.1\n" {
		t.Errorf("the tunnel gave back %q, %v", line, err)
	}
	if err := readEnd(br); err != nil {
		t.Errorf("the tunnel does not end: %v", err)
	}
	if got := e.exchange(t, get("/next")); got.status != 200 || e.upstream.wait(t).target != "/next" {
		t.Errorf("the next request got %d", got.status)
	}
}

// Trailers that a server might merge into the header do not pass, nor any that
// were not announced.
func TestTrailers(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, trailerRows())
}

func trailerRows() []row {
	trailer := func(announced, sent string) string {
		return post("/", "1\r\na\r\n0\r\n"+sent+"\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: "+announced)
	}
	refused := func(name, announced string) row {
		return row{name: "U11 " + name, in: trailer(announced, announced+": x"), status: 400, reason: "bad_trailer"}
	}
	return []row{
		{name: "U10 not announced", in: chunked("/", "1\r\na\r\n0\r\nX-Gw-User: root\r\n\r\n"), status: 200, open: true, to: "POST /", check: bodyIs("a")},
		{name: "U10 other than announced", in: trailer("X-Sum", "X-Gw-User: root"), status: 200, open: true, to: "POST /", check: func(t *testing.T, m *message) {
			for _, f := range m.trailers {
				if f.name != "X-Sum" {
					t.Errorf("trailer %q", f)
				}
			}
		}},
		{name: "U11 harmless", in: trailer("X-Sum", "X-Sum: 1"), status: 200, open: true, to: "POST /", check: func(t *testing.T, m *message) {
			if len(m.trailers) != 1 || m.trailers[0] != (field{"X-Sum", "1"}) {
				t.Errorf("trailers %q", m.trailers)
			}
		}},
		refused("authorization", "Authorization"), refused("host", "X-Forwarded-Host"), refused("client", "X-Forwarded-For"),
		refused("cookie", "Cookie"), refused("alias", "X_Forwarded_For"), refused("content type", "Content-Type"),
		{name: "U11 length", in: trailer("Content-Length", "Content-Length: 9"), status: 400, reason: "bad_header"},
		{name: "U11 coding", in: trailer("Transfer-Encoding", "Transfer-Encoding: chunked"), status: 400, reason: "bad_header"},
	}
}

// Expect has one meaning, and 100 Continue is said once.
func TestExpectations(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, expectationRows())
}

func expectationRows() []row {
	expect := func(name, value string) row {
		return row{name: name, in: post("/", "abc", "Content-Length: 3", "Expect: "+value), status: 417, reason: "expectation"}
	}
	once := func(t *testing.T, got *answerMsg) {
		if len(got.interim) != 1 || got.interim[0] != 100 {
			t.Errorf("interim answers %v, want one 100", got.interim)
		}
	}
	return []row{
		expect("U12 obfuscated", "y 100-continue"),
		expect("U12 list", "100-continue, 100-continue"),
		{name: "U12 other", in: post("/", "abc", "Content-Length: 3", "Expect: 200-ok"), status: 417, reason: "expectation"},
		{name: "U14 length", in: post("/", "abc", "Content-Length: 3", "Expect: 100-continue"), status: 200, open: true, to: "POST /", check: bodyIs("abc"), answer: once},
		{name: "U14 chunks", in: post("/", "3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked", "Expect: 100-Continue"), status: 200, open: true, to: "POST /", check: bodyIs("abc"), answer: once},
		{name: "U14 HTTP/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", status: 200, to: "POST /", check: bodyIs("abc")},
	}
}

// U13: an upstream that refuses before it has the body poisons nothing
// (CVE-2024-24791).
func TestRefusedExpectation(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(&script{early: true, play: func(c net.Conn, _ *bufio.Reader, m *message) {
		if len(m.values("Expect")) > 0 {
			_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
			return
		}
		_, _ = io.WriteString(c, plainAnswer)
	}})
	for range 10 {
		c := e.dial(t)
		br := bufio.NewReader(c)
		send(t, c, post("/", "", "Content-Length: 3", "Expect: 100-continue"))
		if got, err := readAnswer(br, "POST"); err != nil || got.status != 403 {
			t.Fatalf("got %v, %v; want 403", got, err)
		}
		_ = c.Close()
	}
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	for range 100 {
		e.probe(t, c, br)
	}
	if n := e.failures(); n != 0 {
		t.Errorf("%d failures of the endpoint", n)
	}
}
