package hostile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long tests wait for what should come at once, on a machine
// that may be busy.
const patience = 10 * time.Second

// plainAnswer is what the upstream says when no row has scripted anything else.
const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// script is how the upstream answers.
type script struct {
	early bool                                          // before it has read the body
	play  func(c net.Conn, r *bufio.Reader, m *message) // nil is plainAnswer
	close bool                                          // the connection afterwards
}

// say is a script of fixed bytes, after which the upstream closes.
func say(answer string) *script {
	return &script{close: true, play: func(c net.Conn, _ *bufio.Reader, _ *message) { _, _ = io.WriteString(c, answer) }}
}

// upstream is a server on the level of bytes. It records what it gets and
// understands only what is beyond doubt.
type upstream struct {
	ln      net.Listener
	got     atomic.Int64  // bytes, on all connections
	conns   atomic.Int64  // that were accepted
	whole   chan *message // complete requests
	wrong   chan error    // what the strict parser refused
	script  atomic.Pointer[script]
	lenient atomic.Bool // the row says that what comes is refused
	chains  atomic.Bool // the gateway trusts proxies, and passes on what they say
	work    sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]struct{}
}

func newUpstream(tb testing.TB) *upstream {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u := &upstream{
		ln: ln, whole: make(chan *message, 1<<14), wrong: make(chan error, 1024), open: make(map[net.Conn]struct{}),
	}
	u.script.Store(&script{})
	u.work.Go(u.accept)
	tb.Cleanup(func() {
		_ = ln.Close()
		u.mu.Lock()
		for c := range u.open {
			_ = c.Close()
		}
		u.mu.Unlock()
		u.work.Wait()
	})
	return u
}

func (u *upstream) accept() {
	for {
		c, err := u.ln.Accept()
		if err != nil {
			return
		}
		u.conns.Add(1)
		u.mu.Lock()
		u.open[c] = struct{}{}
		u.mu.Unlock()
		u.work.Go(func() {
			u.serve(c)
			_ = c.Close()
			u.mu.Lock()
			delete(u.open, c)
			u.mu.Unlock()
		})
	}
}

// counted counts what is read.
type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (u *upstream) serve(c net.Conn) {
	r := bufio.NewReader(counted{c, &u.got})
	for {
		m, err := readHead(r)
		if err != nil {
			u.refuse(err)
			return
		}
		if from := m.values("X-Forwarded-For")[0]; from != "127.0.0.1" && (!u.chains.Load() || !strings.HasSuffix(from, ", 127.0.0.1")) {
			u.refuse(fmt.Errorf("X-Forwarded-For %q is not what the gateway sets", from))
			return
		}
		s := u.script.Load()
		if s.early {
			s.play(c, r, m)
		} else if len(m.values("Expect")) > 0 {
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		if err := m.readBody(r); err != nil {
			u.refuse(err)
			return
		}
		u.whole <- m
		switch {
		case s.early:
		case s.play != nil:
			s.play(c, r, m)
		case m.method == "HEAD":
			_, _ = io.WriteString(c, strings.TrimSuffix(plainAnswer, "ok"))
		default:
			_, _ = io.WriteString(c, plainAnswer)
		}
		if s.close {
			return
		}
	}
}

// refuse notes what the parser did not accept. A request that was broken off is
// none, and does no harm.
func (u *upstream) refuse(err error) {
	if !brokenOff(err) && !u.lenient.Load() {
		u.wrong <- err
	}
}

func isNetError(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	_, isErrno := errors.AsType[syscall.Errno](err)
	return isNet || isErrno || errors.Is(err, net.ErrClosed)
}

// next is the complete request that came, or nil when there is none at once.
func (u *upstream) next() *message {
	select {
	case m := <-u.whole:
		return m
	default:
		return nil
	}
}

// wait is next for a request that must come.
func (u *upstream) wait(tb testing.TB) *message {
	tb.Helper()
	select {
	case m := <-u.whole:
		return m
	case err := <-u.wrong:
		tb.Fatalf("the upstream got something ambiguous: %v", err)
	case <-time.After(patience):
		tb.Fatal("the upstream got no request")
	}
	return nil
}

// checkStrict fails when something ambiguous has arrived.
func (u *upstream) checkStrict(tb testing.TB) {
	tb.Helper()
	for {
		select {
		case err := <-u.wrong:
			tb.Errorf("the upstream got something ambiguous: %v", err)
		default:
			return
		}
	}
}
