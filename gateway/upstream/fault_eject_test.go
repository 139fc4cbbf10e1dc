package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// asConfigured are the rules that a configuration has that says nothing of them.
func asConfigured(o *Options) { o.Outliers = OutlierOptions{Connect: 5, MaxPercent: 50} }

// vacated is an address where nobody listens. A port that was free a moment ago may be
// somebody's by now: tests of other packages run beside these.
const vacated = "127.0.0.1:1"

// Instances that break off their answers: no client may take what it got for
// whole, and each one counts once.
func TestFault1CrashMidBody(t *testing.T) {
	t.Attr("wants", "every client sees the break: 0 of 1,000 take a part for the whole; each counts once")
	for _, how := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		t.Run("fault 1 "+how, func(t *testing.T) {
			crash := listen(t, func(conn net.Conn) {
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					_, _ = io.Copy(io.Discard, r.Body)
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+how+"\r\n\r\n4\r\nhalf\r\n")
				}
			})
			c := start(t, at(crash), asConfigured)
			n := volume(100, 1000)
			whole := 0
			for range n {
				if ask(t, c, "GET", "") != 0 {
					whole++
				}
			}
			t.Logf("%d of %d clients took what they got for an answer", whole, n)
			if whole != 0 {
				t.Error("want none")
			}
			wantStats(t, c, uint64(n), uint64(n))
		})
	}
}

// One of three refuses. No policy of retries is needed for that, nobody notices,
// and it is left alone in less than a second.
func TestFault4IsEjected(t *testing.T) {
	t.Attr("wants", "0 failed of 100,000; ejected after 1 s at most")
	refusing := vacated
	c := start(t, at(serve(t, echo, nil), refusing, serve(t, echo, nil)), asConfigured)
	begun, n := time.Now(), volume(800, 100_000)
	var ejectedAfter atomic.Int64
	var failed atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range n / 4 {
				r, _ := request(t, "GET", nil)
				resp, err := c.RoundTrip(r)
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				if err == nil {
					_, _ = read(t, resp)
				}
				if ejectedAfter.Load() == 0 && c.Healthy("") == 2 {
					ejectedAfter.CompareAndSwap(0, int64(time.Since(begun)))
				}
			}
		})
	}
	clients.Wait()
	took := time.Duration(ejectedAfter.Load())
	if failed.Load() != 0 || took == 0 || took > time.Second {
		t.Errorf("%d of %d failed, ejected after %v", failed.Load(), n, took)
	}
	t.Logf("%d failed of %d, ejected after %v", failed.Load(), n, took)
	wantIdle(t, c)
}

// One of three resets. POST must fail where it was under way, which ends with the
// ejection: after five requests of one client, and of several with those that had
// begun before the endpoint was out. How many these are is the scheduler's affair.
func TestFault5IsEjected(t *testing.T) {
	t.Attr("wants", "POST fails five times for each ejection, and where it was under way")
	reset := listen(t, func(conn net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_ = conn.(*net.TCPConn).SetLinger(0)
	})
	three := func() *Cluster {
		return start(t, at(serve(t, echo, nil), reset, serve(t, echo, nil)), func(o *Options) {
			o.Outliers = OutlierOptions{Gateway: 5, MaxPercent: 50}
		})
	}
	ejections := func(c *Cluster) uint64 { return c.Ejections()["consecutive_gateway_errors"] } // again when it has been let back in
	c := three()
	failed := 0
	for range 60 {
		if ask(t, c, "POST", "the whole body") != http.StatusOK {
			failed++
		}
	}
	if failed != 5 || ejections(c) != 1 {
		t.Errorf("of one client %d requests failed in %d ejections", failed, ejections(c))
	}
	c = three()
	var before, after atomic.Int64 // that failed, by whether the endpoint was out when they began and until they ended
	n := volume(800, 100_000)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range n / 4 {
				times, out := ejections(c), c.Healthy("") == 2
				ok := ask(t, c, "POST", "the whole body") == http.StatusOK
				switch {
				case ok:
				case out && c.Healthy("") == 2 && ejections(c) == times:
					after.Add(1)
				default:
					before.Add(1)
				}
			}
		})
	}
	clients.Wait()
	t.Logf("%d of %d failed in %d ejections", before.Load()+after.Load(), n, ejections(c))
	if times := int64(ejections(c)); after.Load() != 0 || times == 0 || times > 3 || before.Load() < 5*times {
		t.Errorf("want five for each ejection, and those under way; %d had begun when it was out", after.Load())
	}
	wantIdle(t, c)
}

// A service that sends a byte a second is let go at the end of the request's time.
func TestFault7Drips(t *testing.T) {
	t.Attr("wants", "let go at the end of the time of the request")
	bubble(t, "fault 7", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
			for err == nil {
				after(time.Second)
				_, err = io.WriteString(conn, "x")
			}
		}, asConfigured)
		ctx, cancel := context.WithTimeout(t.Context(), 30500*time.Millisecond) // between two bytes
		defer cancel()
		r, _ := requestContext(ctx, t, "GET", nil)
		begun := time.Now()
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := read(t, resp)
		wantError(t, err, http.StatusGatewayTimeout, "timeout", gateway.CauseUpstream)
		if took := time.Since(begun); took != 30500*time.Millisecond || len(body) != 30 {
			t.Errorf("%d bytes in %v", len(body), took)
		}
		after(2 * time.Second)
		synctest.Wait()
		wantStats(t, c, 1, 1)
	})
}

// A client that takes its time is not the service's failure, even if it has the
// last word.
func TestFault7SlowReader(t *testing.T) {
	t.Attr("wants", "a slow client is not the failure of the service")
	bubble(t, "fault 7", func(t *testing.T) {
		c := piped(t, func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
				_, _ = io.Copy(conn, io.LimitReader(zeros{}, 100_000))
			}
		}, asConfigured)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, _ := requestContext(ctx, t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			after(7 * time.Second)
			_, err = resp.Body.Read(make([]byte, 100))
		}
		wantError(t, err, http.StatusGatewayTimeout, "timeout", gateway.CauseClient)
		resp.Body.Close()
		synctest.Wait()
		wantStats(t, c, 1, 0)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Nobody is there any more. Once checks know, the answer is quick and no request
// tries to connect.
func TestFault10AllAreDown(t *testing.T) {
	t.Attr("wants", "503 with Retry-After, no dials by requests")
	bubble(t, "fault 10", func(t *testing.T) {
		w := &wires{hosts: make(map[string]host), dials: make(map[string]int)}
		c := start(t, at("a:1", "b:1", "c:1"), func(o *Options) {
			asConfigured(o)
			o.dial, o.Health = w.dial, &HealthOptions{TCP: true, Interval: 5 * time.Second}
		})
		after(30 * time.Second)
		before := w.dialled("a:1") + w.dialled("b:1") + w.dialled("c:1")
		for range 1000 {
			r, _ := request(t, "GET", nil)
			_, err := c.RoundTrip(r)
			wantError(t, err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
			if gateway.AsError(err).RetryAfter == 0 {
				t.Error("the client is not told when to come again")
			}
		}
		if dials := w.dialled("a:1") + w.dialled("b:1") + w.dialled("c:1") - before; dials != 0 {
			t.Errorf("1000 requests dialled %d times", dials)
		}
		after(time.Minute)
		if dials := w.dialled("a:1") + w.dialled("b:1") + w.dialled("c:1") - before; dials > 3*14 {
			t.Errorf("%d dials in a minute of checks every 5 s", dials)
		}
	})
}

// An instance that was away for a while has its share again ten seconds after it
// is back, without checks.
func TestFault11BackInTenSeconds(t *testing.T) {
	t.Attr("wants", "its whole share 10 s after it is back")
	for _, away := range []time.Duration{time.Second, 10 * time.Second, 10 * time.Minute} {
		bubble(t, fmt.Sprintf("fault 11 after %v", away), func(t *testing.T) {
			c, w := wired(t, 3, OutlierOptions{Connect: 5})
			w.refuse("b:1")
			send(t, c, 50)
			wantOut(t, c, "b:1 consecutive_connect_failures 1")
			after(away)
			w.set("b:1", host{answer: answer(200, "Connection: close")})
			tried := w.dialled("b:1")
			after(10 * time.Second)
			if probes := w.dialled("b:1") - tried; probes != 1 {
				t.Errorf("%d connections were opened to find out that it is back", probes)
			}
			before := c.Endpoints()[1].Requests
			send(t, c, 30)
			if got := c.Endpoints()[1].Requests - before; got != 10 {
				t.Errorf("it has %d of 30 requests", got)
			}
		})
	}
}

// Five instances are restarted one after the other, with the rules of a
// configuration that says nothing: those that are ejected on the way come back.
func TestFault12RollingRestartWithEjection(t *testing.T) {
	t.Attr("wants", "0 failed of 200,000")
	servers, addrs := startRestarting(t)
	c := start(t, at(addrs...), asConfigured)
	p := startPatrons(4, func(int) int { return ask(t, c, "GET", "") })
	step := int64(volume(200, 20_000))
	for range volume(1, 2) {
		for i := range servers {
			servers[i].stop(t.Context())
			down := p.sent.Load()
			for p.sent.Load() < down+step { // it is away for a while
				<-servers[(i+1)%len(servers)].served
			}
			servers[i].start()
			p.everybody()
		}
	}
	p.finish()
	t.Logf("%d of %d failed, %d ejections, retries %s", p.failed.Load(), p.sent.Load(), c.Ejections()["consecutive_connect_failures"], counts(c))
	if p.failed.Load() != 0 || c.Ejections()["consecutive_connect_failures"] == 0 {
		t.Errorf("%d of %d failed, ejections %v", p.failed.Load(), p.sent.Load(), c.Ejections())
	}
	wantIdle(t, c)
}

// five are five instances, of which the last one may be ten times as slow.
type five struct {
	c     *Cluster
	last  string
	mu    sync.Mutex
	took  []time.Duration // of the requests of the others
	there int             // requests of the last one
}

func startFive(t *testing.T, slow int) *five {
	const takes = 5 * time.Millisecond
	var addrs []string
	for i := range 5 {
		d := takes
		if i == 4 {
			d *= time.Duration(slow)
		}
		addrs = append(addrs, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			after(d)
			_, _ = io.WriteString(w, "done")
		}, nil))
	}
	return &five{last: addrs[4], c: start(t, at(addrs...), func(o *Options) {
		o.Outliers = OutlierOptions{Latency: &LatencyOutlierOptions{Factor: 3, Least: 25 * time.Millisecond, MinEndpoints: 3, MinRequests: volume(5, 10)}, MaxPercent: 50}
		o.Outliers.Interval = 250 * time.Millisecond
	})}
}

// load sends n requests from each of eight clients.
func (f *five) load(t *testing.T, n int) {
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range n {
				r, x := request(t, "GET", nil)
				begun := time.Now()
				resp, err := f.c.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = read(t, resp)
				f.mu.Lock()
				if x.Endpoint.Addr == f.last {
					f.there++
				} else {
					f.took = append(f.took, time.Since(begun))
				}
				f.mu.Unlock()
			}
		})
	}
	clients.Wait()
}

func (f *five) p99() time.Duration {
	slices.Sort(f.took)
	return f.took[len(f.took)*99/100]
}

// One of five instances is ten times as slow. It is ejected, and the requests of
// the others do not feel it. Both sets are measured in turns, because the machine
// is not always as fast.
func TestFaultSlowInstance(t *testing.T) {
	t.Attr("wants", "p99 of the requests of the others at most 1.2 times that without a slow one")
	// On a busy machine the others are slow too, and few requests end in an interval.
	well, ill := startFive(t, 1), startFive(t, volume(25, 10))
	turns := volume(1, 20)
	for range turns {
		well.load(t, volume(150, 4000)/turns)
		ill.load(t, volume(150, 4000)/turns)
	}
	if ill.c.Ejections()["latency"] == 0 {
		t.Error("it was not ejected")
	}
	without, beside := well.p99(), ill.p99()
	share := float64(ill.there) / float64(ill.there+len(ill.took))
	t.Logf("p99 of the others %v beside a slow one, %v without (%.2f times); the slow one had %.1f %% of the requests", beside, without, float64(beside)/float64(without), 100*share)
	if share > 0.1 || volume(0, 1) == 1 && float64(beside) > 1.2*float64(without) {
		t.Error("that is too much")
	}
}
