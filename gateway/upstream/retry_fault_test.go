package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/test/freeport"
)

// volume is how many requests a fault is tried with: all of them only on demand.
func volume(smoke, full int) int {
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		return full
	}
	return smoke
}

// ask sends one request under a policy and takes the whole answer. It is what a
// client sees: the status, 0 for an answer that broke.
func ask(t *testing.T, c *Cluster, method, body string) int {
	t.Helper()
	r, x := request(t, method, nil)
	if body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	}
	x.Retry = policyOf(func(p *gateway.Retry) { p.Budget.Percent, p.BackoffBase = 100, time.Millisecond })
	resp, err := c.RoundTrip(r)
	if err != nil {
		return gateway.AsError(err).Status
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		resp.Body.Close()
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// askAll sends n requests from a few clients at once, and counts those without
// a good answer.
func askAll(t *testing.T, c *Cluster, n int, method, body string) (failed int64) {
	t.Helper()
	var wg sync.WaitGroup
	var bad atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range n / 4 {
				if ask(t, c, method, body) != http.StatusOK {
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return bad.Load()
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

func wantIdle(t *testing.T, c *Cluster) {
	t.Helper()
	for _, e := range c.Endpoints() {
		if e.Active != 0 {
			t.Errorf("%d requests are active at %s", e.Active, e.Addr)
		}
	}
	if n := c.opts.Stats.retries.active.Load(); n != 0 {
		t.Errorf("%d retries are active", n)
	}
}

func TestFault4OneOfThreeRefuses(t *testing.T) {
	t.Attr("wants", "0 failed of 100,000, GET and POST")
	c := start(t, at(serve(t, echo, nil), vacated, serve(t, echo, nil)), nil)
	for _, method := range []string{"GET", "POST"} {
		t.Run("fault 4 "+method, func(t *testing.T) {
			n := volume(400, 50_000)
			failed := askAll(t, c, n, method, map[string]string{"POST": "the whole body"}[method])
			t.Logf("%d failed of %d", failed, n)
			if failed != 0 {
				t.Error("want none")
			}
		})
	}
	wantIdle(t, c)
}

// One of three instances takes the head of a request and resets. What may be
// sent twice never fails; the rest fails where it was in flight, and nowhere else.
func TestFault5OneOfThreeResets(t *testing.T) {
	t.Attr("wants", "0 failed of what may be sent twice; POST fails where it was in flight and nowhere else")
	var broken atomic.Int64
	reset := listen(t, func(conn net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			broken.Add(1)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
	})
	c := start(t, at(serve(t, echo, nil), reset, serve(t, echo, nil)), nil)
	for _, method := range []string{"GET", "PUT"} {
		t.Run("fault 5 "+method, func(t *testing.T) {
			broken.Store(0)
			n := volume(400, 20_000)
			failed := askAll(t, c, n, method, map[string]string{"PUT": "the whole body"}[method])
			t.Logf("%d failed of %d, %d attempts were reset", failed, n, broken.Load())
			if failed != 0 || broken.Load() == 0 {
				t.Errorf("%d failed, %d were reset", failed, broken.Load())
			}
		})
	}
	t.Run("fault 5 POST", func(t *testing.T) {
		broken.Store(0)
		n := volume(400, 20_000)
		failed := askAll(t, c, n, "POST", "the whole body")
		t.Logf("%d failed of %d, %d attempts were reset", failed, n, broken.Load())
		if failed != broken.Load() || failed == 0 {
			t.Errorf("%d failed, %d were reset", failed, broken.Load())
		}
	})
	wantIdle(t, c)
}

// An upstream closes each connection after its answer without a word, so that
// the next request meets one that is closed or about to be.
func TestFault8StaleConnections(t *testing.T) {
	t.Attr("wants", "0 failed of 50,000 that may be sent twice; POST is served once")
	var served atomic.Int64
	once := func(conn net.Conn) {
		br := bufio.NewReader(conn)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		served.Add(1)
		_, _ = io.WriteString(conn, answer(200))
	}
	c := start(t, at(listen(t, once), listen(t, once)), nil)
	t.Run("fault 8 GET", func(t *testing.T) {
		n := volume(1000, 25_000)
		failed := askAll(t, c, n, "GET", "")
		t.Logf("%d failed of %d", failed, n)
		if failed != 0 {
			t.Error("want none")
		}
	})
	t.Run("fault 8 PUT", func(t *testing.T) {
		// With a body, all attempts may meet such a connection if there are no others.
		c := start(t, at(listen(t, once), serve(t, echo, nil)), nil)
		n := volume(1000, 25_000)
		failed := askAll(t, c, n, "PUT", "the whole body")
		t.Logf("%d failed of %d", failed, n)
		if failed != 0 {
			t.Error("want none")
		}
		wantIdle(t, c)
	})
	t.Run("fault 8 POST is served once", func(t *testing.T) {
		served.Store(0)
		n := int64(volume(400, 10_000))
		failed := askAll(t, c, int(n), "POST", "the whole body")
		t.Logf("%d sent, %d failed, %d served", n, failed, served.Load())
		if served.Load() != n-failed {
			t.Errorf("%d sent, %d failed, %d served", n, failed, served.Load())
		}
	})
	wantIdle(t, c)
}

// restarting is a server that can be stopped and started at its address.
type restarting struct {
	t      *testing.T
	addr   string
	server *http.Server
	served chan struct{} // gets one for each answer, while there is room
	wg     sync.WaitGroup
}

func (s *restarting) start() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	// Restarts every few milliseconds overtake a request that is sent elsewhere.
	s.served = make(chan struct{}, volume(20, 5000))
	served := s.served
	s.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		echo(w, r)
		select {
		case served <- struct{}{}:
		default:
		}
	})}
	server := s.server
	s.wg.Go(func() { _ = server.Serve(l) })
}

func (s *restarting) stop(ctx context.Context) {
	if err := s.server.Shutdown(ctx); err != nil {
		s.t.Error(err)
	}
	s.wg.Wait()
}

// startRestarting starts five of them, and stops them when the test is over.
func startRestarting(t *testing.T) (servers []*restarting, addrs []string) {
	for range 5 {
		port, release, err := freeport.Take() // nobody else may have it between two starts
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		s := &restarting{t: t, addr: "127.0.0.1:" + strconv.Itoa(port)}
		s.start()
		servers, addrs = append(servers, s), append(addrs, s.addr)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.stop(context.WithoutCancel(t.Context()))
		}
	})
	return servers, addrs
}

// patrons are clients that send one request after the other. Restarts that come so fast
// that a slow client meets all of them in one request are none that anybody makes, so
// the next one waits for everybody.
type patrons struct {
	turns   []chan struct{} // of each client, which offers one after each request
	over    chan struct{}
	clients sync.WaitGroup
	sent    atomic.Int64
	failed  atomic.Int64
}

func startPatrons(clients int, ask func(client int) (status int)) *patrons {
	p := &patrons{over: make(chan struct{})}
	for i := range clients {
		turn := make(chan struct{})
		p.turns = append(p.turns, turn)
		p.clients.Go(func() {
			for {
				select {
				case <-p.over:
					return
				case turn <- struct{}{}:
				default:
				}
				p.sent.Add(1)
				if ask(i) != http.StatusOK {
					p.failed.Add(1)
				}
			}
		})
	}
	return p
}

// everybody waits until each client has begun and ended a request.
func (p *patrons) everybody() {
	for _, turn := range p.turns {
		<-turn // at the end of one that had begun before
		<-turn
	}
}

func (p *patrons) finish() {
	close(p.over)
	p.clients.Wait()
}

// Five instances are stopped and started one after the other, without anybody
// telling the gateway. The idle connections that a stopping instance closes, and
// its refusals, are all that the gateway gets to know.
func TestFault12RollingRestart(t *testing.T) {
	t.Attr("wants", "0 failed of 200,000")
	servers, addrs := startRestarting(t)
	c := start(t, at(addrs...), nil)
	p := startPatrons(4, func(client int) int {
		if client%2 == 0 {
			return ask(t, c, "PUT", "the whole body")
		}
		return ask(t, c, "GET", "")
	})
	for round := 0; round == 0 || p.sent.Load() < int64(volume(0, 200_000)); round++ {
		for _, s := range servers {
			for range cap(s.served) { // it has its share of the load
				<-s.served
			}
			s.stop(t.Context())
			s.start()
			p.everybody()
		}
	}
	p.finish()
	t.Logf("%d of %d failed, retries %s", p.failed.Load(), p.sent.Load(), counts(c))
	if p.failed.Load() != 0 || p.sent.Load() < 100 {
		t.Error("want none, of many")
	}
	wantIdle(t, c)
}
