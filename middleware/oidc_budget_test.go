//go:build !race

package middleware_test

import (
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// One for the origin of the request and one for what withholds the cookie. All else of a known
// session is there already.
func TestOIDCKnownSessionAllocations(t *testing.T) {
	h, r := knownSession(t, time.Hour)
	x := &gateway.Exchange{}
	r = gateway.WithExchange(r, x)
	if n := testing.AllocsPerRun(100, func() {
		*x = gateway.Exchange{Scheme: "https"}
		h.ServeHTTP(nil, r)
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOIDCSession(b *testing.B) {
	h, r := knownSession(b, time.Hour)
	x := &gateway.Exchange{}
	r = gateway.WithExchange(r, x)
	b.ReportAllocs()
	for b.Loop() {
		*x = gateway.Exchange{Scheme: "https"}
		h.ServeHTTP(nil, r)
		if x.Subject == "" {
			b.Fatal("nobody")
		}
	}
}
