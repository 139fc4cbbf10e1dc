package middleware_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// passing is a request with a token, and the handler of a chain of this block that
// ends in nothing.
func passing(t testing.TB, more, token string) (http.Handler, http.ResponseWriter, *http.Request) {
	t.Helper()
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	h := middlewaretest.Build(t, env, jwtBlock(more)).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := gateway.WithExchange(middlewaretest.Request(t, bearer(token)), &gateway.Exchange{})
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); gateway.ExchangeOf(r).Subject == "" {
		t.Fatalf("the token does not pass: %v", gateway.ExchangeOf(r).Err)
	}
	return h, w, r
}

func TestJWTHitAllocatesNothing(t *testing.T) {
	h, w, r := passing(t, "", token(t, "rsa", goodClaims(nil)))
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("%v allocations for a token that is known, want 0", n)
	}
	// One for the list of values of each header, which the request upstream keeps.
	h, w, r = passing(t, ", headers: {X-A: sub, X-B: iss}", token(t, "rsa", goodClaims(nil)))
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 2 {
		t.Errorf("%v allocations for two headers, want 2", n)
	}
}

func BenchmarkJWTHit(b *testing.B) {
	h, w, r := passing(b, "", token(b, "rsa", goodClaims(members{"pad": strings.Repeat("x", 400)})))
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}

func BenchmarkJWTHitParallel(b *testing.B) {
	h, w, r := passing(b, "", token(b, "rsa", goodClaims(nil)))
	b.RunParallel(func(pb *testing.PB) {
		mine := gateway.WithExchange(r, &gateway.Exchange{})
		for pb.Next() {
			h.ServeHTTP(w, mine)
		}
	})
}

// BenchmarkJWTMiss sets a token that is not remembered beside the bare verification
// of its signature: x-bare is how many times that it takes. The two take turns, so that both
// have the same noise of the machine, and medians are compared, which a neighbour moves least.
func BenchmarkJWTMiss(b *testing.B) {
	for _, kid := range []string{"rsa", "ec", "ed"} {
		b.Run(kid, func(b *testing.B) {
			raw := token(b, kid, goodClaims(nil))
			h, w, r := passing(b, ", cache: 0", raw)
			dot := strings.LastIndexByte(raw, '.')
			sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
			if err != nil {
				b.Fatal(err)
			}
			text := []byte(raw[:dot])
			var whole, bare []time.Duration
			for b.Loop() {
				begin := time.Now()
				h.ServeHTTP(w, r)
				middle := time.Now()
				if !bareVerify(kid, text, sig) {
					b.Fatal("the signature is wrong")
				}
				whole, bare = append(whole, middle.Sub(begin)), append(bare, time.Since(middle))
			}
			b.ReportMetric(float64(median(whole))/float64(median(bare)), "x-bare")
			b.ReportMetric(float64(median(whole)), "gateway-ns")
			b.ReportMetric(float64(median(bare)), "bare-ns")
		})
	}
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

func bareVerify(kid string, text, sig []byte) bool {
	digest := sha256.Sum256(text)
	switch key := signers()[kid].Public().(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig) == nil
	case *ecdsa.PublicKey:
		return ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case ed25519.PublicKey:
		return ed25519.Verify(key, text, sig)
	}
	return false
}
