package hostile_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// TestHidden has requests that a strict edge refuses with 400, and that this gateway
// cannot refuse: net/http has erased the evidence before a handler sees the
// request. Each row says what happens instead, so that an engine of our own
// fails here first: then move the row to its class.
//
// What reaches the upstream is unambiguous all the same, since it is written
// anew. The danger is a reader in front of the gateway that saw another request.
func TestHidden(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, hiddenRows())
}

func hiddenRows() []row {
	passes := func(name, in, to, body string) row {
		return row{name: name, in: in, status: 200, open: true, to: to, check: bodyIs(body)}
	}
	const smuggled = "0\r\n\r\n"
	return []row{
		passes("F01 length and coding", post("/", smuggled, "Content-Length: 5", "Transfer-Encoding: chunked"), "POST /", ""),
		passes("F02 coding and length", post("/", smuggled, "Transfer-Encoding: chunked", "Content-Length: 5"), "POST /", ""),
		{name: "F03 coding on HTTP/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, status: 200, to: "POST /", check: bodyIs("")},
		{name: "F04 coding and length on HTTP/1.0", in: "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + smuggled, status: 200, to: "POST /", check: bodyIs(smuggled)},
		passes("F14 folded coding", post("/", smuggled, "Transfer-Encoding:\r\n chunked"), "POST /", ""),
		passes("F17 the same length twice", post("/", "abc", "Content-Length: 3", "Content-Length: 3"), "POST /", "abc"),
		passes("F23 LF everywhere", "GET / HTTP/1.1\nHost: a\n\n", "GET /", ""),
		passes("F24 LF after one line", get("/", "A: b\nC: d"), "GET /", ""),
		{name: "F27 LF CR at the end", in: "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\n\r", status: 200, to: "GET /"},
		passes("F29 folded header", get("/", "A: b\r\n c"), "GET /", ""),
		passes("F39 trailers end with LF", chunked("/", "1\r\na\r\n0\r\n\n\r\n\r\n"), "POST /", "a"),
		passes("U11 bad name of a trailer", chunked("/", "1\r\na\r\n0\r\na b: c\r\n\r\n"), "POST /", "a"),
		{
			name: "T12 two hosts", in: "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", status: 200, open: true,
			to: "GET /", check: with("Host", "b.example"),
		},
	}
}

// TestHiddenHalfClose is fault 46: a client that sends its request and closes
// its half is still waiting for the answer, but net/http takes it for gone.
func TestHiddenHalfClose(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(&script{close: true, play: func(c net.Conn, r *bufio.Reader, _ *message) {
		if err := c.SetReadDeadline(time.Now().Add(patience / 2)); err != nil {
			t.Error(err)
		}
		_, _ = r.ReadByte() // returns when the gateway has given up
		_, _ = io.WriteString(c, plainAnswer)
	}})
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	send(t, c, get("/"))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := readAnswer(bufio.NewReader(c), "GET"); err == nil {
		t.Errorf("got %d, want no answer as long as net/http serves", got.status)
	}
	if n := e.failures(); n != 0 {
		t.Errorf("%d failures of the endpoint", n)
	}
}
