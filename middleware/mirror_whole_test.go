package middleware_test

import (
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// next is a request that the upstream gets, sooner or later.
func (g *whole) next(t *testing.T) *http.Request {
	t.Helper()
	select {
	case r := <-g.sent:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("the upstream got no request")
		return nil
	}
}

// Both requests come to the same upstream, the copy under another host.
func TestWholeMirror(t *testing.T) {
	bodies := make(chan string, 16)
	g := serveWhole(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.Host + " " + string(body)
	}, `{match: {prefix: /api}, to: up, use: [{mirror: {to: up, host: shadow.example}}, {rewrite: {prefix: /}}, {headers: {request: {set: {x-late: set}}}}]}`,
		`{match: {path: /gone}, to: up, use: [{mirror: {to: up}}, {respond: {status: 410}}]}`)
	f := func(name, method, length, wire, body string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			res, _ := g.ask(t, method+" /api/x?y=1", length, "Authorization: s", "Connection: x-hop", "X-Hop: 1", "X-Late: forged"+wire)
			if res.StatusCode != http.StatusOK {
				t.Fatalf("status %d", res.StatusCode)
			}
			got := map[string][]string{}
			for range 2 {
				r := g.next(t)
				got[r.Host] = []string{r.Method, r.RequestURI, r.Header.Get("X-Late"), r.Header.Get("X-Hop"), r.Header.Get("X-Forwarded-For"), r.Header.Get("Authorization")}
			}
			want := map[string][]string{
				"a.example":      {method, "/x?y=1", "set", "", "127.0.0.1", "s"},
				"shadow.example": {method, "/x?y=1", "set", "", "127.0.0.1", ""},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("upstream got (-want +got):\n%s", diff)
			}
			for range 2 {
				if b := <-bodies; b != "a.example "+body && b != "shadow.example "+body {
					t.Errorf("upstream got %q, want %q", b, body)
				}
			}
		})
	}
	f("no body", "GET", "Accept: */*", "", "")
	f("length", "POST", "Content-Length: 5", "\r\n\r\nhello", "hello")
	f("chunks", "POST", "Transfer-Encoding: chunked", "\r\n\r\n5\r\nhello\r\n0", "hello")
	t.Run("answered by the gateway", func(t *testing.T) {
		if res, _ := g.ask(t, "GET /gone"); res.StatusCode != http.StatusGone || g.got() != nil {
			t.Errorf("%d; there is a copy", res.StatusCode)
		}
	})
}

// A request that is sent again is still copied once, and whole.
func TestWholeMirrorRetry(t *testing.T) {
	var attempts atomic.Int32
	bodies := make(chan string, 4)
	g := serveWhole(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.Host + " " + string(body)
		if r.Host == "a.example" && attempts.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}, `{match: {prefix: /}, to: up, use: [{retry: {codes: [503]}}, {mirror: {to: up, host: shadow.example}}]}`)
	if res, _ := g.ask(t, "PUT /x", "Content-Length: 5", "X-A: b\r\n\r\nhello"); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d", res.StatusCode)
	}
	got := []string{<-bodies, <-bodies, <-bodies}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"a.example hello", "a.example hello", "shadow.example hello"}, got); diff != "" {
		t.Errorf("upstream got (-want +got):\n%s", diff)
	}
}

func TestMirrorBudget(t *testing.T) {
	f := func(name, settings, request string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			m := newMirrored(t)
			next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			h, w := middlewaretest.Build(t, m.env, "mirror: {to: shadow"+settings+"}").Wrap(next), discard{http.Header{}}
			x := new(gateway.Exchange)
			r := gateway.WithExchange(middlewaretest.Request(t, request), x)
			n := testing.AllocsPerRun(100, func() {
				*x = gateway.Exchange{}
				h.ServeHTTP(w, r)
			})
			if n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("not drawn", ", percent: 0", "GET /x", 0, "none")
	f("stream", "", "GET /x\nAccept: text/event-stream", 0, "none")
	f("drawn", "", "GET /x", 3, "the copy, its place in the exchange, the list of such places")
}
