package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// instance is a backend under load. It remembers every request that reached it,
// by the last segment of the path, which is the request's id. The first segment
// says what it does:
//
//	orders   answers after workTime with its name, the id and the body
//	slow     the same after letGo
//	stream   server-sent events, numbered, until letGo
//	socket   a WebSocket that sends back what comes
//	healthz  200
type instance struct {
	name   string // ARM-NUMBER
	addr   string
	server *http.Server
	let    chan struct{}
	letGo  func()

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	seen   map[string]int // requests by id
	open   map[string]bool
	first  time.Time
	last   time.Time
	leaked int // requests that still had the canary header
}

func startInstance(t *testing.T, name string) *instance {
	t.Helper()
	l, err := net.Listen("tcp", freeAddress())
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{
		name: name, addr: l.Addr().String(), let: make(chan struct{}),
		conns: make(map[net.Conn]struct{}), seen: make(map[string]int), open: make(map[string]bool),
	}
	in.letGo = sync.OnceFunc(func() { close(in.let) })
	in.server = &http.Server{Handler: in, ReadHeaderTimeout: patience, ConnState: in.track}
	var served sync.WaitGroup
	served.Go(func() { _ = in.server.Serve(l) }) // ends with stop or crash
	t.Cleanup(func() {
		_ = in.server.Close() // nobody waits for its answers any more
		served.Wait()
	})
	return in
}

func (in *instance) track(c net.Conn, state http.ConnState) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch state {
	case http.StateNew:
		in.conns[c] = struct{}{}
	case http.StateHijacked, http.StateClosed:
		delete(in.conns, c)
	default:
	}
}

// stop ends the instance as an operator does, when nobody sends it anything more.
func (in *instance) stop(ctx context.Context) error { return in.server.Shutdown(ctx) }

// crash ends it as the kernel ends a killed process: with resets, in the middle
// of whatever was going on. It returns the requests that were under way.
func (in *instance) crash() (underWay map[string]bool) {
	in.mu.Lock()
	underWay = maps.Clone(in.open)
	for c := range in.conns {
		_ = c.(*net.TCPConn).SetLinger(0) // fails only on a closed connection
	}
	in.mu.Unlock()
	_ = in.server.Close() // the listener first
	return underWay
}

func (in *instance) enter(r *http.Request, id string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last = time.Now()
	if in.first.IsZero() {
		in.first = in.last
	}
	in.seen[id]++
	in.open[id] = true
	if r.Header.Get("X-Canary") != "" {
		in.leaked++
	}
}

func (in *instance) leave(id string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.open, id)
}

// requests is how many there were, and how many of them came with an id that
// was there before.
func (in *instance) requests() (all, twice int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, n := range in.seen {
		all += n
		twice += n - 1
	}
	return all, twice
}

func (in *instance) saw(id string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.seen[id] > 0
}

// times are those of the first and the last request so far.
func (in *instance) times() (first, last time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.first, in.last
}

func (in *instance) idle() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.open) == 0
}

// workTime is how long an answer takes, so that something is always under way.
const workTime = 2 * time.Millisecond

// ServeHTTP implements http.Handler.
func (in *instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		return
	}
	what, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	in.enter(r, id)
	defer in.leave(id)
	switch what {
	case "orders":
		<-time.After(workTime)
	case "stream":
		in.stream(w, r)
		return
	case "socket":
		echoWebSocket(w, r)
		return
	case "slow":
		select {
		case <-in.let:
		case <-r.Context().Done():
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // whoever sent half a body gets no answer
	}
	fmt.Fprintf(w, "%s %s %s", in.name, id, body)
}

// streamEvery is the pause between two events.
const streamEvery = 20 * time.Millisecond

func (in *instance) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "data: %d\n\n", n)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick.C:
		case <-in.let:
			_, _ = io.WriteString(w, "data: end\n\n")
			return
		case <-r.Context().Done():
			return
		}
	}
}
