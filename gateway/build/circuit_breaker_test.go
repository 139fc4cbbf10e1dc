package build

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/breaker"
)

// sickly answers as the path of a request says: /500 with that status, /cut breaks
// off the answer after its head, /hang waits for the end of the request, and
// everything else is well.
type sickly struct {
	addr   string
	asked  atomic.Int64
	major  atomic.Int32 // version of HTTP of the last request
	visits sync.Map     // *visit by the query of the request
}

// visit is a request that hangs.
type visit struct {
	arrived   chan struct{}
	cancelled chan time.Time // when the service saw the client leave
}

func (s *sickly) hang(r *http.Request) {
	v, ok := s.visits.Load(r.URL.RawQuery)
	if !ok {
		return
	}
	close(v.(*visit).arrived)
	<-r.Context().Done()
	v.(*visit).cancelled <- time.Now()
}

func newSickly(t *testing.T) *sickly {
	t.Helper()
	s := new(sickly)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.major.Store(int32(r.ProtoMajor))
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
		switch r.URL.Path {
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/404":
			w.WriteHeader(http.StatusNotFound)
		case "/cut", "/cut-chunks":
			if r.URL.Path == "/cut" {
				w.Header().Set("Content-Length", "100")
			}
			_, _ = io.WriteString(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/hang":
			s.hang(r)
		case "/hang-body":
			_, _ = io.WriteString(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
			s.hang(r)
		}
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	s.addr = server.Listener.Addr().String()
	return s
}

// gate serves a snapshot and lets broken exchanges break connections.
type gate struct {
	snap   *Snapshot
	url    string
	client *http.Client
}

func (p *process) gate(snap *Snapshot) *gate {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{ID: "test", Start: time.Now(), Listener: "web", Client: netip.MustParseAddr("192.0.2.1")}
		snap.ServeHTTP(w, gateway.WithExchange(r, x))
	}))
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	p.t.Cleanup(func() { transport.CloseIdleConnections(); s.Close() })
	return &gate{snap, s.URL, &http.Client{Transport: transport}}
}

// get is the status, the reason or the body of an answer, and how it ended.
func (g *gate) get(t *testing.T, path string) (status int, header http.Header, body string, err error) {
	t.Helper()
	res, err := g.client.Get(g.url + path)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

// times asks so often.
func (g *gate) times(t *testing.T, n int, path string) (statuses map[int]int) {
	t.Helper()
	statuses = make(map[int]int)
	for range n {
		status, _, _, _ := g.get(t, path)
		statuses[status]++
	}
	return statuses
}

// breaker is the only one there is.
func (g *gate) breaker(t *testing.T) breaker.Status {
	t.Helper()
	all := g.snap.Breakers().List()
	if len(all) != 1 {
		t.Fatalf("%d breakers: %+v", len(all), all)
	}
	return all[0]
}

func (g *gate) want(t *testing.T, state breaker.State, requests, failures uint64) {
	t.Helper()
	if i := g.breaker(t).Info; i.State != state || i.Requests != requests || i.Failures != failures {
		t.Errorf("%s with %d attempts and %d failures, want %s with %d and %d", i.State, i.Requests, i.Failures, state, requests, failures)
	}
}

const breakerConfig = `
upstreams:
  app: {discover: {static: {targets: [%q]}}}
middleware: {guard: {circuit_breaker: {minimum: 20, window: 10m%s}}}
routes: [{name: all, match: {prefix: /}, use: [guard], to: app}]
`

func TestCircuitOfARoute(t *testing.T) {
	open := func(t *testing.T, more string) (*gate, *sickly) {
		t.Helper()
		p, s := newProcess(t), newSickly(t)
		return p.gate(p.start(fmt.Sprintf(breakerConfig, s.addr, more))), s
	}
	t.Run("opens, and nothing is sent", func(t *testing.T) {
		g, s := open(t, "")
		if got := g.times(t, 20, "/500"); got[500] != 20 {
			t.Fatalf("%v", got)
		}
		g.want(t, breaker.Open, 20, 20)
		status, header, body, err := g.get(t, "/")
		if err != nil || status != 503 || !strings.Contains(body, `"reason":"circuit_open"`) {
			t.Errorf("%d %s %v", status, body, err)
		}
		if after := header.Get("Retry-After"); !slices.Contains([]string{"7", "8", "9", "10"}, after) {
			t.Errorf("Retry-After %q", after)
		}
		if n := s.asked.Load(); n != 20 {
			t.Errorf("the service was asked %d times", n)
		}
		if got := g.breaker(t); got.Name != "guard/app" || got.Info.TotalRefused != 1 {
			t.Errorf("%+v", got)
		}
	})
	t.Run("fault 1 a body that dies late", func(t *testing.T) {
		for _, path := range []string{"/cut", "/cut-chunks"} {
			g, _ := open(t, "")
			for range 20 {
				if status, _, body, err := g.get(t, path); err == nil {
					t.Fatalf("%s: a whole answer of a part: %d %q", path, status, body)
				}
			}
			g.want(t, breaker.Open, 20, 20)
		}
	})
	t.Run("R12 what clients cause", func(t *testing.T) {
		g, _ := open(t, "")
		for range 40 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
		for _, b := range g.snap.Breakers().List() { // there need not be one yet
			if b.Info.Failures != 0 {
				t.Errorf("broken bodies: %+v", b.Info)
			}
		}
		before := g.breaker(t).Info.Requests
		if got := g.times(t, 40, "/404"); got[404] != 40 {
			t.Errorf("%v", got)
		}
		g.want(t, breaker.Closed, before+40, 0)
	})
	t.Run("fault 10 nobody is there", func(t *testing.T) {
		p := newProcess(t)
		g := p.gate(p.start(fmt.Sprintf(breakerConfig, "127.0.0.1:1", "")))
		if got := g.times(t, 30, "/"); got[503] != 30 {
			t.Errorf("%v", got)
		}
		g.want(t, breaker.Open, 20, 20) // the other ten were refused without a dial
	})
	t.Run("an operator", func(t *testing.T) {
		g, s := open(t, "")
		_ = g.times(t, 1, "/")
		if _, err := g.snap.Breakers().Force("guard/app", breaker.ForceOpen); err != nil {
			t.Fatal(err)
		}
		if got := g.times(t, 5, "/"); got[503] != 5 || s.asked.Load() != 1 {
			t.Errorf("%v", got)
		}
		if _, err := g.snap.Breakers().Force("guard/app", breaker.Auto); err != nil {
			t.Fatal(err)
		}
		if got := g.times(t, 5, "/"); got[200] != 5 {
			t.Errorf("%v", got)
		}
		if _, err := g.snap.Breakers().Force("guard/other", breaker.Auto); !errors.Is(err, breaker.ErrUnknown) {
			t.Errorf("%v", err)
		}
	})
	t.Run("recovers", func(t *testing.T) {
		g, _ := open(t, ", open: 2s, max_open: 2s, recovery: 0s, probes: 2")
		_ = g.times(t, 20, "/500")
		if got := g.times(t, 1, "/"); got[503] != 1 {
			t.Errorf("%v", got)
		}
		for late := time.After(patience); g.times(t, 1, "/")[200] != 1; { // the first probe
			select {
			case <-time.After(50 * time.Millisecond):
			case <-late:
				t.Fatal("no probe is let through")
			}
		}
		if got := g.times(t, 1, "/"); got[200] != 1 {
			t.Errorf("probes: %v", got)
		}
		g.want(t, breaker.Closed, 0, 0)
	})
}

// TestCircuitPerEndpoint has one endpoint of three fail.
func TestCircuitPerEndpoint(t *testing.T) {
	p := newProcess(t)
	good, other, bad := newSickly(t), newSickly(t), httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(bad.Close)
	g := p.gate(p.start(fmt.Sprintf(`
upstreams:
  app: {discover: {static: {targets: [%q, %q, %q]}}}
routes:
  - name: all
    match: {prefix: /}
    use: [retry: {backoff: {base: 0s}, budget: {min: 100}}, circuit_breaker: {per: endpoint, consecutive: 5, open: 10m, max_open: 10m}]
    to: app
`, good.addr, other.addr, bad.Listener.Addr().String())))
	if got := g.times(t, 500, "/"); got[200] != 500 {
		t.Errorf("%v, want no failure", got)
	}
	for _, e := range g.snap.Clusters()[0].Endpoints() {
		if e.Addr == bad.Listener.Addr().String() && e.Requests != 5 {
			t.Errorf("the bad endpoint was asked %d times, want 5", e.Requests)
		}
	}
	states := make(map[string]breaker.State)
	for _, s := range g.snap.Breakers().List() {
		states[s.Name] = s.Info.State
	}
	name := "route/all/app/"
	if states[name+bad.Listener.Addr().String()] != breaker.Open || states[name+good.addr] != breaker.Closed || len(states) != 3 {
		t.Errorf("%v", states)
	}
	if text := metricsText(t, p.Metrics); !strings.Contains(text, `pithead_breaker_state{arm="",breaker="route/all/app/`+bad.Listener.Addr().String()+`",endpoint="`+bad.Listener.Addr().String()+`",upstream="app"} 3`) {
		t.Error("the metric does not say so")
	}
}

func TestCircuitFallbacks(t *testing.T) {
	for _, with := range []string{"", "retry, "} {
		p, s, old := newProcess(t), newSickly(t), newSickly(t)
		g := p.gate(p.start(fmt.Sprintf(`
upstreams:
  app: {discover: {static: {targets: [%q]}}}
  old: {discover: {static: {targets: [%q]}}}
routes:
  - {name: up, match: {host: up.test, prefix: /}, use: [%scircuit_breaker: {consecutive: 1, fallback: {upstream: old}}], to: app}
  - {name: fix, match: {host: fix.test, prefix: /}, use: [%scircuit_breaker: {consecutive: 1, fallback: {respond: {status: 203, body: "[]"}}}], to: app}
`, s.addr, old.addr, with, with)))
		post := func(host, path string) (int, string) {
			t.Helper()
			r, _ := http.NewRequestWithContext(t.Context(), "POST", g.url+path, strings.NewReader("the whole body"))
			r.Host = host
			res, err := g.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			return res.StatusCode, string(body)
		}
		for _, host := range []string{"up.test", "fix.test"} {
			if status, _ := post(host, "/500"); status != 500 {
				t.Fatalf("%s: %d", host, status)
			}
		}
		if status, _ := post("up.test", "/404"); status != 404 || old.asked.Load() != 1 {
			t.Errorf("%d from the other upstream, which was asked %d times", status, old.asked.Load())
		}
		if status, body := post("fix.test", "/"); status != 203 || body != "[]" {
			t.Errorf("%d %q", status, body)
		}
		if n := s.asked.Load(); n != 2 {
			t.Errorf("the service was asked %d times", n)
		}
	}
}

// TestCircuitOutlivesAReload changes upstream, thresholds and window under a breaker.
func TestCircuitOutlivesAReload(t *testing.T) {
	p, s := newProcess(t), newSickly(t)
	text := fmt.Sprintf(breakerConfig, s.addr, "")
	g := p.gate(p.start(text))
	_ = g.times(t, 19, "/500")
	text = strings.Replace(text, "app: {", "app: {max_idle: 7, ", 1)
	g = p.gate(p.start(strings.Replace(text, "minimum: 20", "minimum: 21", 1)))
	g.want(t, breaker.Closed, 19, 19)
	_ = g.times(t, 2, "/500")
	g.want(t, breaker.Open, 21, 21)
	g = p.gate(p.start(strings.Replace(text, "10m", "5m, failure_ratio: 0.9", 1)))
	g.want(t, breaker.Open, 0, 0)
	if got := g.times(t, 3, "/"); got[503] != 3 {
		t.Errorf("%v", got)
	}
	g = p.gate(p.start(strings.Replace(text, "10m", "10m, per: route", 1)))
	if got := g.times(t, 1, "/"); got[200] != 1 || g.breaker(t).Name != "guard/all" {
		t.Errorf("%v, %+v", got, g.breaker(t))
	}
	if text := metricsText(t, p.Metrics); strings.Count(text, "\npithead_breaker_state{") != 1 {
		t.Error("metrics of a breaker that is no more")
	}
}

func TestCircuitIsExplained(t *testing.T) {
	p, s := newProcess(t), newSickly(t)
	g := p.gate(p.start(fmt.Sprintf(breakerConfig, s.addr, "")))
	_ = g.times(t, 20, "/500")
	got := explain(t, g.snap, "GET", "http://a.example/").Steps
	if len(got) != 1 || !strings.HasSuffix(got[0], "; then 503 (circuit_open); now open (failure_ratio)") {
		t.Errorf("%q", got)
	}
}
