package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load is a number of clients that never send a request twice, not even on a
// new connection, as http.Transport would.
type load struct {
	addr  string
	name  string // begins the ids of its requests
	stop  chan struct{}
	all   sync.WaitGroup
	sent  atomic.Int64
	dials atomic.Int64 // connections that were made
	begun time.Time

	mu      sync.Mutex
	answers []answer
}

// fate is what became of a request.
type fate int

const (
	answered fate = iota // there is a whole answer, whatever it says
	away                 // no connection, or closed before a byte of the request was read
	lost                 // anything else
)

// answer is a request and what became of it.
type answer struct {
	id, method, canary string // canary is the value of x-canary
	began, ended       time.Time
	fate               fate
	err                error
	fresh              bool // the first request of its connection
	status             int
	arm, backend       string
	reason             string // of an error answer
	sent, got          int    // bytes of the bodies
}

// mix says who the clients are and how many requests all of them send in a
// second, at most: a machine that is too slow for it sends fewer.
type mix struct {
	rate         int
	keep, single int // clients that keep their connection, and that open one for each request
}

// startLoad runs clients until finish or the end of the test.
func startLoad(t *testing.T, addr, name string, m mix) *load {
	l := &load{addr: addr, name: name, stop: make(chan struct{}), begun: time.Now()}
	every := time.Second * time.Duration(m.keep+m.single) / time.Duration(m.rate)
	for i := range m.keep + m.single {
		c := &loadClient{load: l, number: i, keep: i < m.keep}
		l.all.Go(func() { c.run(every) })
	}
	t.Cleanup(func() { l.finish() })
	return l
}

// finish stops the clients, each after the answer that it waits for, and returns
// all that they know.
func (l *load) finish() []answer {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.all.Wait()
	return l.answers
}

func (l *load) rate() float64 { return float64(l.sent.Load()) / time.Since(l.begun).Seconds() }

type loadClient struct {
	*load
	number int
	keep   bool
	conn   net.Conn
	r      *bufio.Reader
	mine   []answer
}

func (c *loadClient) run(every time.Duration) {
	defer func() {
		c.hangUp()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers = append(c.answers, c.mine...)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-c.stop:
			return
		case <-tick.C:
		}
		a := c.ask(n)
		c.mine = append(c.mine, a)
		if a.fate == away && errors.Is(a.err, syscall.ECONNREFUSED) {
			return // the gateway has gone
		}
	}
}

func (c *loadClient) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// ask sends the client's request number n.
func (c *loadClient) ask(n int) answer {
	a := answer{id: fmt.Sprintf("%s-%d-%d", c.name, c.number, n), method: http.MethodPost, began: time.Now(), fresh: c.conn == nil}
	text := c.request(n, &a)
	last := true
	if a.err = c.connect(); a.err != nil {
		a.fate = away
		if !errors.Is(a.err, syscall.ECONNREFUSED) && !errors.Is(a.err, syscall.ECONNRESET) {
			a.fate = lost
		}
	} else {
		last = c.exchange(text, &a)
	}
	a.ended = time.Now()
	c.sent.Add(1)
	if last {
		c.hangUp()
	}
	return a
}

// request is the text of request n: GET and POST, canary and not, from clients
// with and without a name.
func (c *loadClient) request(n int, a *answer) string {
	body := strings.Repeat("0123456789", n%40)
	if n%3 == 2 {
		a.method, body = http.MethodGet, ""
	}
	a.sent = len(body)
	var b strings.Builder
	fmt.Fprintf(&b, "%s /v1/orders/%s HTTP/1.1\r\nHost: api.example.com\r\n", a.method, a.id)
	switch n % 4 {
	case 0:
		a.canary = "always"
	case 1:
		a.canary = "never"
	case 2:
		fmt.Fprintf(&b, "X-User: %d\r\n", n)
	}
	if a.canary != "" {
		fmt.Fprintf(&b, "X-Canary: %s\r\n", a.canary)
	}
	if a.method == http.MethodPost {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	if !c.keep {
		b.WriteString("Connection: close\r\n")
	}
	return b.String() + "\r\n" + body
}

func (c *loadClient) connect() (err error) {
	if c.conn != nil {
		return nil
	}
	if c.conn, err = net.DialTimeout("tcp", c.addr, patience); err != nil {
		c.conn = nil
		return err
	}
	c.dials.Add(1)
	c.r = bufio.NewReader(c.conn)
	return nil
}

// exchange sends text, in one segment so that the gateway reads all of it or
// nothing, and reads the answer. last says that the connection is of no more use.
func (c *loadClient) exchange(text string, a *answer) (last bool) {
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c.conn, text)
	if err == nil {
		_, err = c.r.Peek(1)
	}
	if err != nil {
		a.err, a.fate = fmt.Errorf("no answer: %w", err), lost
		if unread(c.conn, err) {
			a.fate = away
		}
		return true
	}
	resp, err := http.ReadResponse(c.r, &http.Request{Method: a.method})
	if err != nil {
		a.err, a.fate = fmt.Errorf("head of the answer: %w", err), lost
		return true
	}
	body, err := io.ReadAll(resp.Body)
	a.status, a.arm, a.got = resp.StatusCode, resp.Header.Get("X-Arm"), len(body)
	if err == nil {
		err = a.understand(string(body))
	}
	if err != nil {
		a.err, a.fate = fmt.Errorf("answer %d: %w", a.status, err), lost
	}
	if !c.keep { // the gateway closes first, so that no port of a client is kept in TIME_WAIT
		_, _ = c.r.Peek(1)
		return true
	}
	return err != nil || resp.Close
}

// understand checks that an answer of the service is the one to this request.
func (a *answer) understand(body string) error {
	if a.status != http.StatusOK {
		var problem struct{ Reason string }
		a.err = fmt.Errorf("status %d: %s", a.status, strings.TrimSpace(body))
		err := json.Unmarshal([]byte(body), &problem)
		a.reason = problem.Reason
		return err
	}
	name, rest, _ := strings.Cut(body, " ")
	id, echoed, _ := strings.Cut(rest, " ")
	arm, _, _ := strings.Cut(name, "-")
	a.backend = name
	switch {
	case id != a.id:
		return fmt.Errorf("is that of %q", id)
	case len(echoed) != a.sent:
		return fmt.Errorf("%d bytes of %d came back", len(echoed), a.sent)
	case arm != a.arm:
		return fmt.Errorf("arm %q was answered by %s", a.arm, name)
	}
	return nil
}

// unread says whether a connection that ended without an answer was closed
// before the request on it was read. The kernel of whoever closes a connection
// answers unread or later bytes with a reset; if all was read, there is only the
// end, after which one may still write.
func unread(c net.Conn, err error) bool {
	if !errors.Is(err, io.EOF) {
		return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
	<-time.After(50 * time.Millisecond) // the end may have overtaken the reset
	_, err = io.WriteString(c, "\r\n")
	return err != nil
}
