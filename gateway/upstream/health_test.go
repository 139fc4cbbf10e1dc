package upstream

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// patient is an endpoint in memory whose health the test decides.
type patient struct {
	status atomic.Int64 // what checks get; 0 hangs
	mu     sync.Mutex
	asked  []time.Time
	last   http.Header
	uri    string
	host   string
}

func (p *patient) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked, p.last, p.uri, p.host = append(p.asked, time.Now()), r.Header, r.RequestURI, r.Host
	p.mu.Unlock()
	status := int(p.status.Load())
	if status == 0 {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(status)
}

func (p *patient) checks() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// ward makes a cluster in a bubble with one patient for each address.
func ward(t *testing.T, o Options, r *registry, patients map[string]http.Handler) *Cluster {
	t.Helper()
	listeners := make(map[string]*pipeListener)
	var servers []*http.Server
	for addr, p := range patients {
		l := newPipeListener()
		listeners[addr] = l
		s := &http.Server{Handler: p, ReadHeaderTimeout: time.Hour}
		servers = append(servers, s)
		go func() { _ = s.Serve(l) }()
	}
	o.Name, o.Policy, o.Log = "orders", turns, quiet
	o.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return listeners[addr].dial(ctx, network, addr)
	}
	o.Feed = NewFeed("orders", r, quiet)
	c := New(o)
	c.Start()
	t.Cleanup(func() {
		_ = c.Close()
		_ = o.Feed.Close()
		for _, s := range servers {
			_ = s.Close()
		}
		after(10 * time.Second) // for handlers that take their time
	})
	<-c.Filled()
	return c
}

func status(code int) *patient {
	p := new(patient)
	p.status.Store(int64(code))
	return p
}

func TestHealthThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := status(200)
		c := ward(t, Options{Health: &HealthOptions{Path: "/health?deep=1"}}, newRegistry(at("a:1")...), map[string]http.Handler{"a:1": p})
		for began := time.Now(); len(p.checks()) == 0; synctest.Wait() {
			if time.Since(began) > 5*time.Second {
				t.Fatal("no check in the first interval")
			}
			after(100 * time.Millisecond)
		}
		if p.uri != "/health?deep=1" || p.host != "a:1" || p.last.Get("User-Agent") != "pithead" || p.last.Get("Accept-Encoding") != "" {
			t.Errorf("asked %s of %s with %v", p.uri, p.host, p.last)
		}
		// until waits for the state and says how many checks that took.
		until := func(healthy int) int {
			t.Helper()
			before := len(p.checks())
			for range 100 {
				if c.Healthy("") == healthy {
					return len(p.checks()) - before
				}
				after(500 * time.Millisecond)
				synctest.Wait()
			}
			t.Fatalf("never %d healthy", healthy)
			return 0
		}
		p.status.Store(500)
		if n := until(0); n != 3 {
			t.Errorf("out after %d failures, want 3", n)
		}
		if s := c.Endpoints()[0]; s.Healthy || s.Requests != 0 || s.Failures != 0 {
			t.Errorf("%+v: unhealthy, and checks are not requests", s)
		}
		_, err := c.Pick(&gateway.Exchange{})
		wantError(t, err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
		p.status.Store(302)
		if n := until(1); n != 2 {
			t.Errorf("back after %d successes, want 2", n)
		}

		// Failures that are not in a row do not count.
		for range 5 {
			for _, code := range []int64{500, 500, 200} {
				p.status.Store(code)
				for before := len(p.checks()); len(p.checks()) == before; {
					after(time.Second)
					synctest.Wait()
				}
				if c.Healthy("") != 1 {
					t.Fatal("taken out by failures that were not in a row")
				}
			}
		}
		asked := p.checks()
		for i := range len(asked) - 1 {
			if d := asked[i+1].Sub(asked[i]); d < 4500*time.Millisecond || d > 5500*time.Millisecond {
				t.Errorf("%v between two checks, want 5s with a tenth of jitter", d)
			}
		}
	})
}

func TestHealthFailures(t *testing.T) {
	f := func(name string, handler http.HandlerFunc, h HealthOptions, healthy bool) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			h.Path = "/"
			c := ward(t, Options{Health: &h}, newRegistry(at("a:1")...), map[string]http.Handler{"a:1": handler})
			after(time.Minute)
			synctest.Wait()
			if got := c.Healthy("") == 1; got != healthy {
				t.Errorf("healthy: %v", got)
			}
		})
	}
	f("hangs before the head", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, HealthOptions{}, false)
	f("hangs in the answer", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, HealthOptions{}, false)
	f("breaks off", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "x")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, HealthOptions{}, false)
	f("slow, but in time", func(http.ResponseWriter, *http.Request) { after(2 * time.Second) }, HealthOptions{}, true)
	f("an answer without end is not read to the end", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, strings.Repeat("x", 32<<10)); err != nil {
				return
			}
		}
	}, HealthOptions{}, true)
	f("a status that does not count", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, HealthOptions{}, false)
	f("a status that counts here", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, HealthOptions{Statuses: []int{404}}, true)
	f("200 where another is wanted", func(http.ResponseWriter, *http.Request) {}, HealthOptions{Statuses: []int{204}}, false)
	f("a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://elsewhere/", http.StatusFound)
	}, HealthOptions{}, true)
}

func TestHealthOverHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var proto atomic.Value
		c := piped(t, nil, func(o *Options) {
			h2(func(_ http.ResponseWriter, r *http.Request) { proto.Store(r.Proto) })(o)
			o.Health, o.Host = &HealthOptions{Path: "/"}, "orders.internal"
		})
		after(time.Minute)
		if proto.Load() != "HTTP/2.0" || c.Healthy("") != 1 {
			t.Errorf("checked over %v, %d healthy", proto.Load(), c.Healthy(""))
		}
	})
}

func TestEachCheckOpensAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var conns, requests atomic.Int64
		piped(t, func(conn net.Conn) {
			conns.Add(1)
			for br := bufio.NewReader(conn); ; requests.Add(1) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				_, _ = io.WriteString(conn, ok)
			}
		}, func(o *Options) { o.Health = &HealthOptions{Path: "/", Interval: time.Second} }) // shorter than connections are kept
		after(time.Minute)
		if c, r := conns.Load(), requests.Load(); c != r || r < 10 {
			t.Errorf("%d checks over %d connections", r, c)
		}
	})
}

func TestChecksFollowTheSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := status(500), status(200)
		r := newRegistry(gateway.Target{Addr: "a:1", Tags: []string{"canary"}}, gateway.Target{Addr: "b:1", Tags: []string{"stable"}})
		c := ward(t, Options{
			Health: &HealthOptions{Path: "/"}, Subsets: map[string]Selector{"canary": {Tag: "canary"}, "stable": {Tag: "stable"}},
		}, r, map[string]http.Handler{"a:1": a, "b:1": b})
		after(time.Minute)
		synctest.Wait()
		if c.Healthy("") != 1 || c.Healthy("canary") != 0 || c.Healthy("stable") != 1 {
			t.Errorf("healthy: %d, canary %d, stable %d", c.Healthy(""), c.Healthy("canary"), c.Healthy("stable"))
		}
		r.set(at("b:1")...)
		synctest.Wait()
		before := len(a.checks())
		after(time.Minute)
		if got := len(a.checks()); got != before {
			t.Errorf("%d checks of an endpoint that has gone", got-before)
		}
		// It is new when it comes back, and new endpoints are taken to be well.
		r.set(at("a:1", "b:1")...)
		synctest.Wait()
		if c.Healthy("") != 2 {
			t.Errorf("%d healthy after one came back, want 2", c.Healthy(""))
		}
	})
}

func TestReloadKeepsWhatChecksFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := status(500)
		stats := NewStatsStore()
		r := newRegistry(at("a:1")...)
		o := Options{Stats: stats, Health: &HealthOptions{Path: "/"}}
		one := ward(t, o, r, map[string]http.Handler{"a:1": p})
		after(time.Minute)
		synctest.Wait()
		if one.Healthy("") != 0 {
			t.Fatal("still healthy")
		}
		two := ward(t, o, newRegistry(at("a:1")...), map[string]http.Handler{"a:1": p})
		if two.Healthy("") != 0 {
			t.Error("the new generation believes in a dead endpoint")
		}
		unchecked := ward(t, Options{Stats: stats}, newRegistry(at("a:1")...), map[string]http.Handler{"a:1": p})
		if unchecked.Healthy("") != 1 || !unchecked.Endpoints()[0].Healthy {
			t.Error("without checks nobody will ever bring the endpoint back")
		}
		if err := one.Close(); err != nil {
			t.Error(err)
		}
		p.status.Store(200)
		after(time.Minute)
		synctest.Wait()
		if two.Healthy("") != 1 {
			t.Error("the new generation does not notice that the endpoint is back")
		}
	})
}

func TestManyFlipsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		p := status(200)
		addrs := make([]string, n)
		patients := make(map[string]http.Handler)
		for i := range addrs {
			addrs[i] = "10.0.0." + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ":1"
			patients[addrs[i]] = p
		}
		c := ward(t, Options{Health: &HealthOptions{Path: "/"}}, newRegistry(at(addrs...)...), patients)
		p.status.Store(500)
		after(time.Minute)
		synctest.Wait()
		if got := c.Healthy(""); got != 0 {
			t.Errorf("%d healthy, want 0", got)
		}
		p.status.Store(200)
		after(time.Minute)
		synctest.Wait()
		if got := c.Healthy(""); got != n {
			t.Errorf("%d healthy, want %d", got, n)
		}
	})
}
