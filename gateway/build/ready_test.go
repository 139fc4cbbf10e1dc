package build

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func wantReady(t *testing.T, when string, snap *Snapshot, missing ...string) {
	t.Helper()
	if got := snap.Ready(); !slices.Equal(got, missing) {
		t.Errorf("%s: missing %q, want %q", when, got, missing)
	}
}

func TestReady(t *testing.T) {
	p := newProcess(t)
	a, b, unused := newMemory(t, "a"), newMemory(t, "b"), newMemory(t, "unused")
	for _, m := range []*memory{a, b, unused} {
		m.silence()
	}
	const upstreams = `upstreams: {b: {discover: {memory: {id: b}}}, a: {discover: {memory: {id: a}}}, u: {discover: {memory: {id: unused}}}}` + "\n"
	const routes = `routes: [{match: {prefix: /a}, to: a}, {match: {prefix: /b}, to: b}]` + "\n"
	snap := p.compile(upstreams + routes)
	wantReady(t, "before the start", snap, "a", "b", "u")
	snap.Start()
	wantReady(t, "while discovery is silent", snap, "a", "b", "u")
	set := func(m *memory, name string, addrs ...string) {
		t.Helper()
		m.set(addrs...)
		p.eventually("the set of "+name, func() bool {
			c := snap.clusters[name]
			return filled(c) && len(c.Endpoints()) == len(addrs)
		})
	}
	set(a, "a", "127.0.0.1:1")
	wantReady(t, "one of three", snap, "b", "u")
	set(a, "a")
	set(b, "b")
	wantReady(t, "two that are known to be empty", snap, "u")
	set(unused, "u", "127.0.0.1:1")
	wantReady(t, "all are known, but no route leads to an endpoint", snap, "a", "b")
	set(b, "b", "127.0.0.1:1")
	wantReady(t, "a route leads to an endpoint, another does not", snap)
	set(b, "b")
	wantReady(t, "the last one is gone", snap, "a", "b")
	set(a, "a", "127.0.0.1:1")
	wantReady(t, "another one has come", snap)

	t.Run("a reload that adds an upstream takes no traffic away", func(t *testing.T) {
		late := newMemory(t, "late")
		late.silence()
		next := p.compile(strings.Replace(upstreams, "{b:", "{l: {discover: {memory: {id: late}}}, b:", 1) +
			strings.Replace(routes, "[", "[{match: {prefix: /l}, to: l}, ", 1))
		next.Start()
		wantReady(t, "the new one is silent", next)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if got := next.Wait(ended); !slices.Equal(got, []string{"l"}) {
			t.Errorf("Wait is for %q", got)
		}
	})
}

// An arm that is another upstream counts among those that a route sends to.
func TestReadyCountsArms(t *testing.T) {
	p := newProcess(t)
	newMemory(t, "stable")
	newMemory(t, "next", "127.0.0.1:1")
	snap := p.start(lines(
		`upstreams: {s: {discover: {memory: {id: stable}}}, n: {discover: {memory: {id: next}}}}`,
		`routes:`,
		`  - match: {prefix: /}`,
		`    to: s`,
		`    use: [{canary: {arms: {stable: {to: s}, canary: {to: n}}}}]`,
	))
	wantReady(t, "by the canary", snap)
}

func TestReadyWithoutRoutes(t *testing.T) {
	p := newProcess(t)
	newMemory(t, "nobody")
	wantReady(t, "no upstream, no route", p.start("listeners: {w: {address: \":1\"}}"))
	wantReady(t, "no route", p.start("upstreams: {a: {discover: {memory: {id: nobody}}}}"))
}

// Health checks count: an endpoint that they have taken out serves nobody.
func TestReadyAndHealth(t *testing.T) {
	p := newProcess(t)
	var sick atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	snap := p.start(lines(
		`upstreams:`,
		`  a:`,
		`    discover: {static: {targets: ["`+s.Listener.Addr().String()+`"]}}`,
		`    health: {path: /, interval: 10ms, timeout: 10ms, healthy: 1, unhealthy: 1}`,
		`routes: [{match: {prefix: /}, to: a}]`,
	))
	sick.Store(true)
	p.eventually("the end of health", func() bool { return slices.Equal(snap.Ready(), []string{"a"}) })
	sick.Store(false)
	p.eventually("recovery", func() bool { return snap.Ready() == nil })
	p.close(snap)
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t)
		a, b := newMemory(t, "wait-a"), newMemory(t, "wait-b")
		a.silence()
		b.silence()
		snap, err := Compile(p.parse(`upstreams: {b: {discover: {memory: {id: wait-b}}}, a: {discover: {memory: {id: wait-a}}}}`), p.Env)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close(snap)
		snap.Start()
		wait := func(change func(), want ...string) time.Duration {
			t.Helper()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			timer := time.AfterFunc(time.Second, change)
			defer timer.Stop()
			if got := snap.Wait(ctx); !slices.Equal(got, want) {
				t.Errorf("missing %q, want %q", got, want)
			}
			took := time.Since(began)
			synctest.Wait()
			return took
		}
		if took := wait(func() {}, "a", "b"); took != 2*time.Second {
			t.Errorf("it gave up after %s", took)
		}
		if took := wait(func() { a.set() }, "b"); took != 2*time.Second {
			t.Errorf("it gave up after %s", took)
		}
		if took := wait(func() { b.set("127.0.0.1:1") }); took != time.Second {
			t.Errorf("it was done after %s", took)
		}
		if took := wait(func() {}); took != 0 {
			t.Errorf("nothing was to be waited for, it took %s", took)
		}
	})
}
