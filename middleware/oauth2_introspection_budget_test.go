package middleware_test

import (
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// introspectionHit makes a function that sends one request with a token about which
// the answer is remembered.
func introspectionHit(tb testing.TB, more, token string) func() {
	tb.Helper()
	s := newAuthServer(tb, map[string]string{"2YotnFZFEjr1zCsicMWpAA": activeWith("")})
	env, _ := orders(tb)
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	h, w := middlewaretest.Build(tb, env, s.block(more)).Wrap(next), &recorder{h: http.Header{}}
	x := new(gateway.Exchange)
	r := gateway.WithExchange(middlewaretest.Request(tb, withToken+token), x)
	pass := func() {
		*x = gateway.Exchange{}
		h.ServeHTTP(w, r)
	}
	pass()
	return pass
}

func TestIntrospectionBudget(t *testing.T) {
	if n := testing.AllocsPerRun(100, introspectionHit(t, "", "2YotnFZFEjr1zCsicMWpAA")); n != 0 {
		t.Errorf("%v allocations for a token that is remembered, want none", n)
	}
	const headers = ", headers: {x-client: client_id}"
	if n := testing.AllocsPerRun(100, introspectionHit(t, headers, "2YotnFZFEjr1zCsicMWpAA")); n > 3 {
		t.Errorf("%v allocations with a header, want 3: the map of headers, its first group and the list of one", n)
	}
}

func BenchmarkIntrospectionHit(b *testing.B) {
	for name, more := range map[string]string{"plain": "", "header": ", headers: {x-client: client_id}"} {
		b.Run(name, func(b *testing.B) {
			pass := introspectionHit(b, more, "2YotnFZFEjr1zCsicMWpAA")
			b.ReportAllocs()
			for b.Loop() {
				pass()
			}
		})
	}
}
