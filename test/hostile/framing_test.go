package hostile_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

func bodyIs(want string) func(*testing.T, *message) {
	return func(t *testing.T, m *message) {
		t.Helper()
		if m.body != want {
			t.Errorf("the upstream got the body %q, want %q", m.body, want)
		}
		without("Trailer")(t, m)
		if len(m.trailers) > 0 {
			t.Errorf("the upstream got trailers %q", m.trailers)
		}
	}
}

// What announces the body is clear, or there is no request.
func TestFraming(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, framingRows())
}

func framingRows() []row {
	coding := func(name string, status int, lines ...string) row {
		reason := "bad_framing"
		if status == 400 {
			reason = "bad_header"
		}
		return row{name: name, in: post("/", "0\r\n\r\n", lines...), status: status, reason: reason}
	}
	length := func(name, value string) row {
		return row{name: "F19 length " + name, in: post("/", "abc", "Content-Length:"+value), status: 400, reason: "bad_framing"}
	}
	return []row{
		coding("F05 unknown coding", 501, "Transfer-Encoding: xchunked"),
		coding("F06 identity", 501, "Transfer-Encoding: identity", "Content-Length: 5"),
		coding("F07 gzip and chunked", 501, "Transfer-Encoding: gzip, chunked"),
		coding("F08 chunked twice", 501, "Transfer-Encoding: chunked, chunked"),
		coding("F09 chunked on two lines", 501, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
		coding("F10 two codings on two lines", 501, "Transfer-Encoding: chunked", "Transfer-Encoding: cow"),
		coding("F11 comma at the end", 501, "Transfer-Encoding: chunked,"),
		coding("F11 comma before", 501, "Transfer-Encoding: ,chunked"),
		coding("F12 vertical tab", 400, "Transfer-Encoding: \x0bchunked"),
		coding("F12 form feed", 400, "Transfer-Encoding: chunked\x0c"),
		coding("F12 no-break space", 501, "Transfer-Encoding: \xa0chunked"),
		coding("F12 next line", 501, "Transfer-Encoding: \x85chunked"),
		coding("F12 quotes", 501, `Transfer-Encoding: "chunked"`),
		coding("F12 empty", 501, "Transfer-Encoding: "),
		coding("F13 space before the colon", 400, "Transfer-Encoding : chunked"),
		coding("F13 tab before the colon", 400, "Transfer-Encoding\t: chunked"),
		{name: "F16 two lengths", in: post("/", "abc", "Content-Length: 3", "Content-Length: 2"), status: 400, reason: "bad_framing"},
		{name: "F18 list of lengths", in: post("/", "a", "Content-Length: 1, 1"), status: 400, reason: "bad_framing"},
		length("plus", " +1"), length("minus", " -1"), length("hexadecimal", " 0x1"), length("underscore", " 1_0"),
		length("space", " 1 0"), length("empty", ""), length("only spaces", "  "), length("not ASCII", " \xd9\xa3"),
		length("too large", " 99999999999999999999"),
		{name: "F21 largest length", in: post("/", "a", "Content-Length: 9223372036854775807"), status: 413, reason: "body_too_large"},
		{name: "F22 leading zeros", in: post("/", "abc", "Content-Length: 0003"), status: 200, open: true, to: "POST /", check: with("Content-Length", "3")},
		{name: "F25 CR in a value", in: get("/", "A: b\rc"), status: 400, reason: "bad_header"},
		{name: "F25 CR before a name", in: get("/", "A: b\r\n\rC: d"), status: 400, reason: "bad_header"},
		{name: "F26 CR CR LF", in: get("/", "A: b\r"), status: 400, reason: "bad_header"},
		{name: "F28 space before the first header", in: "GET / HTTP/1.1\r\n Host: a\r\n\r\n", status: 400, reason: "bad_header"},
		{name: "F41 GET with a length", in: request("GET", "/", "Content-Length: 3") + "abc", status: 200, open: true, to: "GET /", check: bodyIs("abc")},
		{name: "F41 HEAD with a length", in: request("HEAD", "/", "Content-Length: 3") + "abc", status: 200, open: true, to: "HEAD /", check: bodyIs("abc")},
		{name: "F41 OPTIONS in chunks", in: request("OPTIONS", "/", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", status: 200, open: true, to: "OPTIONS /", check: bodyIs("abc")},
		{name: "F43 ClientHello", in: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x00\x01", 80) + "\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "F43 binary garbage", in: "\x00\x01\x02\xff\xfe\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "F44 empty lines before", in: "\r\n\r\n" + get("/"), status: 400, reason: "bad_request_line"},
	}
}

// N2: a body that the client has broken is the client's fault. The upstream
// never sees a whole request, and nothing counts against it.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, brokenRows())
	if n := e.metric(t, `request_errors_total\{cause="client"[^}]*\}`); n < 20 {
		t.Errorf("%v requests that clients have broken, want at least 20", n)
	}
	if n := e.metric(t, `request_errors_total\{cause="(upstream|network|gateway)"[^}]*\}`); n != 0 {
		t.Errorf("%v requests that somebody else has broken", n)
	}
}

func brokenRows() []row {
	broken := func(name, body string) row {
		return row{name: name, in: chunked("/", body), status: 400, reason: "bad_body", aborted: true}
	}
	return []row{
		broken("F30 size 0x1", "0x1\r\na\r\n0\r\n\r\n"),
		broken("F30 size -1", "-1\r\na\r\n0\r\n\r\n"),
		broken("F30 size +1", "+1\r\na\r\n0\r\n\r\n"),
		broken("F30 size 0_2e", "0_2e\r\na\r\n0\r\n\r\n"),
		broken("F30 empty size", "\r\na\r\n0\r\n\r\n"),
		broken("F30 space before the size", " 1\r\na\r\n0\r\n\r\n"),
		broken("F30 after a good chunk", "1\r\na\r\nz\r\n0\r\n\r\n"),
		broken("F31 17 digits", "10000000000000001\r\na\r\n0\r\n\r\n"),
		broken("F33 22 zeros", strings.Repeat("0", 22)+"1\r\na\r\n0\r\n\r\n"),
		broken("F34 size ends with LF", "1\na\r\n0\r\n\r\n"),
		broken("F35 extension with LF", "1;\nxx\r\na\r\n0\r\n\r\n"),
		broken("F35 extension with CR", "1;\rxx\r\na\r\n0\r\n\r\n"),
		{name: "F36 extension", in: chunked("/", "1;a=b\r\na\r\n1;c\r\nb\r\n0;d\r\n\r\n"), status: 200, open: true, to: "POST /", check: bodyIs("ab")},
		broken("F37 64 KiB of extension", "1;"+strings.Repeat("a", 64<<10)+"\r\na\r\n0\r\n\r\n"),
		broken("F37 flood of extensions", strings.Repeat("1;"+strings.Repeat("a", 3<<10)+"\r\na\r\n", 64)+"0\r\n\r\n"),
		broken("F38 no end of a chunk", "1\r\na0\r\n\r\n"),
		broken("F38 other bytes at the end", "1\r\naXX0\r\n\r\n"),
		broken("F38 LF at the end", "1\r\na\n0\r\n\r\n"),
		broken("F39 last chunk with LF", "1\r\na\r\n0\n\r\n"),
		broken("trailer without a colon", "1\r\na\r\n0\r\nabc\r\n\r\n"),
		{name: "S06 length beyond the limit", in: post("/small", strings.Repeat("a", 17), "Content-Length: 17"), status: 413, reason: "body_too_large", route: "small"},
		{name: "S06 length at the limit", in: post("/small", strings.Repeat("a", 16), "Content-Length: 16"), status: 200, open: true, to: "POST /small", route: "small"},
		{name: "S07 chunks beyond the limit", in: chunked("/small", "10\r\n"+strings.Repeat("a", 16)+"\r\n1\r\nb\r\n0\r\n\r\n"), status: 413, reason: "body_too_large", aborted: true},
		{name: "S07 chunks at the limit", in: chunked("/small", "10\r\n"+strings.Repeat("a", 16)+"\r\n0\r\n\r\n"), status: 200, open: true, to: "POST /small", check: bodyIs(strings.Repeat("a", 16))},
	}
}

// F32: a chunk larger than any body ends at the limit of the body. The rest
// cannot come in a test; the answer comes when the client waits. One whose size is
// no length at all is refused.
func TestHugeChunk(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{listener: "timeouts: {body_idle: 2s}"})
	e.run(t, []row{
		{name: "F32 2^64-1", in: chunked("/", "ffffffffffffffff\r\nabc"), status: 400, reason: "bad_body", aborted: true},
		{name: "F32", in: chunked("/", "3fffffffffffffff\r\nabc"), status: 408, reason: "body_timeout", aborted: true},
		{name: "F32 on a route with a small limit", in: chunked("/small", "3fffffffffffffff\r\n"+strings.Repeat("a", 17)), status: 413, reason: "body_too_large", aborted: true},
	})
}

// F40: a client that leaves in the middle of its body has sent no request.
func TestBodyEndsEarly(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	for name, in := range map[string]string{
		"F40 length": post("/", "abc", "Content-Length: 10", "X-Request-Id: length"),
		"F40 chunk":  post("/", "a\r\nabc", "Transfer-Encoding: chunked", "X-Request-Id: chunk"),
	} {
		t.Run(name, func(t *testing.T) {
			c := e.dial(t)
			defer func() { _ = c.Close() }()
			send(t, c, in)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c) // there may be an answer
			_, id, _ := strings.Cut(name, " ")
			if line := e.log.line(t, id); line.Status != 499 && line.Status != 400 || line.Cause != "client" {
				t.Errorf("logged as %s", line.Raw)
			}
			if m := e.upstream.next(); m != nil || e.failures() != 0 {
				t.Errorf("the upstream got %v; %d failures", m, e.failures())
			}
		})
	}
}

// F42: the answer to a request does not depend on what follows it.
func TestPipelining(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	t.Run("F42 pair", func(t *testing.T) {
		c := e.dial(t)
		defer func() { _ = c.Close() }()
		br := bufio.NewReader(c)
		send(t, c, get("/1")+post("/2", "abc", "Content-Length: 3")+get("/3"))
		for n := range 3 {
			got, err := readAnswer(br, "GET")
			if m := e.upstream.wait(t); err != nil || got.status != 200 || m.target != fmt.Sprintf("/%d", n+1) {
				t.Fatalf("answer %d is %v, %v; upstream %q", n+1, got, err, m.target)
			}
		}
	})
	for name, garbage := range map[string]string{
		"F42 garbage":              "abc\r\n\r\n",
		"F42 binary garbage":       "\x00\x01\xff\r\n\r\n",
		"F42 more than the length": "GET /admin HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := e.dial(t)
			defer func() { _ = c.Close() }()
			br := bufio.NewReader(c)
			send(t, c, post("/1", "abc", "Content-Length: 3")+garbage)
			if got, err := readAnswer(br, "GET"); err != nil || got.status != 200 {
				t.Fatalf("first answer %v, %v", got, err)
			}
			if m := e.upstream.wait(t); m.target != "/1" || m.body != "abc" {
				t.Errorf("the upstream got %v", m)
			}
			if got, err := readAnswer(br, "GET"); err != nil || got.status < 400 {
				t.Errorf("the garbage got %v, %v", got, err)
			}
			if err := readEnd(br); err != nil {
				t.Errorf("the connection is not closed: %v", err)
			}
			if m := e.upstream.next(); m != nil {
				t.Errorf("the garbage came upstream as %v", m)
			}
		})
	}
}

func send(tb testing.TB, c net.Conn, s string) {
	tb.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		tb.Fatal(err)
	}
}
