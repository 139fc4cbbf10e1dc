package middleware_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// fuzzKey is the same in every process, so that what has been found once stays
// meaningful.
var fuzzKey = ed25519.NewKeyFromSeed([]byte("the key of all that is fuzzed ..")[:32])

func fuzzToken(header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(fuzzKey, []byte(text)))
}

// Of all tokens that can be made out of others, only those pass that have been
// signed as they are.
func FuzzJWT(f *testing.F) {
	env := middlewaretest.Env(f, middlewaretest.NewCluster("orders"))
	block := fmt.Sprintf("jwt: {issuer: i, audience: a, max_lifetime: 1000000h, headers: {X-V: v}, jwks: {inline: '{\"keys\":[%s]}'}}", jwkOf("k", fuzzKey, ""))
	passed := false
	h := middlewaretest.Build(f, env, block).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	const header, payload = `{"alg":"EdDSA","kid":"k"}`, `{"iss":"i","aud":"a","sub":"s","exp":4102444800,"v":["x,y",1,true]}`
	good := map[string]bool{fuzzToken(header, payload): true, fuzzToken(`{"typ":"JWT","alg":"EdDSA","kid":"k"}`, payload): true}
	for token := range good {
		f.Add(token)
		f.Add(token + "=")
		f.Add(strings.Replace(token, ".", "..", 1))
	}
	f.Add(fuzzToken(`{"alg":"none","kid":"k"}`, payload))
	f.Add(fuzzToken(header, `{"iss":"i","aud":"a","sub":"s","exp":4102444800,"exp":1}`))
	f.Add(fuzzToken(header, `{"iss":"i","aud":["a"],"sub":"s","exp":1e9,"nbf":1e300}`))
	f.Add(fuzzToken(header, strings.Repeat("[", 2000)))
	f.Fuzz(func(t *testing.T, raw string) {
		passed = false
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{"Bearer " + raw}
		w := httptest.NewRecorder()
		x := &gateway.Exchange{}
		h.ServeHTTP(w, gateway.WithExchange(r, x))
		if passed != good[raw] || passed != (x.Err == nil) {
			t.Fatalf("%q: passed %t, error %v", raw, passed, x.Err)
		}
		if !passed && w.Code != 401 && w.Code != 400 {
			t.Fatalf("%q: status %d", raw, w.Code)
		}
	})
}
