package canon

import (
	"testing"

	"github.com/pithead/pithead/gateway"
)

var plainRequest = []string{
	"GET /v1/orders/7 HTTP/1.1",
	"Accept: application/json",
	"Accept-Encoding: gzip, deflate, br",
	"Accept-Language: en-GB,en;q=0.5",
	"Authorization: Bearer abc",
	"Cache-Control: no-cache",
	"User-Agent: curl/8.5.0",
	"X-Canary: always",
	"X-Tenant: blue",
}

func TestPlainRequestDoesNotAllocate(t *testing.T) {
	p, r, x := NewPolicy(Options{}), read(t, plainRequest...), &gateway.Exchange{}
	n := testing.AllocsPerRun(100, func() {
		if _, err := p.Request(r, x); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("a plain request costs %v allocations", n)
	}
	if len(r.Header) != 8 {
		t.Errorf("headers left: %v", r.Header)
	}
}

func BenchmarkRequest(b *testing.B) {
	p, r, x := NewPolicy(Options{}), read(b, plainRequest...), &gateway.Exchange{}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Request(r, x); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	for name, path := range map[string]string{"plain": "/v1/orders/7", "escaped": "/v1/caf%c3%a9//7"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Path(path, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Host("api.example.com:8080"); err != nil {
			b.Fatal(err)
		}
	}
}
