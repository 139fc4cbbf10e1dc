package build

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// front serves a snapshot as the server does: it makes the exchange, and ends it.
type front struct {
	*httptest.Server
	p         *process
	snap      atomic.Pointer[Snapshot]
	exchanges chan *gateway.Exchange
}

func (p *process) serve(snap *Snapshot, listener string) *front {
	f := &front{p: p, exchanges: make(chan *gateway.Exchange, 100)}
	f.snap.Store(snap)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{ID: "test", Start: time.Now(), Listener: listener, Client: netip.MustParseAddr("192.0.2.1")}
		r = gateway.WithExchange(r, x)
		defer func() {
			if v := recover(); v != nil {
				gateway.Fail(w, r, fmt.Errorf("panic: %v", v))
			}
			route := p.Metrics.Route(x.Route)
			if x.Route == "" {
				route.Begin()
			}
			route.End(x, r.Method, time.Now())
			f.exchanges <- x
		}()
		f.snap.Load().ServeHTTP(w, r)
	}))
	p.t.Cleanup(f.Close)
	return f
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
	closes bool // the connection ends with it
	x      *gateway.Exchange
}

// ask sends "METHOD target", then header lines, then after an empty line the body.
func (f *front) ask(t *testing.T, text string) answer {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	first, rest, _ := strings.Cut(head, "\n")
	method, target, _ := strings.Cut(first, " ")
	raw := method + " " + target + " HTTP/1.1\r\nHost: api.example.com\r\n"
	for line := range strings.SplitSeq(rest, "\n") {
		if line != "" {
			raw += line + "\r\n"
		}
	}
	if body != "" && !strings.Contains(rest, "Transfer-Encoding") {
		raw += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	conn, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, raw+"\r\n"+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got), resp.Close, <-f.exchanges}
}

// backend is an upstream that tells what it got.
func backend(t *testing.T, name string) (addr string, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s %s %d owned=%s", name, r.Method, r.RequestURI, n, r.Header.Get("X-Owned"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), hits
}

func wantReason(t *testing.T, a answer, status int, reason string) {
	t.Helper()
	got := ""
	if a.x.Err != nil {
		got = a.x.Err.Reason
	}
	if a.status != status || got != reason {
		t.Errorf("got %d %q, want %d %q: %s", a.status, got, status, reason, a.body)
	}
}

func (p *process) wantIdle(t *testing.T, routes ...string) {
	t.Helper()
	text := metricsText(t, p.Metrics)
	for _, name := range routes {
		if want := fmt.Sprintf("pithead_requests_in_flight{route=%q} 0\n", name); !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestServe(t *testing.T) {
	p := newProcess(t)
	a, _ := backend(t, "a")
	b, _ := backend(t, "b")
	snap := p.start(lines(
		`listeners:`,
		`  web: {address: ":1"}`,
		`  narrow: {address: ":2", limits: {query_params: 2, cookies: 1, target: 300B, header_fields: 8}}`,
		`upstreams:`,
		`  a: {discover: {static: {targets: ["`+a+`"]}}}`,
		`  b: {discover: {static: {targets: [{address: "`+b+`", tags: [x]}]}}, arms: {x: {tag: x}, other: {tag: none}}}`,
		`middleware: {outer: {probe: {name: outer}}}`,
		`routes:`,
		`  - name: a`,
		`    match: {prefix: /a}`,
		`    use: [outer, {probe: {name: inner, owns: [X-Owned]}}]`,
		`    to: a`,
		`    allow_encoded: [slash]`,
		`  - {name: b, match: {path: "/b/{id}"}, to: b, use: [{canary: {stable: x, canary: other}}]}`,
		`  - {name: broken, match: {prefix: /broken}, to: b, use: [{probe: {panic: true}}]}`,
	))
	web, narrow, gone := p.serve(snap, "web"), p.serve(snap, "narrow"), p.serve(snap, "renamed")

	t.Run("the exchange tells where the request went", func(t *testing.T) {
		got := web.ask(t, "GET /b/7?q=1")
		if got.status != 200 || got.body != "b GET /b/7?q=1 0 owned=" {
			t.Fatalf("got %d %s", got.status, got.body)
		}
		x := got.x
		type fields struct{ Route, Upstream, Arm, Subset, Scheme, Endpoint, Cluster string }
		want := fields{"b", "b", "x", "x", "http", b, "b"}
		if diff := cmp.Diff(want, fields{x.Route, x.Upstream, x.Arm, x.Subset, x.Scheme, x.Endpoint.Addr, x.Cluster.Name()}); diff != "" {
			t.Error(diff)
		}
		if x.Attempts != 1 || x.Err != nil || x.UpstreamStart.Before(x.Start) || x.UpstreamEnd.Before(x.UpstreamHeaders) {
			t.Errorf("the exchange is %+v", x)
		}
	})
	t.Run("the chain runs as written", func(t *testing.T) {
		if got := web.ask(t, "GET /a"); strings.Join(got.header["X-Probe"], " ") != "outer inner" {
			t.Errorf("ran %q", got.header["X-Probe"])
		}
	})
	t.Run("no route", func(t *testing.T) {
		got := web.ask(t, "GET /nowhere")
		wantReason(t, got, 404, "no_route")
		if got.x.Route != "" || got.x.Upstream != "" {
			t.Errorf("the exchange is %+v", got.x)
		}
	})
	t.Run("refused before the match", func(t *testing.T) {
		wantReason(t, web.ask(t, "GET /a/%00"), 400, "bad_path")
	})
	t.Run("an encoded slash is the route's own matter", func(t *testing.T) {
		if got := web.ask(t, "GET /a/x%2Fy"); got.status != 200 || got.body != "a GET /a/x%2Fy 0 owned=" {
			t.Errorf("got %d %s", got.status, got.body)
		}
		got := web.ask(t, "GET /b/x%2Fy")
		wantReason(t, got, 400, "path_encoded")
		if got.x.Route != "b" {
			t.Errorf("it counts for the route %q", got.x.Route)
		}
	})
	t.Run("CVE-2026-33433: what a middleware of one route owns is stripped on all", func(t *testing.T) {
		for _, path := range []string{"/a", "/b/7"} {
			if got := web.ask(t, "GET "+path+"\nX-Owned: forged"); !strings.HasSuffix(got.body, " owned=") {
				t.Errorf("it passed: %s", got.body)
			}
			wantReason(t, web.ask(t, "GET "+path+"\nX_Owned: forged"), 400, "header_alias")
		}
	})
	t.Run("each listener has limits of its own", func(t *testing.T) {
		f := func(text string, status int, reason string) {
			t.Helper()
			if got := web.ask(t, text); got.status != 200 {
				t.Errorf("the wide one answers %d %s", got.status, got.body)
			}
			wantReason(t, narrow.ask(t, text), status, reason)
		}
		f("GET /a?1&2&3", 400, "query_params")
		f("GET /a\nCookie: a=1; b=2", 431, "cookies")
		f("GET /a/"+strings.Repeat("x", 300), 414, "target_too_long")
		f("GET /a"+strings.Repeat("\nX-A: 1", 9), 431, "header_fields")
		if got := narrow.ask(t, "GET /a?1&2\nCookie: a=1"); got.status != 200 {
			t.Errorf("within its limits: %d %s", got.status, got.body)
		}
	})
	t.Run("a connection outlives its listener", func(t *testing.T) {
		if got := gone.ask(t, "GET /a?1&2&3"); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
		wantReason(t, gone.ask(t, "GET /a/%00"), 400, "bad_path")
	})
	t.Run("a panic ends the count too", func(t *testing.T) {
		wantReason(t, web.ask(t, "GET /broken"), 500, "internal")
	})
	p.wantIdle(t, "a", "b", "broken", "none")
}

// TRACE passes where a route names it, and nowhere else.
func TestTrace(t *testing.T) {
	p := newProcess(t)
	addr, _ := backend(t, "a")
	up := `upstreams: {a: {discover: {static: {targets: ["` + addr + `"]}}}}` + "\n"
	f := func(routes, path string, status int, reason string) {
		t.Helper()
		snap := p.start(up + routes)
		wantReason(t, p.serve(snap, "web").ask(t, "TRACE "+path), status, reason)
	}
	f("routes: [{match: {prefix: /}, to: a}]\n", "/", 405, "method_not_allowed")
	named := "routes: [{match: {path: /t, methods: [TRACE]}, to: a}, {match: {prefix: /}, to: a}]\n"
	f(named, "/t", 200, "")
	f(named, "/u", 404, "no_route")
	f("routes: [{match: {prefix: /}, to: a}]\n", "/", 405, "method_not_allowed")
}

// A middleware may look for any upstream when it is built, also for some that are not there.
func TestUpstreamsAreFoundByMiddlewares(t *testing.T) {
	p := newProcess(t)
	addr, _ := backend(t, "a")
	snap := p.start(lines(`upstreams: {a: {discover: {static: {targets: ["`+addr+`"]}}}, b: {discover: {static: {targets: ["`+addr+`"]}}}}`,
		`routes: [{name: r, match: {prefix: /}, to: a, use: [{probe: {try: b}}, {probe: {try: nobody}}]}]`))
	wantReady(t, "with upstreams that are asked for", snap)
	web := p.serve(snap, "web")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got := web.ask(t, "GET /"); got.status != 200 || strings.Join(got.header["X-Found"], " ") != "b" {
				t.Errorf("got %d, found %q", got.status, got.header["X-Found"])
			}
		})
	}
	all.Wait()
	p.wantIdle(t, "r")
}

// A request finishes on the snapshot that it began with, also when that has
// been closed meanwhile.
func TestRequestsOutliveTheirSnapshot(t *testing.T) {
	p := newProcess(t)
	arrived, proceed := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-proceed
		fmt.Fprint(w, "whole")
	}))
	defer s.Close()
	text := func(note string) string {
		return lines(`upstreams: {a: {discover: {static: {targets: ["`+s.Listener.Addr().String()+`"]}}}}`,
			`routes: [{name: r, match: {prefix: /}, to: a`+note+`}]`)
	}
	old := p.start(text(""))
	f := p.serve(old, "web")
	answers := make(chan answer)
	go func() { answers <- f.ask(t, "GET /") }()
	<-arrived
	if got := metricsText(t, p.Metrics); !strings.Contains(got, `pithead_requests_in_flight{route="r"} 1`) {
		t.Error("the request is not counted")
	}
	f.snap.Store(p.start(strings.Replace(text(", timeout: 1s"), "{a: {", "{a: {max_idle: 1, ", 1)))
	p.close(old)
	close(proceed)
	if got := <-answers; got.status != 200 || got.body != "whole" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	p.wantIdle(t, "r")
}

func TestBodyLimit(t *testing.T) {
	p := newProcess(t)
	addr, hits := backend(t, "a")
	snap := p.start(lines(`upstreams: {a: {discover: {static: {targets: ["`+addr+`"]}}}}`,
		`routes: [{name: r, match: {prefix: /}, to: a, body_limit: 10B}]`))
	web := p.serve(snap, "web")
	chunked := func(body string) string {
		return fmt.Sprintf("Transfer-Encoding: chunked\n\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	}
	ten, eleven := "0123456789", "0123456789A"
	f := func(name, text string, status int, reason string, reached bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			before := hits.Load()
			got := web.ask(t, text)
			wantReason(t, got, status, reason)
			if (hits.Load() > before) != reached {
				t.Errorf("the upstream was reached: %t", !reached)
			}
			if reason != "" && !got.closes {
				t.Error("the connection stays open, with the rest of the body in it")
			}
		})
	}
	f("at the limit", "POST /\n\n"+ten, 200, "", true)
	f("over it, before a byte goes upstream", "POST /\n\n"+eleven, 413, "body_too_large", false)
	f("F: chunked at the limit", "POST /\n"+chunked(ten), 200, "", true)
	f("over it after an Accept of events", "POST /\nAccept: text/event-stream\n\n"+eleven, 413, "body_too_large", false)
	f("over it after an Upgrade", "POST /\nUpgrade: websocket\n\n"+eleven, 413, "body_too_large", false)
	t.Run("chunked over it", func(t *testing.T) {
		wantReason(t, web.ask(t, "POST /\n"+chunked(eleven)), 413, "body_too_large")
	})
	t.Run("chunked over it after an Accept of events", func(t *testing.T) {
		wantReason(t, web.ask(t, "POST /\nAccept: text/event-stream\n"+chunked(eleven)), 413, "body_too_large")
	})
	p.wantIdle(t, "r")
}

// The whole way: a service that does not answer in the route's time.
func TestTimeoutOfARoute(t *testing.T) {
	p := newProcess(t)
	ended := make(chan struct{}, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- struct{}{}
	}))
	defer s.Close()
	snap := p.start(lines(`upstreams: {a: {discover: {static: {targets: ["`+s.Listener.Addr().String()+`"]}}}}`,
		`routes: [{name: r, match: {prefix: /}, to: a, timeout: 1s}]`))
	began := time.Now()
	got := p.serve(snap, "web").ask(t, "GET /")
	wantReason(t, got, 504, "timeout")
	if took := time.Since(began); took < time.Second || took > patience/2 {
		t.Errorf("it took %s", took)
	}
	if got.x.Err != nil && got.x.Err.Cause != gateway.CauseUpstream {
		t.Errorf("the cause is %s", got.x.Err.Cause)
	}
	<-ended
	if e := snap.clusters["a"].Endpoints()[0]; e.Failures != 1 || e.Active != 0 {
		t.Errorf("the endpoint's numbers are %+v", e)
	}
	p.wantIdle(t, "r")
}

// Finding the route costs nothing that a request would have to be collected for.
func TestRouteAllocations(t *testing.T) {
	if raceEnabled {
		return
	}
	p := newProcess(t)
	snap := p.compile(oneUpstream + "routes: [{match: {path: /v1/orders}, to: a}, {match: {prefix: /}, to: a}]\n")
	r := request(t, "GET", "/v1/orders")
	x := &gateway.Exchange{Client: netip.MustParseAddr("192.0.2.1"), Listener: "web"}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := snap.route(r, x, false); err != nil {
			t.Fatal(errors.Unwrap(err))
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
