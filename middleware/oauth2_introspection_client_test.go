package middleware_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// keyFile is a PEM file with the key.
func keyFile(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "PRIVATE KEY", der)
}

func pemFile(t testing.TB, typ string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func signingBlock(endpoint, file, more string) string {
	return fmt.Sprintf(`oauth2_introspection: {endpoint: %q, client: {id: pithead, auth: private_key_jwt, key: {file: %q%s}}, audience: any}`, endpoint, file, more)
}

// Each question is signed anew, and in a way that another library verifies.
func TestIntrospectionClientSigns(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool) // jti; the server answers one question at a time
	f := func(name string, key crypto.Signer, file, more, algorithm, audience string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := newAuthServer(t, nil)
			if audience == "" {
				audience = s.URL + "/introspect"
			}
			s.check = func(r *http.Request) {
				raw := r.PostFormValue("client_assertion")
				token, err := jwt.Parse(raw, func(*jwt.Token) (any, error) { return key.Public(), nil },
					jwt.WithValidMethods([]string{algorithm}), jwt.WithAudience(audience), jwt.WithIssuer("pithead"), jwt.WithSubject("pithead"),
					jwt.WithExpirationRequired(), jwt.WithIssuedAt())
				if err != nil {
					t.Errorf("%v: %s", err, raw)
					return
				}
				claims := token.Claims.(jwt.MapClaims)
				exp, _ := claims.GetExpirationTime()
				jti, _ := claims["jti"].(string)
				if jti == "" || seen[jti] || time.Until(exp.Time) > time.Minute ||
					r.PostFormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
					t.Errorf("claims %v of %v", claims, r.PostForm)
				}
				seen[jti] = true
				if kid, _ := token.Header["kid"].(string); strings.Contains(more, "kid") != (kid == "k1") {
					t.Errorf("kid %q", kid)
				}
			}
			env, _ := orders(t)
			step := middlewaretest.Build(t, env, signingBlock(s.URL+"/introspect", file, more))
			for _, token := range []string{"a", "b"} {
				send(t, env, step, withToken+token, &gateway.Exchange{})
			}
			if s.asked.Load() != 2 {
				t.Errorf("asked %d times", s.asked.Load())
			}
		})
	}
	k := signers()
	f("RS256", k["rsa"], keyFile(t, k["rsa"]), "", "RS256", "")
	f("PS256", k["rsa"], keyFile(t, k["rsa"]), ", alg: PS256, kid: k1", "PS256", "")
	f("ES256", k["ec"], keyFile(t, k["ec"]), `, audience: "https://id.example.com"`, "ES256", "https://id.example.com")
	f("ES384", p384, keyFile(t, p384), "", "ES384", "")
	f("EdDSA", k["ed"], keyFile(t, k["ed"]), "", "EdDSA", "")
	f("PKCS #1", k["rsa"], pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k["rsa"].(*rsa.PrivateKey))), "", "RS256", "")
	sec1, err := x509.MarshalECPrivateKey(p384)
	if err != nil {
		t.Fatal(err)
	}
	f("SEC 1", p384, pemFile(t, "EC PRIVATE KEY", sec1), "", "ES384", "")
}

func TestIntrospectionClientKeyMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(file, more, want string) {
		t.Helper()
		told := middlewaretest.Mistakes(t, env, signingBlock("https://id.example.com/i", file, more))
		if len(told) != 1 || !strings.HasSuffix(told[0], want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f("/does/not/exist", "", "no such file or directory")
	f(keyFile(t, signers()["rsa"]), ", alg: ES256", `its key is not for ES256 but for ["RS256" "PS256"]`)
	f(keyFile(t, p521), "", "its key is neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519")
	f(pemFile(t, "PRIVATE KEY", []byte("x")), "", "holds no private key that can be read; encrypted ones cannot")
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	f(none, "", "is no PEM file")
}

// A key that changes is noticed, because it is named among the files of the block.
func TestIntrospectionClientKeyIsWatched(t *testing.T) {
	c := middleware.OAuth2IntrospectionConfig{Client: middleware.OAuth2Client{Key: middleware.OAuth2Key{File: "/k"}}}
	if got := c.Files(); len(got) != 1 || got[0] != "/k" {
		t.Errorf("%q", got)
	}
	c = middleware.OAuth2IntrospectionConfig{}
	if got := c.Files(); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
