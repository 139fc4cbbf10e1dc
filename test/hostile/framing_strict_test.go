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

// TestHalfClose is fault 46: a client that sends its request and closes its half is
// still waiting for the answer, if it has said that this is all.
// Otherwise it is taken for gone, which looks the same (fault 45).
func TestHalfClose(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	f := func(name, in string, status int) {
		t.Run(name, func(t *testing.T) {
			given := make(chan struct{})
			e.upstream.script.Store(&script{close: true, play: func(c net.Conn, r *bufio.Reader, _ *message) {
				wait := patience
				if status != 0 {
					wait = 100 * time.Millisecond // longer than the gateway takes to look
				}
				if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
					t.Error(err)
				}
				_, _ = r.ReadByte() // returns when the gateway has given up
				_, _ = io.WriteString(c, plainAnswer)
				close(given)
			}})
			c := e.dial(t)
			defer func() { _ = c.Close() }()
			send(t, c, in)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			method, _, _ := strings.Cut(in, " ")
			got, err := readAnswer(bufio.NewReader(c), method)
			if status == 0 && err == nil || status != 0 && (err != nil || got.status != status) {
				t.Errorf("got %v, %v; want status %d", got, err, status)
			}
			<-given
		})
	}
	f("after the last POST", post("/", "abc", "Content-Length: 3", "Connection: close"), 200)
	f("after the last GET", get("/", "Connection: close"), 200)
	f("after a POST of HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", 200)
	f("after a POST", post("/", "abc", "Content-Length: 3"), 0)
	f("after a GET", get("/"), 0)
	if n := e.failures(); n != 0 {
		t.Errorf("%d failures of the endpoint", n)
	}
}
