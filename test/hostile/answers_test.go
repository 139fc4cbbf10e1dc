package hostile_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

const okHead = "HTTP/1.1 200 OK\r\n"

// answerRow is one hostile answer and what becomes of it.
type answerRow struct {
	name   string
	say    string // by the upstream, which then closes
	status int    // for the client; 0 is an answer that is broken off
	reason string // in the access log; the upstream is to blame for it
	check  func(t *testing.T, got *answerMsg)
}

// Answers that are broken or hostile never reach a client as if they were good,
// and they count against the endpoint.
func TestAnswers(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	bad := func(name, say string) answerRow {
		return answerRow{name: name, say: say, status: 502, reason: "bad_response"}
	}
	reset := func(name, say string) answerRow {
		return answerRow{name: name, say: say, status: 502, reason: "upstream_reset"}
	}
	cut := func(name, say string) answerRow { return answerRow{name: name, say: say, reason: "upstream_truncated"} }
	good := func(name, say, body string, checks ...func(*testing.T, *answerMsg)) answerRow {
		return answerRow{name: name, say: say, status: 200, check: func(t *testing.T, got *answerMsg) {
			if got.body != body {
				t.Errorf("body %q, want %q", got.body, body)
			}
			for _, c := range checks {
				c(t, got)
			}
		}}
	}
	sends := func(name string, want ...string) func(*testing.T, *answerMsg) {
		return func(t *testing.T, got *answerMsg) {
			if v := got.values(name); strings.Join(v, "|") != strings.Join(want, "|") {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
	}
	const ok = "Content-Length: 2\r\n\r\nok"
	rows := []answerRow{
		bad("X01 length and coding", okHead+"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
		bad("X02 HTTP/2 as text", "HTTP/2.0 200 OK\r\n"+ok),
		bad("X02 space in a name", okHead+"A B: c\r\n"+ok),
		bad("X03 coding on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
		bad("X05 space before the colon", okHead+"Set-Cookie : a=b\r\n"+ok),
		bad("X02 two lengths", okHead+"Content-Length: 1\r\n"+ok),
		bad("X02 length +2", okHead+"Content-Length: +2\r\n\r\nok"),
		bad("X02 gzip and chunked", okHead+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
		bad("X02 NUL in a value", okHead+"A: b\x00c\r\n"+ok),
		bad("X02 CR in a value", okHead+"A: b\rc\r\n"+ok),
		bad("X02 no colon", okHead+"abc\r\n"+ok),
		bad("X02 status 99", "HTTP/1.1 99 X\r\n"+ok),
		bad("X02 status 2000", "HTTP/1.1 2000 X\r\n"+ok),
		bad("X02 status -200", "HTTP/1.1 -200 X\r\n"+ok),
		bad("X02 HTTP/0.9", "<html>hello</html>\r\n\r\n"),
		bad("X02 binary", "\x16\x03\x01\x00\x02\x02\x28\r\n\r\n"),
		good("X04 LF everywhere", "HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", "ok", sends("A", "b")),
		good("X04 folded header", okHead+"A: b\r\n c\r\n"+ok, "ok", sends("A", "b c")),
		bad("X06 unsolicited 101", switching),
		good("X07 Connection names a cookie", okHead+"Connection: Set-Cookie, Strict-Transport-Security, X-Hop\r\nSet-Cookie: a=b\r\nX-Hop: a\r\n"+ok, "ok", sends("Set-Cookie", "a=b"), sends("X-Hop"), sends("Connection")),
		good("X08 bytes after the body", okHead+ok+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok"),
		cut("X09 short length", okHead+"Content-Length: 10\r\n\r\nabc"),
		cut("X09 short chunk", okHead+"Transfer-Encoding: chunked\r\n\r\na\r\nabc"),
		cut("X09 no last chunk", okHead+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
		cut("X09 bad chunk", okHead+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n0\r\n\r\n"),
		reset("X10 nothing", ""),
		reset("X10 half a head", okHead+"Content-Le"),
		good("X12 100 lines", okHead+strings.Repeat("A: b\r\n", 99)+ok, "ok"),
		bad("X12 101 lines", okHead+strings.Repeat("A: b\r\n", 100)+ok),
		bad("X12 5000 lines", okHead+strings.Repeat("A: b\r\n", 5000)+ok),
		bad("X12 1 MiB", okHead+"A: "+strings.Repeat("b", 1<<20)+"\r\n"+ok),
		good("X13 compressed", okHead+"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", "\x1f\x8b\x08\x00", sends("Content-Encoding", "gzip")),
		good("X14 no content type", okHead+"Content-Length: 6\r\n\r\n<html>", "<html>", sends("Content-Type"), sends("X-Content-Type-Options", "nosniff")),
		good("X14 content type", okHead+"Content-Type: a/b\r\n"+ok, "ok", sends("Content-Type", "a/b"), sends("X-Content-Type-Options")),
		bad("X18 length as a trailer", okHead+"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n1\r\na\r\n0\r\nContent-Length: 9\r\n\r\n"),
		good("X19 HSTS over http", okHead+"Strict-Transport-Security: max-age=1\r\n"+ok, "ok", sends("Strict-Transport-Security")),
		{name: "X20 redirect", say: "HTTP/1.1 302 Found\r\nLocation: http://internal.example:8080/\r\nContent-Length: 0\r\n\r\n", status: 302, check: sends("Location", "http://internal.example:8080/")},
		{name: "X11 204 with a body", say: "HTTP/1.1 204 No Content\r\n\r\nevil", status: 204},
		{name: "X11 304 with a body", say: "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", status: 304},
		{name: "U15 flood of 103", say: strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 3000) + okHead + ok, status: 502, reason: "interim_flood", check: func(t *testing.T, got *answerMsg) {
			if len(got.interim) > 5 {
				t.Errorf("%d interim answers", len(got.interim))
			}
		}},
		{name: "U15 flood of 100", say: strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 3000) + okHead + ok, status: 502, reason: "interim_flood", check: func(t *testing.T, got *answerMsg) {
			if len(got.interim) > 0 {
				t.Errorf("%d interim answers that nobody asked for", len(got.interim))
			}
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { e.oneAnswer(t, &r) })
	}
}

func (e *edge) oneAnswer(t *testing.T, r *answerRow) {
	t.Helper()
	failures := e.failures()
	e.upstream.script.Store(say(r.say))
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	send(t, c, get("/"))
	br := bufio.NewReader(c)
	got, err := readAnswer(br, "GET")
	m := e.upstream.wait(t)
	without("Accept-Encoding")(t, m) // what nobody asked for, nobody would unpack
	switch {
	case r.status == 0:
		if err == nil {
			t.Errorf("a whole answer: %d %q", got.status, got.body)
		}
	case err != nil:
		t.Fatal(err)
	case got.status != r.status:
		t.Errorf("got %d %s, want %d", got.status, got.body, r.status)
	case r.check != nil:
		r.check(t, got)
	}
	line := e.log.line(t, m.values("X-Request-Id")[0])
	if line.Reason != r.reason || r.reason != "" && line.Cause != "upstream" {
		t.Errorf("logged as %s, want reason %q, cause upstream", line.Raw, r.reason)
	}
	want := failures
	if r.reason != "" {
		want++
	}
	if got := e.failures(); got != want {
		t.Errorf("%d failures of the endpoint, want %d", got-failures, want-failures)
	}
}

// X08: bytes that come when the answer is over are not the answer to the next
// request (response queue poisoning), however late they are: they end the idle
// connection.
func TestLateBytes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	more, ended := make(chan struct{}), make(chan struct{})
	e.upstream.script.Store(&script{play: func(c net.Conn, r *bufio.Reader, m *message) {
		_, _ = io.WriteString(c, plainAnswer)
		if m.target == "/poison" {
			<-more
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			if _, err := r.ReadByte(); err == nil {
				t.Error("the connection was used again")
			}
			close(ended)
		}
	}})
	if got := e.exchange(t, get("/poison")); got.body != "ok" {
		t.Errorf("body %q", got.body)
	}
	e.upstream.wait(t)
	close(more)
	<-ended
	for n := range 20 {
		target := fmt.Sprintf("/%d", n)
		if got := e.exchange(t, get(target)); got.status != 502 && got.body != "ok" {
			t.Errorf("request %d got %d %q", n, got.status, got.body)
		}
		if m := e.upstream.next(); m != nil && m.target != target {
			t.Errorf("the upstream got %q, want %q", m.target, target)
		}
	}
}

// X11: the answer to HEAD has no body, whatever follows it.
func TestHeadWithBody(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(say(okHead + "Content-Length: 4\r\n\r\nevil"))
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	br := bufio.NewReader(c)
	send(t, c, request("HEAD", "/"))
	if got, err := readAnswer(br, "HEAD"); err != nil || got.status != 200 {
		t.Fatalf("got %v, %v", got, err)
	}
	e.upstream.wait(t)
	e.upstream.script.Store(&script{})
	e.probe(t, c, br)
}

// X15: an upstream that refuses in the middle of a body is heard, and its
// connection is not used again.
func TestEarlyRefusal(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.upstream.script.Store(&script{early: true, close: true, play: func(c net.Conn, r *bufio.Reader, m *message) {
		if m.target == "/big" {
			_, _ = io.CopyN(io.Discard, r, 1000)
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, r)
			return
		}
		_, _ = io.WriteString(c, plainAnswer)
	}})
	got := e.exchange(t, post("/big", strings.Repeat("a", 1<<20), "Content-Length: 1048576"))
	if got.status != 413 || got.body != "no" {
		t.Errorf("got %d %q, want 413", got.status, got.body)
	}
	if got := e.exchange(t, get("/next")); got.status != 200 {
		t.Errorf("the next request got %d", got.status)
	}
}

// X16: an upstream that does not answer is too late, not broken.
func TestSilentUpstream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{response: "1s"})
	e.upstream.script.Store(&script{close: true, play: func(_ net.Conn, r *bufio.Reader, _ *message) {
		_, _ = r.ReadByte() // until the gateway gives up
	}})
	got := e.exchange(t, get("/"))
	line := e.log.line(t, e.upstream.wait(t).values("X-Request-Id")[0])
	if got.status != 504 || line.Reason != "upstream_timeout" || line.Cause != "upstream" || e.failures() != 1 {
		t.Errorf("got %d, logged as %s, %d failures", got.status, line.Raw, e.failures())
	}
}
