package middleware

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
)

// A provider that is away for an hour costs those nothing whose tokens it has signed: each of
// them is a new one, so that nothing is remembered of it.
func TestJWTProviderAwayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
		document := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":%q}]}`,
			base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
		var down atomic.Bool
		var asked atomic.Int64
		keys := jwks.NewCache(jwks.Options{Load: func(context.Context, bool) (jwks.Answer, error) {
			asked.Add(1)
			if down.Load() {
				return jwks.Answer{}, errors.New("nobody there")
			}
			return jwks.Answer{Document: document}, nil
		}})
		defer func() { _ = keys.Close() }()
		keys.Start()
		<-keys.Ready()
		handler := jwtWith(keys)
		down.Store(true)
		asked.Store(0)
		failed := 0
		for i := range 3600 {
			raw, err := issued(key, i)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Authorization", "Bearer "+raw)
			w := httptest.NewRecorder()
			begin := time.Now()
			handler.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{}))
			if w.Code != http.StatusOK || time.Since(begin) > 0 {
				failed++
			}
			<-time.After(time.Second)
		}
		if n := asked.Load(); failed > 0 || n < 10 || n > 180 {
			t.Errorf("%d of 3600 requests failed or waited, the provider was asked %d times", failed, n)
		}
	})
}

// jwtWith is a chain of jwt and nothing, with these keys.
func jwtWith(keys *jwks.Cache) http.Handler {
	c := JWTConfig{
		JWTIssuer: JWTIssuer{Issuer: "https://id.example.com", Audience: []string{"orders"}},
		Types:     []string{"JWT"}, Leeway: 30 * time.Second, MaxLifetime: 24 * time.Hour, Subject: "sub", Cache: 100, Realm: "pithead",
	}
	m := &jwtAuth{
		credential: newCredential(c), types: []string{"jwt"}, leeway: c.Leeway, maxLifetime: c.MaxLifetime, subject: c.Subject,
		issuers: make(map[string]*jwtIssuer), refuse: newJWTRefusals(c.Realm, nil), cache: newJWTCache(c.Cache),
	}
	m.issuers[c.Issuer] = &jwtIssuer{name: c.Issuer, audiences: c.Audience, keys: &jwtKeys{Cache: keys, issuer: c.Issuer}}
	return m.wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

func issued(key ed25519.PrivateKey, i int) (string, error) {
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://id.example.com", "aud": "orders", "sub": "ada", "jti": fmt.Sprint(i), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	token.Header["kid"] = "a"
	return token.SignedString(key)
}

// Without its authorization server nobody gets in, nobody waits for long, and it is not asked
// by each request; when it is back, so is everybody.
func TestIntrospectionProviderAwayForAnHour(t *testing.T) {
	var down atomic.Bool
	var asked, wrong, slow atomic.Int64
	down.Store(true)
	serve := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if down.Load() {
			hung(w, r)
			return
		}
		_, _ = fmt.Fprint(w, `{"active":true,"sub":"alice"}`)
	}
	c := standard()
	c.MaxInFlight = 20
	inTime(t, c, serve, func(t *testing.T, m *introspection) {
		var callers sync.WaitGroup
		for second := range 3600 {
			for i := range 4 {
				callers.Go(func() {
					begin := time.Now()
					if status, _ := m.send(t.Context(), fmt.Sprint("t", second, "-", i)); status != http.StatusServiceUnavailable {
						wrong.Add(1)
					}
					if time.Since(begin) > 2100*time.Millisecond {
						slow.Add(1)
					}
				})
			}
			<-time.After(time.Second)
		}
		callers.Wait()
		if wrong.Load() > 0 || slow.Load() > 0 || asked.Load() > 4*3600*3/4 {
			t.Errorf("of 14400 requests %d were no 503, %d took longer than 2.1 s, and the provider was asked about %d", wrong.Load(), slow.Load(), asked.Load())
		}
		t.Logf("the provider was asked about %d of 14400", asked.Load())
		down.Store(false)
		<-time.After(breakerPause + time.Second)
		if status, x := m.send(t.Context(), "good"); status != http.StatusOK {
			t.Errorf("when it is back: %d %v", status, x.Err)
		}
	})
}
