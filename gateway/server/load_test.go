package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load are clients that never retry: half keep their connections, half open a
// new one for each request; all send POST with a body.
type load struct {
	addr   string
	check  func(body string) error
	stop   chan struct{}
	all    sync.WaitGroup
	whole  atomic.Int64 // requests answered whole
	begun  sync.WaitGroup
	mu     sync.Mutex
	errs   []error
	closed bool // the listener may be gone: new connections may fail
}

func startLoad(t *testing.T, addr string, clients int, check func(body string) error) *load {
	l := &load{addr: addr, check: check, stop: make(chan struct{})}
	for i := range clients {
		l.begun.Add(1)
		l.all.Go(func() { l.client(i%2 == 0) })
	}
	l.begun.Wait()
	return l
}

func (l *load) client(keep bool) {
	var c net.Conn
	var r *bufio.Reader
	begun := sync.OnceFunc(l.begun.Done)
	defer begun()
	for {
		select {
		case <-l.stop:
			if c != nil {
				_ = c.Close()
			}
			return
		default:
		}
		fresh := c == nil
		if fresh {
			var err error
			if c, err = net.Dial("tcp", l.addr); err != nil {
				l.failed(fmt.Errorf("connect: %w", err), true)
				return
			}
			r = bufio.NewReader(c)
		}
		last, err := l.ask(c, r)
		if err != nil {
			_ = c.Close()
			if l.failed(err, fresh && errors.Is(err, errUnread)) {
				return
			}
			last = true
		}
		begun()
		if last || !keep {
			_ = c.Close()
			c = nil
		}
	}
}

// errUnread marks a connection that was closed before a byte of an answer came.
// While the server ends, that may happen to a new connection, which was still
// in the backlog, but not to one in use: it is told to go first.
var errUnread = errors.New("closed before the answer")

func (l *load) ask(c net.Conn, r *bufio.Reader) (last bool, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
		return true, fmt.Errorf("%w: %w", errUnread, err)
	}
	if _, err := r.Peek(1); err != nil {
		return true, fmt.Errorf("%w: %w", errUnread, err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return true, fmt.Errorf("head: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return true, fmt.Errorf("body: %w", err)
	case resp.StatusCode != http.StatusOK:
		return true, fmt.Errorf("status %d %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	l.whole.Add(1)
	return resp.Close, l.check(string(body))
}

// failed records err. It says whether the client should stop, because the
// server is ending and err is how that looks from outside.
func (l *load) failed(err error, unread bool) (stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed && unread {
		return true
	}
	if len(l.errs) < 10 {
		l.errs = append(l.errs, err)
	}
	return false
}

// ending tells the clients that the server is about to end.
func (l *load) ending() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *load) finish(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.all.Wait()
	for _, err := range l.errs {
		t.Errorf("of %d requests one failed: %v", l.whole.Load(), err)
	}
	if l.whole.Load() == 0 {
		t.Error("no request was answered")
	}
}
