package hostile_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What is slow is ended by a timeout; the client is to blame. These tests have timeouts
// that are short, but long enough for a head or an answer that is not slow.
func TestSlow(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{listener: "timeouts: {header: 3s, body_idle: 1s, idle: 1s}"})
	e.run(t, []row{
		{name: "S01 silence", in: "", status: 0},
		{name: "S01 half a head", in: "GET / HTTP/1.1\r\nHost: a\r\nA: ", status: 0},
		{name: "S02 length", in: post("/", "abc", "Content-Length: 10"), status: 408, reason: "body_timeout", aborted: true},
		{name: "S02 chunk", in: chunked("/", "a\r\nabc"), status: 408, reason: "body_timeout", aborted: true},
		{name: "S02 before the chunk", in: chunked("/", ""), status: 408, reason: "body_timeout", aborted: true},
	})
	e.run(t, []row{
		{name: "S09 refused before the length", in: post("/pub/../x", "abc", "Content-Length: 100"), status: 400, reason: "path_dots"},
		{name: "S09 refused before the chunk", in: chunked("/pub/../x", "10000000\r\nabc"), status: 400, reason: "path_dots"},
		{name: "S09 too large", in: post("/small", "abc", "Content-Length: 17"), status: 413, reason: "body_too_large"},
	})
	t.Run("S01 dripping", func(t *testing.T) {
		c := e.dial(t)
		defer func() { _ = c.Close() }()
		start := time.Now()
		drip(c, get("/", "A: "+strings.Repeat("b", 1<<10)), 20*time.Millisecond)
		if took := time.Since(start); took > patience {
			t.Errorf("the head may take %v", took)
		}
		if m := e.upstream.next(); m != nil {
			t.Errorf("the upstream got %v", m)
		}
	})
	t.Run("S01 idle", func(t *testing.T) {
		c := e.dial(t)
		defer func() { _ = c.Close() }()
		br := bufio.NewReader(c)
		e.probe(t, c, br)
		if err := readEnd(br); err != nil {
			t.Error(err)
		}
	})
}

// drip writes byte by byte until the other side has had enough.
func drip(c net.Conn, s string, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for i := range len(s) {
		if _, err := io.WriteString(c, s[i:i+1]); err != nil {
			return
		}
		<-tick.C
	}
}

// S03: a client that reads nothing of a large answer keeps the upstream for the
// idle time, not for ever.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{listener: "timeouts: {write_idle: 200ms}"})
	ended := make(chan struct{})
	e.upstream.script.Store(&script{close: true, play: func(c net.Conn, _ *bufio.Reader, _ *message) {
		defer close(ended)
		_, _ = io.WriteString(c, okHead+"Content-Length: 1073741824\r\n\r\n")
		for chunk := make([]byte, 1<<20); ; {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}})
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	if err := c.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	send(t, c, get("/", "X-Request-Id: slow"))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the upstream still sends")
	}
	e.upstream.wait(t)
	if line := e.log.line(t, "slow"); line.Cause != "client" || e.failures() != 0 {
		t.Errorf("logged as %s; %d failures of the endpoint", line.Raw, e.failures())
	}
}

// S04: a handshake that stalls is a head that never comes.
func TestSlowHandshake(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{listener: "timeouts: {header: 200ms}", tls: true})
	for name, in := range map[string]string{
		"S04 silence": "", "S04 one byte": "\x16", "S04 tiny records": "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00", "S04 plain HTTP": get("/"),
	} {
		t.Run(name, func(t *testing.T) {
			c := e.dial(t)
			defer func() { _ = c.Close() }()
			send(t, c, in)
			rest, err := io.ReadAll(c)
			if isTimeout(err) {
				t.Error("the connection is not closed")
			}
			if strings.HasPrefix(string(rest), "HTTP/1.1 2") {
				t.Errorf("got %q", rest)
			}
		})
	}
	if n := e.upstream.got.Load(); n != 0 {
		t.Errorf("the upstream got %d bytes", n)
	}
}
