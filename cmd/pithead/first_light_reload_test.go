package main

import (
	"bufio"
	"context"
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

	"github.com/coder/websocket"
)

// staticOrders is the same service without Consul: two stable instances and a
// canary at fixed addresses.
type staticOrders struct {
	*gatewayUnderLoad

	instances []*instance
	lameDuck  string
}

func startStatic(t *testing.T, lameDuck string) *staticOrders {
	s := &staticOrders{lameDuck: lameDuck}
	for _, name := range []string{"stable-1", "stable-2", "canary-1"} {
		s.instances = append(s.instances, startInstance(t, name))
	}
	s.gatewayUnderLoad = newGateway(t, "")
	s.save("pithead.yaml", s.process(listenerText(0)))
	s.save("routes.d/orders.yaml", s.routes(0))
	s.run()
	return s
}

// process is the text of the process file.
func (s *staticOrders) process(more string) string {
	return strings.Replace(s.gatewayUnderLoad.process(more), "lame_duck: 500ms", "lame_duck: "+s.lameDuck, 1)
}

// listenerText is the listener in variant n: a change makes the gateway serve
// the same socket with another http.Server.
func listenerText(n int) string {
	return fmt.Sprintf("listeners: {web: {address: ADDRESS, timeouts: {header: %ds}}}\n", 10+n%2)
}

// routes is the route file in variant n. Each has other weights; some have
// other timeouts, another route or one instance less, and so take other parts
// of the gateway along.
func (s *staticOrders) routes(n int) string {
	second, response, more := fmt.Sprintf(", {address: %q, tags: [stable]}", s.instances[1].addr), 30, ""
	switch n % 10 {
	case 3:
		second = ""
	case 5:
		response = 20 + n%3
	case 7:
		more = fmt.Sprintf("  - {name: more, match: {prefix: /more/%d}, to: orders}\n", n)
	}
	return fmt.Sprintf(`upstreams:
  orders:
    discover: {static: {targets: [{address: %q, tags: [stable]}%s, {address: %q, tags: [canary]}]}}
    balance: least_request
    timeouts: {response: %ds}
    arms: {stable: {tag: stable}, canary: {tag: canary}}
routes:
  - name: orders
    match: {host: api.example.com, path: "/v1/{what}/{id}", methods: [GET, POST]}
    use: [{canary: {header: x-canary, split: {stable: %d, canary: %d}, response_header: x-arm}}]
    to: orders
%s`, s.instances[0].addr, second, s.instances[2].addr, response, 100-n%50, 1+n%50, more)
}

// letGo ends what is held.
func (s *staticOrders) letGo() {
	for _, in := range s.instances {
		in.letGo()
	}
}

// seen counts the requests that reached an instance.
func (s *staticOrders) seen() (n int) {
	for _, in := range s.instances {
		all, _ := in.requests()
		n += all
	}
	return n
}

// followStream reads a stream of events until the instance ends it; wait checks
// that it was whole.
func (s *staticOrders) followStream() (wait func()) {
	c := s.dial()
	if _, err := io.WriteString(c, "GET /v1/stream/long HTTP/1.1\r\nHost: api.example.com\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	var events int
	var err error
	var reading sync.WaitGroup
	reading.Go(func() { events, err = readEvents(c) })
	s.until("the stream under way", func() bool {
		return s.instances[0].saw("long") || s.instances[1].saw("long") || s.instances[2].saw("long")
	})
	return func() {
		s.t.Helper()
		reading.Wait()
		s.t.Logf("%d events", events)
		if err != nil {
			s.t.Errorf("the stream ended after %d events: %v", events, err)
		}
	}
}

func (s *staticOrders) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func readEvents(c net.Conn) (events int, err error) {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", resp.Status)
	}
	ended := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == "":
		case ended:
			return events, fmt.Errorf("%q after the end", text)
		case text == "data: end":
			ended = true
		default:
			events++
			if text != fmt.Sprintf("data: %d", events) {
				return events, fmt.Errorf("%q is event %d", text, events)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return events, err
	}
	if !ended {
		return events, io.ErrUnexpectedEOF
	}
	return events, nil
}

// talk says something every now and then on a WebSocket until hangUp, which
// checks that everything came back and that the other side bids farewell.
func (s *staticOrders) talk() (said func() int64, hangUp func()) {
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(cancel)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c, _, err := websocket.Dial(ctx, "ws://"+s.addr+"/v1/socket/talk", &websocket.DialOptions{HTTPClient: client, Host: "api.example.com"})
	if err != nil {
		s.t.Fatal(err)
	}
	var echoes atomic.Int64
	stop := make(chan struct{})
	var talking sync.WaitGroup
	talking.Go(func() {
		defer c.CloseNow()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-stop:
				if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
					s.t.Errorf("close of the WebSocket: %v", err)
				}
				return
			case <-ctx.Done():
				return
			}
			text := fmt.Sprint(n)
			if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
				s.t.Errorf("WebSocket after %d messages: %v", n, err)
				return
			}
			if _, back, err := c.Read(ctx); err != nil || string(back) != text {
				s.t.Errorf("WebSocket: message %d came back as %q: %v", n, back, err)
				return
			}
			echoes.Add(1)
		}
	})
	return echoes.Load, func() {
		close(stop)
		talking.Wait()
		s.t.Logf("%d messages", echoes.Load())
	}
}

// TestReloadsUnderLoad: 200 reloads by every way there is lose no request, no
// event of a stream and no message of a WebSocket.
func TestReloadsUnderLoad(t *testing.T) {
	const reloads = 200
	s := startStatic(t, "10s") // in which each client comes back, however slow it is
	wait := s.followStream()
	_, hangUp := s.talk()
	load := startLoad(t, s.addr, "reload", mix{rate: 1000, keep: 12, single: 6})
	for n := 1; n <= reloads; n++ {
		s.reload(n)
	}
	answers := load.finish()
	rate := load.rate()
	hangUp()
	s.letGo()
	wait()
	wantAllWell(t, answers)
	t.Logf("%d requests, %.0f/s", len(answers), rate)

	var m metrics
	s.until("quiet", func() bool { m = s.scrape(); return m.sum("requests_in_flight", "") == 0 })
	m.want(t, "requests_total", `code="200"`, len(answers)+1)
	m.want(t, "requests_total", `code="101"`, 1)
	m.want(t, "requests_total", "", len(answers)+2)
	m.want(t, "request_errors_total", "", 0)
	m.want(t, "reloads_total", `result="failure"`, 0)
	m.want(t, "reloads_total", `result="success"`, m.sum("config_generation", ""))
	if n := m.sum("config_generation", ""); n <= reloads {
		t.Errorf("%d generations after %d reloads", n, reloads)
	}
	for _, trigger := range []string{"file", "admin", "signal"} {
		if n := m.sum("reloads_total", fmt.Sprintf("trigger=%q", trigger)); n < reloads/4 {
			t.Errorf("%d reloads by %s", n, trigger)
		}
	}
	if n := s.seen(); n != len(answers)+2 {
		t.Errorf("the instances had %d requests, the clients have sent %d", n, len(answers)+2)
	}
	s.wantEnd(s.term())
}

// reload number n: by a change of a file that the gateway notices, by SIGHUP, or
// by the admin API right after a change. Each is waited for, because reloads
// that are asked for meanwhile are done together.
func (s *staticOrders) reload(n int) {
	s.t.Helper()
	before := s.generation()
	switch n % 3 {
	case 0:
		s.save("routes.d/orders.yaml", s.routes(n))
	case 1:
		s.signal(syscall.SIGHUP)
	case 2:
		s.save("routes.d/orders.yaml", s.routes(n))
		if n%20 == 2 {
			s.save("pithead.yaml", s.process(listenerText(n/20)))
		}
		if result, err := s.client.Reload(s.t.Context()); err != nil || result.Generation == 0 {
			s.t.Fatalf("reload %d: %+v %v", n, result, err)
		}
		return
	}
	s.until(fmt.Sprintf("reload %d done", n), func() bool { return s.generation() > before })
}

func (s *staticOrders) generation() uint64 {
	s.t.Helper()
	status, err := s.client.Status(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return status.Generation
}

// TestTermUnderLoad: after SIGTERM every request that the gateway has read is
// answered whole, a stream and a WebSocket come to their end, and clients are
// told to go.
func TestTermUnderLoad(t *testing.T) {
	for range 3 {
		s := startStatic(t, "500ms")
		wait := s.followStream()
		said, hangUp := s.talk()
		load := startLoad(t, s.addr, "term", mix{rate: 1000, keep: 12, single: 12})
		s.until("load", func() bool { return load.sent.Load() > 500 })
		begin := s.term()
		s.until("not ready", func() bool { return s.ready() == http.StatusServiceUnavailable })
		s.until("lame", func() bool { return time.Since(begin) > time.Second })
		before := said()
		s.until("the WebSocket still at it", func() bool { return said() > before })
		hangUp()
		s.letGo()
		wait()
		s.wantEnd(begin)
		answers := load.finish()
		s.wantNothingRead(t, answers)
	}
}

// wantNothingRead checks the requests without an answer: nobody has read them.
func (s *staticOrders) wantNothingRead(t *testing.T, answers []answer) {
	t.Helper()
	lines := s.accessLog()
	whole, refused, unread, reused := 0, 0, 0, 0
	for _, a := range answers {
		_, logged := lines[a.id]
		seen := s.instances[0].saw(a.id) || s.instances[1].saw(a.id) || s.instances[2].saw(a.id)
		switch {
		case a.fate == answered && a.status == http.StatusOK && logged && seen:
			whole++
		case a.fate == away && !logged && !seen && errors.Is(a.err, syscall.ECONNREFUSED):
			refused++
		case a.fate == away && !logged && !seen && a.fresh:
			unread++
		case a.fate == away && !logged && !seen:
			reused++
		default:
			t.Errorf("request %s was lost: status %d, %v; logged %t, seen by an instance %t", a.id, a.status, a.err, logged, seen)
		}
	}
	if len(lines) != whole+2 {
		t.Errorf("%d lines in the access log for %d requests, a stream and a WebSocket", len(lines), whole)
	}
	t.Logf("%d answered whole, %d connections refused, %d closed before the first request was read, %d later", whole, refused, unread, reused)
}
