package middleware_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// keptHeader takes an answer as the server does, without an allocation of its own.
type keptHeader struct{ header http.Header }

func (k keptHeader) Header() http.Header         { return k.header }
func (k keptHeader) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (k keptHeader) WriteHeader(int)             {}

// hit is a request that is answered from memory, ready to be sent many times.
func hit(t testing.TB) (h http.Handler, w keptHeader, r *http.Request) {
	t.Helper()
	up := middlewaretest.NewCluster("orders").Handle(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "the answer")
	})
	env := middlewaretest.Env(t, up)
	step := middlewaretest.Build(t, env, "cache")
	const request = "GET /v1/orders/7?page=2\nAccept: text/plain"
	first := middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
	if first.Body != "the answer" {
		t.Fatalf("%d %q", first.Status, first.Body)
	}
	h = step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("not from memory") }))
	x := &gateway.Exchange{Scheme: first.Exchange.Scheme, Upstream: first.Exchange.Upstream, Cluster: up}
	return h, keptHeader{make(http.Header)}, gateway.WithExchange(middlewaretest.Request(t, request), x)
}

// TestCacheHitCosts names what a hit allocates: nothing. The name of what is stored fits
// into an array of the stack, and Age and Cache-Status are made once a second.
func TestCacheHitCosts(t *testing.T) {
	h, w, r := hit(t)
	h.ServeHTTP(w, r) // makes the first Age
	n := testing.AllocsPerRun(100, func() {
		clear(w.header)
		h.ServeHTTP(w, r)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if w.header.Get("Age") == "" {
		t.Errorf("no hit: %v", w.header)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	h, _, r := hit(b)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		w := keptHeader{make(http.Header)}
		for pb.Next() {
			clear(w.header)
			h.ServeHTTP(w, r)
		}
	})
}
