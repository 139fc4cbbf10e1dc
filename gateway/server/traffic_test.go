package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// traffic are clients at a fixed rate that keep their connections and take the
// time of each request. They share the processors with the gateway, so they do no
// more than they must, and they send nothing twice: a connection that the gateway
// closes without having said so is a failure.
type traffic struct {
	addr, request string
	check         func(*http.Response, string) error

	stop    chan struct{}
	asking  sync.RWMutex            // held by clients for a request, and by who wants that there are none
	callers [trafficClients]*caller // the connection of each client, nil for none
	all     sync.WaitGroup
	done    atomic.Int64
	failed  atomic.Int64
	first   atomic.Pointer[error]

	mu    sync.Mutex
	times []time.Duration
	since time.Time // of the first of times
}

// trafficClients is how many there are.
const trafficClients = 64

func startTraffic(addr, path string, rate int, check func(*http.Response, string) error) *traffic {
	tr := &traffic{addr: addr, check: check, stop: make(chan struct{}), since: time.Now()}
	tr.request = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1\r\n\r\nx", path, addr)
	pause := time.Second / time.Duration(rate)
	for i := range trafficClients {
		tr.all.Go(func() { tr.client(&tr.callers[i], time.Duration(i)*pause, trafficClients*pause) })
	}
	return tr
}

// client begins after a while, so that requests come one by one: in a crowd they
// would wait for one another, and nothing else would show.
func (tr *traffic) client(c **caller, after, every time.Duration) {
	select {
	case <-time.After(after):
	case <-tr.stop:
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	defer func() { (*c).close() }()
	for {
		select {
		case <-tick.C:
		case <-tr.stop:
			return
		}
		tr.asking.RLock()
		*c = tr.ask(*c)
		tr.asking.RUnlock()
	}
}

// hangUp closes all connections. The caller holds asking.
func (tr *traffic) hangUp() {
	for i, c := range tr.callers {
		c.close()
		tr.callers[i] = nil
	}
}

// ask sends a request over a connection, or a new one if there is none, and
// returns it if it can be used again.
func (tr *traffic) ask(c *caller) *caller {
	begin := time.Now()
	if c == nil {
		var err error
		if c, err = call(tr.addr); err != nil {
			tr.note(0, err)
			return nil
		}
	}
	last, err := c.ask(tr.request, tr.check)
	tr.note(time.Since(begin), err)
	if last || err != nil {
		c.close()
		return nil
	}
	return c
}

// caller is one connection.
type caller struct {
	net.Conn
	answers *bufio.Reader
}

func call(addr string) (*caller, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &caller{c, bufio.NewReader(c)}, nil
}

func (c *caller) close() {
	if c != nil {
		_ = c.Close()
	}
}

func (c *caller) ask(request string, check func(*http.Response, string) error) (last bool, err error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		return true, err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return true, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return true, err
	}
	if resp.StatusCode != http.StatusOK {
		return true, fmt.Errorf("%s: %s", resp.Status, body)
	}
	return resp.Close, check(resp, string(body))
}

func (tr *traffic) note(took time.Duration, err error) {
	tr.done.Add(1)
	if err != nil {
		tr.failed.Add(1)
		tr.first.CompareAndSwap(nil, &err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.times = append(tr.times, took)
}

// lap is the p99 and the number a second of the requests since the last lap.
func (tr *traffic) lap() (p99 time.Duration, rate float64) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	times, begun := tr.times, tr.since
	tr.times, tr.since = nil, time.Now()
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	return times[len(times)*99/100], float64(len(times)) / time.Since(begun).Seconds()
}

func (tr *traffic) finish(t *testing.T) {
	t.Helper()
	close(tr.stop)
	tr.all.Wait()
	if n := tr.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed, the first: %v", n, tr.done.Load(), *tr.first.Load())
	}
}
