package proxy_test

import (
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/proxy"
)

// nowhere is a writer for a client that takes everything.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header         { return w.h }
func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}

// instant answers without a network.
func instant(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: 128, Request: r,
		Header: http.Header{"Content-Type": {"text/plain"}, "Content-Length": {"128"}},
		Body:   io.NopCloser(strings.NewReader(answer128)),
	}, nil
}

var answer128 = strings.Repeat("x", 128)

type instantTransport struct{}

func (instantTransport) RoundTrip(r *http.Request) (*http.Response, error) { return instant(r) }

// bare is a ReverseProxy without any care.
func bare() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:    func(pr *httputil.ProxyRequest) { pr.SetXForwarded() },
		Transport:  instantTransport{},
		BufferPool: &arrays{},
	}
}

type arrays struct{ free [][]byte }

func (a *arrays) Get() []byte {
	if n := len(a.free); n > 0 {
		b := a.free[n-1]
		a.free = a.free[:n-1]
		return b
	}
	return make([]byte, 32<<10)
}
func (a *arrays) Put(b []byte) { a.free = append(a.free, b) }

func inbound(tb testing.TB, post bool) *http.Request {
	tb.Helper()
	r := request(tb, "GET", "api.example.com", "/v1/orders/7?a=1", nil)
	if post {
		r = request(tb, "POST", "api.example.com", "/v1/orders", nil)
		r.ContentLength = 3
	}
	r.RemoteAddr, r.Host = "192.0.2.1:4711", "api.example.com"
	r.Header.Set("User-Agent", "bench/1")
	r.Header.Set("Accept", "*/*")
	x := &gateway.Exchange{ID: "id-1", Scheme: "http", Client: netip.MustParseAddr("192.0.2.1"), Cluster: clusterFunc(instant)}
	return gateway.WithExchange(r, x)
}

type input struct{ strings.Reader }

func (*input) Close() error { return nil }

func run(h http.Handler, r *http.Request, post bool) func() {
	w := &nowhere{make(http.Header)}
	in := &input{}
	return func() {
		if post {
			in.Reset("abc")
			r.Body = in
		}
		clear(w.h)
		h.ServeHTTP(w, r)
	}
}

// What the core adds to a bare ReverseProxy, each allocation by name.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		return // see there
	}
	for name, tc := range map[string]struct {
		post   bool
		budget float64
	}{
		// The relay, the copy of the request that carries it, the hook for interim
		// answers. The headers are cheaper here, which pays for two of them.
		"GET": {false, 1},
		// Further: the body, its token, the watch of the context.
		"POST": {true, 8},
	} {
		with := testing.AllocsPerRun(1000, run(proxy.New(proxy.Options{}), inbound(t, tc.post), tc.post))
		without := testing.AllocsPerRun(1000, run(bare(), inbound(t, tc.post), tc.post))
		t.Logf("%s: %v allocations, a bare ReverseProxy %v", name, with, without)
		if with-without > tc.budget {
			t.Errorf("%s: %v allocations more than a bare ReverseProxy, the budget is %v", name, with-without, tc.budget)
		}
	}
}

func BenchmarkCore(b *testing.B) {
	for name, h := range map[string]http.Handler{"bare": bare(), "proxy": proxy.New(proxy.Options{})} {
		for _, method := range []string{"GET", "POST"} {
			b.Run(name+"/"+method, func(b *testing.B) {
				f := run(h, inbound(b, method == "POST"), method == "POST")
				b.ReportAllocs()
				for b.Loop() {
					f()
				}
			})
		}
	}
}
