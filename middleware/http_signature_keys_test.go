package middleware_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// signedBy is the request of shopGet, with a signature of a private key.
func signedBy(t testing.TB, key any, params string) string {
	t.Helper()
	list := `("@method" "@target-uri")` + params
	base := []byte(strings.Join(getLines, "\n") + "\n\"@signature-params\": " + list)
	var value []byte
	switch key := key.(type) {
	case ed25519.PrivateKey:
		value = ed25519.Sign(key, base)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(base)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		value = make([]byte, 64)
		r.FillBytes(value[:32])
		s.FillBytes(value[32:])
	}
	return "GET /v1/orders?a=1\nSignature-Input: s=" + list + "\nSignature: s=:" + base64.StdEncoding.EncodeToString(value) + ":"
}

func pemOf(t testing.TB, public any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// TestHTTPSignatureKeys reads keys in all their forms, and from a file.
func TestHTTPSignatureKeys(t *testing.T) {
	edPublic, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	var file strings.Builder
	file.WriteString("# who may call\n\n")
	for _, k := range []map[string]any{
		{"id": "ed", "public": pemOf(t, edPublic), "subject": "robot", "meta": map[string]string{"plan": "gold"}},
		{"id": "jwk", "public": fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","x":%q}`, b64(edPublic))},
		{"id": "encoded", "secret": "base64:" + base64.StdEncoding.EncodeToString([]byte(shopSecret))},
	} {
		line, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(append(line, '\n'))
	}
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	env, _ := orders(t)
	inline := "keys: [{id: ec, algorithm: ecdsa-p256-sha256, public: " + fmt.Sprintf("%q", pemOf(t, &ec.PublicKey)) + "}]"
	middlewaretest.Run(t, env, "http_signature: {file: "+path+", "+inline+", headers: {x-plan: plan}}", []middlewaretest.Case{
		{Name: "ed25519", Request: signedBy(t, ed, now("ed")), Proves: "robot", Sent: map[string]string{"X-Plan": "gold"}},
		{Name: "a JWK", Request: signedBy(t, ed, now("jwk")+`;alg="ed25519"`), Proves: "jwk"},
		{Name: "ecdsa-p256-sha256", Request: signedBy(t, ec, now("ec")), Proves: "ec"},
		{Name: "base64", Request: shopGet(now("encoded")), Proves: "encoded"},
		{Name: "a public key as a secret", Request: "GET /v1/orders?a=1\n" + messageSignature{"s", pemOf(t, edPublic), getLines, now("ed")}.fields(), Status: 401, Reason: "signature_invalid"},
		{Name: "the same, and it says so", Request: "GET /v1/orders?a=1\n" + messageSignature{"s", string(edPublic), getLines, now("ed") + `;alg="hmac-sha256"`}.fields(), Status: 401, Reason: "signature_algorithm"},
		{Name: "the key of another algorithm", Request: signedBy(t, ed, now("ec")), Status: 401, Reason: "signature_invalid"},
	})
}

func TestHTTPSignatureMistakes(t *testing.T) {
	env, _ := orders(t)
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, fmt.Sprintf("%x.jsonl", sha256.Sum256([]byte(text))))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const key = "keys: [{id: a, secret: a-secret-of-at-least-thirty-two-bytes}]"
	private, _ := x509.MarshalPKCS8PrivateKey(signers()["ed"])
	leaked := fmt.Sprintf("%q", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	twice := file(`{"id":"a","secret":"a-secret-of-at-least-thirty-two-bytes"}` + "\n" + `{"id":"a","secret":"a-secret-of-at-least-thirty-two-bytes"}`)
	odd := file(`{"id":"a","secret":"short"}` + "\n" + `{"id":"b","public":"x","color":1}` + "\n{}")
	empty := file("# nobody\n")
	for settings, want := range map[string][]string{
		"":                                    {"knows no key; list some under keys, or name a file"},
		"keys: [{id: a}]":                     {"needs either a secret or a public key"},
		"keys: [{id: a, secret: short}]":      {"has 5 bytes; it needs at least 32; make one with openssl rand -hex 32"},
		"keys: [{id: a, secret: 'base64:!'}]": {"is no base64, with = at its end where it needs it"},
		"keys: [{id: a, secret: a-secret-of-at-least-thirty-two-bytes, algorithm: ed25519}]":     {"ed25519 needs a public key; a secret is for hmac-sha256"},
		"keys: [{id: a, secret: a-secret-of-at-least-thirty-two-bytes, algorithm: none}]":        {`"none" is no algorithm; known are hmac-sha256, ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384, rsa-pss-sha512, rsa-v1_5-sha256`},
		"keys: [{id: a, public: " + leaked + "}]":                                                {"is a private key; its owner keeps it, and gives away the public one"},
		"keys: [{id: a, public: '" + jwkOf("k", signers()["ec"], `,"alg":"ES512"`) + "'}]":       {"the key is for the algorithm \"ES512\", which is not supported with it"},
		"keys: [{id: a, public: '" + jwkOf("k", signers()["rsa"], `,"alg":"PS256"`) + "'}]":      {"the key is for the algorithm PS256 and no other"},
		"keys: [{id: a, algorithm: ed25519, public: '" + jwkOf("k", signers()["ec"], "") + "'}]": {"the key is for ecdsa-p256-sha256, not for ed25519"},
		key + ", max_age: 10ms":                  {"must be at least 1s"},
		key + ", leeway: 6m":                     {"6m0s is more than 5m0s; set the clocks"},
		key + ", nonces: 0":                      {"want 1 to 10000000"},
		key + ", max_body: 0":                    {"want 1B to 1GiB"},
		key + ", components: []":                 {"names nothing that must be covered, so that a signature would fit every request"},
		key + `, components: ["@status"]`:        {`"@status" is no component of all requests; known are @method, @target-uri, @authority, @scheme, @request-target, @path, @query, and header fields`},
		key + `, components: [Date]`:             {"write it in lower case: date"},
		key + `, components: [date, date]`:       {"date stands here a second time"},
		key + `, components: [connection]`:       {"the header Connection cannot be read here: it is not passed on from outside"},
		key + `, headers: {x-a: ""}`:             {"wants id, subject, or the name of an entry of meta"},
		key + `, realm: 'a"b'`:                   {`"a\"b" is no realm; write ASCII without quotes and backslashes`},
		"file: " + filepath.Join(dir, "missing"): {"stat " + filepath.Join(dir, "missing") + ": no such file or directory"},
		"file: " + empty:                         {"" + empty + " holds no key"},
		"file: " + twice:                         {"" + twice + `:2: a second key has the id "a"`},
		"file: " + odd: {
			"" + odd + ":1: secret: has 5 bytes; it needs at least 32; make one with openssl rand -hex 32",
			"" + odd + `:2: unknown field "color"`,
			"" + odd + `:3: id: "" is no id; write printable ASCII; needs either a secret or a public key`,
		},
	} {
		t.Run(settings, func(t *testing.T) {
			var got []string
			for _, told := range middlewaretest.Mistakes(t, env, "http_signature: {"+settings+"}") {
				place, msg, _ := strings.Cut(told, ": ")
				if place == "1:1" && settings != "" {
					t.Errorf("%s is said of the whole block", told)
				}
				got = append(got, msg)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHTTPSignatureExplain uses no nonce up and reads no body.
func TestHTTPSignatureExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, signatureBlock("headers: {x-plan: plan}"))
	for request, want := range map[string]string{
		shopGet(now("shop-1") + `;nonce="a"`): `the key "shop-1" (hmac-sha256) proves the subject "shop"`,
		"GET /":                               "answers 401 (signature_missing): a signature is required; wants @method @target-uri content-digest to be covered",
	} {
		for range 2 {
			x := &gateway.Exchange{Scheme: "https", Start: time.Now()}
			r := gateway.WithExchange(middlewaretest.Request(t, request), x)
			if got := step.Explain(r, x); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// benchmarkSignature lets one signed request pass again and again.
func benchmarkSignature(b *testing.B, block, request string) {
	env := middlewaretest.Env(b, middlewaretest.NewCluster("orders"))
	handler := middlewaretest.Build(b, env, block).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := middlewaretest.Request(b, request)
	b.ReportAllocs()
	for b.Loop() {
		x := &gateway.Exchange{Scheme: "https"}
		handler.ServeHTTP(nil, gateway.WithExchange(r, x))
		if x.Subject == "" {
			b.Fatal("refused")
		}
	}
}

func BenchmarkHTTPSignatureHMAC(b *testing.B) {
	benchmarkSignature(b, signatureBlock("max_age: 1h"), shopGet(now("shop-1")))
}

func BenchmarkHTTPSignatureEd25519(b *testing.B) {
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	benchmarkSignature(b, fmt.Sprintf("http_signature: {max_age: 1h, keys: [{id: ed, public: %q}]}", pemOf(b, public)), signedBy(b, private, now("ed")))
}

// TestHTTPSignatureAllocations is a budget: what the parser of structured fields
// makes for each component and parameter, the base, the hash, and the headers dropped.
func TestHTTPSignatureAllocations(t *testing.T) {
	env, _ := orders(t)
	handler := middlewaretest.Build(t, env, signatureBlock("")).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := middlewaretest.Request(t, shopGet(now("shop-1")))
	const budget = 80
	if n := testing.AllocsPerRun(100, func() {
		handler.ServeHTTP(nil, gateway.WithExchange(r, &gateway.Exchange{Scheme: "https"}))
	}); n > budget {
		t.Errorf("%.0f allocations, want at most %d", n, budget)
	}
}
