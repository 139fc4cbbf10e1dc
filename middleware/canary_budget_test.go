package middleware_test

import (
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// canaryPaths are the ways through the middleware and all that they allocate.
var canaryPaths = []struct {
	name, block, request, by string
	allocs                   float64
	what                     string
}{
	{name: "no split", block: "canary: {}", by: "default"},
	{name: "random", block: "canary: {split: {stable: 95, canary: 5}}", by: "random"},
	{name: "subject", block: "canary: {split: {stable: 95, canary: 5}, sticky: subject}", by: "split"},
	{name: "client", block: "canary: {split: {stable: 95, canary: 5}, sticky: client}", by: "split"},
	{name: "header value", block: `canary: {split: {stable: 95, canary: 5}, sticky: "header:x-user"}`, request: "\nX-User: ann", by: "split"},
	{name: "cookie value", block: `canary: {split: {stable: 95, canary: 5}, sticky: "cookie:sid"}`, request: "\nCookie: a=b; sid=1", by: "split"},
	{name: "three arms", block: "canary: {split: {stable: 90, canary: 5, beta: 5}, sticky: subject}", by: "split"},
	{
		name: "pinned", block: "canary: {split: {stable: 95, canary: 5}, cookie: arm, " + secret + "}",
		request: "\nCookie: a=b; arm=stable~hjpMOM0aPI-1bTHfIB6ibJx0m7y7I5AzFqM5k34_QYo", by: "cookie",
	},
	{
		name: "pinning", block: "canary: {split: {stable: 95, canary: 5}, cookie: arm}", by: "random",
		allocs: 2, what: "the lists of Set-Cookie and of Cache-Control",
	},
	{
		name: "forced", block: "canary: {}", request: "\nX-Canary: always", by: "header",
		allocs: 2, what: "the list of what not to send upstream, and of Vary",
	},
	{name: "forced and forwarded", block: "canary: {forward: true}", request: "\nX-Canary: always", by: "header", allocs: 1, what: "the list of Vary"},
	{
		name: "not allowed to force", block: "canary: {allow_from: [10.0.0.0/8]}", request: "\nX-Canary: always", by: "default",
		allocs: 1, what: "the list of what not to send upstream",
	},
	{
		name: "forced by cookie", block: "canary: {force_cookie: c}", request: "\nCookie: a=b; c=always", by: "cookie",
		allocs: 1, what: "the list of Vary",
	},
	{
		name: "headers of the answer", block: "canary: {arms: {stable: {to: orders, headers: {response: {set: {x-a: b}}}}, canary: {to: orders}}}",
		by: "default", allocs: 1, what: "the writer that sets them",
	},
	{name: "response header", block: "canary: {response_header: x-arm}", by: "default", allocs: 1, what: "the writer that sets it"},
}

// canaryPath makes a function that sends one request along a path. Exchange,
// request and answer are those of before.
func canaryPath(tb testing.TB, block, request string) (pass func(), x *gateway.Exchange) {
	tb.Helper()
	env, _ := orders(tb)
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	h, w := middlewaretest.Build(tb, env, block).Wrap(next), &recorder{h: http.Header{}}
	x = new(gateway.Exchange)
	r := gateway.WithExchange(middlewaretest.Request(tb, "GET /v1/orders/7"+request), x)
	return func() {
		clear(w.h)
		*x = gateway.Exchange{Client: clientAddr, Scheme: "https", Subject: "alice"}
		h.ServeHTTP(w, r)
	}, x
}

func TestCanaryBudget(t *testing.T) {
	for _, p := range canaryPaths {
		t.Run(p.name, func(t *testing.T) {
			pass, x := canaryPath(t, p.block, p.request)
			if n := testing.AllocsPerRun(100, pass); n != p.allocs {
				t.Errorf("%v allocations, want %v: %s", n, p.allocs, p.what)
			}
			if x.ArmBy != p.by {
				t.Errorf("decided by %s, want %s", x.ArmBy, p.by)
			}
		})
	}
}

func BenchmarkCanary(b *testing.B) {
	for _, p := range canaryPaths {
		b.Run(p.name, func(b *testing.B) {
			b.ReportAllocs()
			pass, _ := canaryPath(b, p.block, p.request)
			for b.Loop() {
				pass()
			}
		})
	}
}
