package middleware_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func payload(t testing.TB, edits members) string {
	t.Helper()
	text, err := json.Marshal(goodClaims(edits))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hmacToken signs by HS256 with bytes that are no secret.
func hmacToken(t testing.TB, kid string, key []byte) string {
	t.Helper()
	text := b64(fmt.Appendf(nil, `{"alg":"HS256","kid":%q}`, kid)) + "." + b64([]byte(payload(t, nil)))
	sig, err := jwt.SigningMethodHS256.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

const ecHeader = `{"alg":"ES256","kid":"ec"}`

// ecSigned are the parts of a good token, to be put together otherwise.
func ecSigned(t testing.TB) (head, body, sig string) {
	t.Helper()
	parts := strings.Split(signed(t, ecHeader, payload(t, nil), "ec"), ".")
	return parts[0], parts[1], parts[2]
}

// malleable is s with a bit of its last character changed that means nothing.
func malleable(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return s[:len(s)-1] + string(alphabet[strings.IndexByte(alphabet, s[len(s)-1])^1])
}

// rejects sends tokens that must get 401 for a reason.
func rejects(t *testing.T, more string) func(name, token, reason string) {
	t.Helper()
	env, cluster := orders(t)
	step := middlewaretest.Build(t, env, jwtBlock(more))
	return func(name, token, reason string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, bearer(token)), &gateway.Exchange{})
			_, count := cluster.Last()
			if a.Exchange.Err == nil || a.Status != 401 || a.Exchange.Err.Reason != reason || a.Exchange.Subject != "" || count != 0 {
				t.Errorf("status %d, error %v, subject %q, %d requests upstream; want 401 %s", a.Status, a.Exchange.Err, a.Exchange.Subject, count, reason)
			}
			if got := a.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `Bearer realm="pithead", error="invalid_token"`) {
				t.Errorf("the challenge is %q", got)
			}
		})
	}
}

func TestJWTAlgorithms(t *testing.T) {
	f := rejects(t, "")
	none := func(alg string) string {
		return b64(fmt.Appendf(nil, `{"alg":%q,"kid":"ec"}`, alg)) + "." + b64([]byte(payload(t, nil))) + "."
	}
	f("J01: none", none("none"), "jwt_algorithm")
	f("J01: NoNe", none("NoNe"), "jwt_algorithm")
	f("J01: empty signature", none("ES256"), "jwt_signature")
	f("J02: alg missing", signed(t, `{"kid":"ec"}`, payload(t, nil), "ec"), "jwt_malformed")
	f("J02: alg a number", signed(t, `{"alg":256,"kid":"ec"}`, payload(t, nil), "ec"), "jwt_malformed")
	f("J02: alg twice", signed(t, `{"alg":"none","alg":"ES256","kid":"ec"}`, payload(t, nil), "ec"), "jwt_malformed")
	f("J02: alg twice, once escaped", signed(t, `{"alg":"none","\u0061lg":"ES256","kid":"ec"}`, payload(t, nil), "ec"), "jwt_malformed")
	rsaKey := signers()["rsa"].Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	f("J03: the public key as a secret", hmacToken(t, "rsa", asPEM), "jwt_algorithm")
	f("J03: in DER", hmacToken(t, "rsa", der), "jwt_algorithm")
	f("J03: no secret at all", hmacToken(t, "rsa", nil), "jwt_algorithm")
	f("J04: alg for another type of key", signed(t, `{"alg":"RS256","kid":"ec"}`, payload(t, nil), "ec"), "jwt_algorithm")
	f("J04: alg for another curve", signed(t, `{"alg":"ES384","kid":"ec"}`, payload(t, nil), "ec"), "jwt_algorithm")
	head, body, sig := ecSigned(t)
	f("J05: r and s are 0", head+"."+body+"."+b64(make([]byte, 64)), "jwt_signature")
	digest := sha256.Sum256([]byte(head + "." + body))
	asDER, err := ecdsa.SignASN1(rand.Reader, signers()["ec"].(*ecdsa.PrivateKey), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	f("J06: signature in DER", head+"."+body+"."+b64(asDER), "jwt_signature")
	f("J06: last character of the signature", head+"."+body+"."+malleable(sig), "jwt_malformed")
	f("J30: padding", head+"."+body+"."+sig+"==", "jwt_malformed")
	f("J30: padding of the payload", head+"."+body+"=."+sig, "jwt_malformed")
	f("J30: the other alphabet", head+"."+body+"."+strings.Repeat("+/", 43), "jwt_malformed")

	env, _ := orders(t)
	bound := fmt.Sprintf("jwt: {issuer: %q, audience: orders, jwks: {inline: '{\"keys\":[%s]}'}}", issuerURL, jwkOf("rsa", signers()["rsa"], `,"alg":"PS256"`))
	middlewaretest.Run(t, env, bound, []middlewaretest.Case{
		{Name: "J04: alg is not that of the key", Request: bearer(token(t, "rsa", goodClaims(nil))), Status: 401, Reason: "jwt_algorithm"},
	})
}

func TestJWTHeaderMembers(t *testing.T) {
	f := rejects(t, "")
	with := func(more string) string {
		return signed(t, `{"alg":"ES256","kid":"ec",`+more+`}`, payload(t, nil), "ec")
	}
	f("J09: crit", with(`"crit":["x"],"x":1`), "jwt_extension")
	f("J09: crit of nothing", with(`"crit":[]`), "jwt_extension")
	f("J10: b64", with(`"b64":false,"crit":["b64"]`), "jwt_extension")
	f("J10: b64 without crit", with(`"b64":false`), "jwt_extension")
	for _, typ := range []string{"dpop+jwt", "logout+jwt", "JWE", "secevent+jwt", "application/logout+jwt", "application/"} {
		f("J11: typ "+typ, with(fmt.Sprintf(`"typ":%q`, typ)), "jwt_type")
	}
	f("J11: typ a number", with(`"typ":1`), "jwt_malformed")
	f("J12: nested", with(`"cty":"JWT"`), "jwt_extension")
	f("J12: compressed", with(`"zip":"DEF"`), "jwt_extension")
	f("J12: five parts", "a.b.c.d.e", "jwt_malformed")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{`"jwk":` + jwkOf("mine", other, ""), `"jku":"http://127.0.0.1:1/keys"`, `"x5u":"http://127.0.0.1:1/cert"`, `"x5c":["AAAA"]`} {
		text := b64([]byte(`{"alg":"RS256","kid":"rsa",`+more+`}`)) + "." + b64([]byte(payload(t, nil)))
		sig, err := jwt.SigningMethodRS256.Sign(text, other)
		if err != nil {
			t.Fatal(err)
		}
		f("J13: brings its key "+more[:6], text+"."+b64(sig), "jwt_signature")
	}
	kid := func(kid string) string { return signed(t, `{"alg":"ES256"`+kid+`}`, payload(t, nil), "ec") }
	f("J14: kid a path", kid(`,"kid":"../../etc/passwd"`), "jwt_key")
	f("J14: kid of SQL", kid(`,"kid":"' OR 1=1"`), "jwt_key")
	f("J14: kid with NUL", kid(`,"kid":"ec\u0000"`), "jwt_key")
	f("J14: kid of 257 bytes", kid(`,"kid":"`+strings.Repeat("k", 257)+`"`), "jwt_malformed")
	f("J14: kid of 64 KiB", kid(`,"kid":"`+strings.Repeat("k", 64<<10)+`"`), "jwt_too_large")
	f("J14: kid an array", kid(`,"kid":["ec"]`), "jwt_malformed")
	f("J14: kid missing", kid(""), "jwt_key")
	f("J14: kid empty", kid(`,"kid":""`), "jwt_malformed")

	env, _ := orders(t)
	accept := func(typ string) middlewaretest.Case {
		return middlewaretest.Case{Name: "J11: typ " + typ, Request: bearer(with(fmt.Sprintf(`"typ":%q`, typ))), Proves: "ada"}
	}
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{accept("JWT"), accept("jwt"), accept("at+jwt"), accept("application/at+JWT")})
	middlewaretest.Run(t, env, jwtBlock(", types: [at+jwt]"), []middlewaretest.Case{
		{Name: "J11: an ID token for an access token", Request: bearer(with(`"typ":"JWT"`)), Status: 401, Reason: "jwt_type"},
	})
}

func TestJWTForm(t *testing.T) {
	f := rejects(t, "")
	with := func(payload string) string { return signed(t, ecHeader, payload, "ec") }
	whole := payload(t, nil)
	f("J27: a list", with(`[1]`), "jwt_malformed")
	f("J27: null", with(`null`), "jwt_malformed")
	f("J27: trailing bytes", with(whole+"x"), "jwt_malformed")
	f("J27: two objects", with(whole+whole), "jwt_malformed")
	f("J28: dots", strings.Repeat(".", 1<<20), "jwt_too_large")
	f("J28: 8 KiB of dots", strings.Repeat(".", 8<<10), "jwt_malformed")
	f("J28: 8 MiB", with(whole[:len(whole)-1]+`,"x":"`+strings.Repeat("x", 8<<20)+`"}`), "jwt_too_large")
	deep := func(n int) string {
		return with(whole[:len(whole)-1] + `,"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	f("J29: depth of 9000", deep(9000), "jwt_too_large")
	f("J29: depth of 100", deep(100), "jwt_malformed")
	f("no UTF-8", with(whole[:len(whole)-1]+",\"x\":\"\xff\"}"), "jwt_malformed")
	f("half a surrogate", with(whole[:len(whole)-1]+`,"x":"\ud800"}`), "jwt_malformed")
	head, body, sig := ecSigned(t)
	f("J31: wrong signature", head+"."+body+"."+b64(make([]byte, 64)), "jwt_signature")
	expired := strings.Split(signed(t, ecHeader, payload(t, members{"exp": 1000, "iat": nil}), "ec"), ".")
	f("J31: expired and a wrong signature", expired[0]+"."+expired[1]+"."+sig, "jwt_signature")
	f("J31: expired", strings.Join(expired, "."), "jwt_expired")
}

func TestJWTCredential(t *testing.T) {
	env, _ := orders(t)
	good := token(t, "ec", goodClaims(nil))
	bad := func(name, lines string) middlewaretest.Case {
		return middlewaretest.Case{Name: name, Request: "GET /\n" + lines, Status: 400, Reason: "jwt_ambiguous"}
	}
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{
		bad("J32: Bearer twice", "Authorization: Bearer "+good+"\nAuthorization: Bearer "+good),
		bad("J32: two in one line", "Authorization: Bearer "+good+", Bearer "+good),
		bad("J32: Basic and Bearer", "Authorization: Basic YTpi, Bearer "+good),
		bad("J32: without a space", "Authorization: Basic YTpi,Bearer "+good),
		bad("J32: two spaces", "Authorization: Bearer  "+good),
		bad("J32: a tab", "Authorization: Bearer\t "+good),
		bad("J32: nothing", "Authorization: Bearer"),
		{Name: "J32: bearer", Request: "GET /\nAuthorization: bearer " + good, Proves: "ada"},
		{Name: "J32: BEARER", Request: "GET /\nAuthorization: BEARER " + good, Proves: "ada"},
		{Name: "J33: in the query", Request: "GET /?access_token=" + good, Status: 401, Reason: "jwt_missing"},
		{Name: "J33: in a form", Request: "POST /\nContent-Type: application/x-www-form-urlencoded\n\naccess_token=" + good, Status: 401, Reason: "jwt_missing"},
		{Name: "J34: a cookie that is not asked for", Request: "GET /\nCookie: session=" + good, Status: 401, Reason: "jwt_missing"},
	})
	cookie := func(name, request string) middlewaretest.Case {
		return middlewaretest.Case{Name: name, Request: request, Proves: "ada"}
	}
	middlewaretest.Run(t, env, jwtBlock(", cookie: session, forward: false"), []middlewaretest.Case{
		{Name: "J34: GET", Request: "GET /\nCookie: a=1; session=" + good + "; b=2", Proves: "ada", Sent: map[string]string{"Cookie": "a=1; b=2"}},
		{Name: "alone", Request: "GET /\nCookie: session=" + good, Proves: "ada", Sent: map[string]string{"Cookie": ""}},
		{Name: "J34: POST", Request: "POST /\nCookie: session=" + good, Status: 403, Reason: "jwt_csrf"},
		{Name: "J34: POST with the header", Request: "POST /\nAuthorization: Bearer " + good, Proves: "ada"},
		bad("cookie and header", "Cookie: session="+good+"\nAuthorization: Bearer "+good),
		bad("cookie twice", "Cookie: session="+good+"; session="+good),
	})
	middlewaretest.Run(t, env, jwtBlock(", cookie: session, cookie_csrf: origin"), []middlewaretest.Case{
		cookie("same origin", "POST /\nSec-Fetch-Site: same-origin\nCookie: session="+good),
		{Name: "J34: another site", Request: "POST /\nSec-Fetch-Site: cross-site\nCookie: session=" + good, Status: 403, Reason: "jwt_csrf"},
		{Name: "J34: another origin", Request: "POST /\nOrigin: https://evil.example\nCookie: session=" + good, Status: 403, Reason: "jwt_csrf"},
	})
	middlewaretest.Run(t, env, jwtBlock(", header: x-token, forward: false"), []middlewaretest.Case{
		{Name: "bare", Request: "GET /\nX-Token: " + good, Proves: "ada", Sent: map[string]string{"X-Token": ""}},
		{Name: "behind Bearer", Request: "GET /\nX-Token: Bearer " + good, Proves: "ada"},
		{Name: "Authorization is not looked at", Request: bearer(good), Status: 401, Reason: "jwt_missing"},
	})
}

// gRPC callers get the status in their own terms.
func TestJWTRefusesGRPC(t *testing.T) {
	env, _ := orders(t)
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{{
		Name: "unauthenticated", Request: "POST /a.B/C\nContent-Type: application/grpc", Reason: "jwt_missing",
		Prepare: func(r *http.Request, _ *gateway.Exchange) { r.ProtoMajor = 2 },
		Header:  map[string]string{"Grpc-Status": "16", "WWW-Authenticate": `Bearer realm="pithead"`},
	}})
}
