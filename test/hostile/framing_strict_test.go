package hostile_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestStrict has requests that readers understand differently, and that most proxies
// let pass: net/http has erased the evidence before a handler sees them.
func TestStrict(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, strictRows())
}

func strictRows() []row {
	const smuggled = "0\r\n\r\n"
	framing := func(name, in string) row { return row{name: name, in: in, status: 400, reason: "bad_framing"} }
	lines := func(name, in string) row { return row{name: name, in: in, status: 400, reason: "bad_header"} }
	trailers := func(name, body string) row {
		return row{name: name, in: chunked("/", body), status: 400, reason: "bad_body", aborted: true}
	}
	return []row{
		framing("F01 length and coding", post("/", smuggled, "Content-Length: 5", "Transfer-Encoding: chunked")),
		framing("F02 coding and length", post("/", smuggled, "Transfer-Encoding: chunked", "Content-Length: 5")),
		framing("F03 coding on HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"+smuggled),
		framing("F04 coding and length on HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"+smuggled),
		lines("F14 folded coding", post("/", smuggled, "Transfer-Encoding:\r\n chunked")),
		framing("F17 the same length twice", post("/", "abc", "Content-Length: 3", "Content-Length: 3")),
		lines("F23 LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
		lines("F24 LF after one line", get("/", "A: b\nC: d")),
		lines("F27 LF CR at the end", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\n\r"),
		lines("F29 folded header", get("/", "A: b\r\n c")),
		trailers("F39 trailers end with LF", "1\r\na\r\n0\r\n\n\r\n\r\n"),
		trailers("U11 bad name of a trailer", "1\r\na\r\n0\r\na b: c\r\n\r\n"),
	}
}

// TestHalfClose is fault 46: a client that sends its request and closes its half
// looks like one that has gone (fault 45), and is taken for that when its answer does
// not come at once.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	for name, in := range map[string]string{"GET": get("/"), "POST": post("/", "abc", "Content-Length: 3"), "the last": get("/", "Connection: close")} {
		t.Run(name, func(t *testing.T) {
			given := make(chan struct{})
			e.upstream.script.Store(&script{close: true, play: func(c net.Conn, r *bufio.Reader, _ *message) {
				defer close(given)
				if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Error(err)
				}
				_, _ = r.ReadByte() // returns when the gateway has given up
				_, _ = io.WriteString(c, plainAnswer)
			}})
			c := e.dial(t)
			defer func() { _ = c.Close() }()
			send(t, c, in)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(in, " ")
			if got, err := readAnswer(bufio.NewReader(c), method); err == nil {
				t.Errorf("got %d from an upstream that waits for the end", got.status)
			}
			<-given
		})
	}
	if n := e.failures(); n != 0 {
		t.Errorf("%d failures of the endpoint", n)
	}
}
