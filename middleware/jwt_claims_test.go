package middleware_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestJWTTimes(t *testing.T) {
	f := rejects(t, "")
	now := time.Now().Unix()
	with := func(exp, more string) string {
		text := fmt.Sprintf(`{"iss":%q,"aud":"orders","sub":"ada"%s%s}`, issuerURL, exp, more)
		return signed(t, ecHeader, text, "ec")
	}
	exp := func(v string) string { return with(`,"exp":`+v, "") }
	soon := fmt.Sprintf(`,"exp":%d`, now+300)
	f("J15: no exp", with("", ""), "jwt_expiry")
	f("J16: exp 0", exp("0"), "jwt_expiry")
	f("J17: exp a text", exp(fmt.Sprintf(`"%d"`, now+300)), "jwt_expiry")
	f("J17: exp true", exp("true"), "jwt_expiry")
	f("J17: exp null", exp("null"), "jwt_expiry")
	f("J18: exp 9e18", exp("9e18"), "jwt_expiry")
	f("J18: exp in 100 years", exp(fmt.Sprint(now+100*365*86400)), "jwt_lifetime")
	f("J18: exp 25 h after iat", with(fmt.Sprintf(`,"exp":%d`, now+3600), fmt.Sprintf(`,"iat":%d`, now-24*3600)), "jwt_lifetime")
	f("J19: exp 1e300", exp("1e300"), "jwt_expiry")
	f("J19: exp 1e999", exp("1e999"), "jwt_expiry")
	f("J19: exp -1", exp("-1"), "jwt_expiry")
	f("J20: nbf 1e300", with(soon, `,"nbf":1e300`), "jwt_claims")
	f("J20: nbf a text", with(soon, `,"nbf":"now"`), "jwt_claims")
	f("J21: exp twice, past first", with(`,"exp":1`, soon), "jwt_malformed")
	f("J21: exp twice, past last", with(soon, `,"exp":1`), "jwt_malformed")
	f("J22: iat in the future", with(soon, fmt.Sprintf(`,"iat":%d`, now+60)), "jwt_not_yet")
	f("iat a text", with(soon, `,"iat":"now"`), "jwt_claims")
}

func TestJWTAudience(t *testing.T) {
	f := rejects(t, "")
	aud := func(v any) string { return token(t, "ec", goodClaims(members{"aud": v})) }
	f("J24: with a number", aud([]any{"orders", 7}), "jwt_audience")
	f("J24: an object", aud(members{"orders": true}), "jwt_audience")
	f("J24: empty", aud([]any{}), "jwt_audience")
	f("J24: missing", aud(nil), "jwt_audience")
	f("J24: another", aud("orders2"), "jwt_audience")
	iss := func(v any) string { return token(t, "ec", goodClaims(members{"iss": v})) }
	f("J25: iss a list", iss([]any{issuerURL}), "jwt_issuer")
	f("J25: trailing slash", iss(issuerURL+"/"), "jwt_issuer")
	f("J25: other case", iss("https://ID.example.com"), "jwt_issuer")
	f("J25: missing", iss(nil), "jwt_issuer")
	env, _ := orders(t)
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{
		{Name: "J24: a list with ours", Request: bearer(aud([]any{"shop", "orders"})), Proves: "ada"},
	})
}

// The same request again and again, so that the one that fails is one whose token
// is remembered.
func TestJWTClock(t *testing.T) {
	f := func(name string, claims func(now int64) members, wait time.Duration, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env, _ := orders(t)
				step := middlewaretest.Build(t, env, jwtBlock(""))
				request := bearer(token(t, "ec", goodClaims(claims(time.Now().Unix()))))
				<-time.After(wait - time.Second) // the clock of the bubble
				for _, want := range []string{"", want} {
					a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
					got := ""
					if a.Exchange.Err != nil {
						got = a.Exchange.Err.Reason
					}
					if got != want {
						t.Errorf("after %s: %q, want %q", wait, got, want)
					}
					<-time.After(time.Second)
				}
			})
		})
	}
	expires := func(now int64) members { return members{"exp": now + 300} }
	f("J23: 30 s after exp", expires, 330*time.Second, "")
	f("J23: 31 s after exp", expires, 331*time.Second, "jwt_expired")
	early := rejects(t, "")
	now := time.Now().Unix()
	early("J23: 33 s before nbf", token(t, "ec", goodClaims(members{"nbf": now + 33})), "jwt_not_yet")
	env, _ := orders(t)
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{
		{Name: "J23: 28 s before nbf", Request: bearer(token(t, "ec", goodClaims(members{"nbf": now + 28}))), Proves: "ada"},
		{Name: "J22: iat within the leeway", Request: bearer(token(t, "ec", goodClaims(members{"iat": now + 28}))), Proves: "ada"},
	})
}

// What depends on a shared secret.
func TestJWTSecret(t *testing.T) {
	env, _ := orders(t)
	const secret = "0123456789abcdef0123456789abcdef"
	good := hmacToken(t, "any", []byte(secret))
	block := "jwt: {issuer: https://id.example.com, audience: orders, secret: " + secret + "}"
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "HS256", Request: bearer(good), Proves: "ada"},
		{Name: "another secret", Request: bearer(hmacToken(t, "any", []byte("x"+secret))), Status: 401, Reason: "jwt_signature"},
		{Name: "HS512 needs more", Request: bearer(tokenWith(t, members{"alg": "HS512"}, goodClaims(nil), "ec")), Status: 401, Reason: "jwt_algorithm"},
		{Name: "ES256", Request: bearer(token(t, "ec", goodClaims(nil))), Status: 401, Reason: "jwt_algorithm"},
	})
	set, err := json.Marshal(members{"keys": []any{members{"kty": "oct", "kid": "new", "k": b64([]byte(secret))}, members{"kty": "oct", "kid": "old", "k": b64([]byte("x" + secret))}}})
	if err != nil {
		t.Fatal(err)
	}
	middlewaretest.Run(t, env, fmt.Sprintf("jwt: {issuer: https://id.example.com, audience: orders, secret: '%s'}", set), []middlewaretest.Case{
		{Name: "new", Request: bearer(hmacToken(t, "new", []byte(secret))), Proves: "ada"},
		{Name: "old", Request: bearer(hmacToken(t, "old", []byte("x"+secret))), Proves: "ada"},
		{Name: "unknown", Request: bearer(hmacToken(t, "any", []byte(secret))), Status: 401, Reason: "jwt_key"},
	})
}

func TestJWTMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(name, settings string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "jwt: {"+settings+"}")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	const ok = "issuer: https://id.example.com, audience: orders, "
	f("nothing", "", "1:1: has no issuer; write the iss of the tokens, such as https://id.example.com",
		"1:1: has no audience: tokens that the issuer has made for other services would be accepted; write audience: any if that is meant")
	f("K14: no audience", "issuer: https://id.example.com", "1:1: has no audience: tokens that the issuer has made for other services would be accepted; write audience: any if that is meant")
	f("J08: short secret", ok+"secret: short", "1:65: the secret has 5 bytes; it needs at least 32; make one with openssl rand -hex 32")
	f("J08: HS512", ok+"algorithms: [HS512], secret: 0123456789abcdef0123456789abcdef", "1:70: HS512 needs a secret of at least 64 bytes; this one has 32")
	f("J08: HS256 without a secret", ok+"algorithms: [HS256]", "1:70: HS256 needs a secret; public keys must never be used as one")
	f("J01: none", ok+"algorithms: [none]", `1:70: "none" is no algorithm that can be used here; known are RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519`)
	f("K08: http", "issuer: http://id.example.com, audience: orders", "1:15: has its keys found by discovery, but http://id.example.com is not https: whoever can change its answer can make tokens; `insecure: true` under jwks accepts that")
	f("K08: http URL", ok+"jwks: http://id.example.com/keys", "1:63: http://id.example.com/keys is not https: whoever can change its answer can make tokens; `insecure: true` under jwks accepts that")
	f("K08: link-local", ok+"jwks: {url: http://169.254.169.254/keys, insecure: true}", "1:57: http://169.254.169.254/keys leads to a link-local address")
	f("no place", ok+"jwks: keys.json", `1:63: "keys.json" is no place where keys come from; write discovery, a URL, {file: PATH} or {inline: DOCUMENT}`)
	f("two places", ok+"jwks: {file: a, inline: '{}'}", "1:57: url, file and inline exclude each other", "1:81: the key set has no list of keys")
	f("no file", ok+"jwks: {file: /nowhere.json}", "1:70: open /nowhere.json: no such file or directory")
	f("J07: short keys", ok+`jwks: {inline: '{"keys":[{"kty":"RSA","n":"`+b64(make1024())+`","e":"AQAB"}]}'}`, "1:72: of 1 keys none can be used: key 0 has 1024 bits; want 2048 to 8192")
	f("K07: private", ok+`jwks: {inline: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}]}'}`, "1:72: of 1 keys none can be used: key 0 is a private key")
	f("refresh", ok+"jwks: {refresh: 1s}", "1:73: 1s is too often; at least 1m")
	f("both forms", "audience: orders, issuers: [{issuer: https://id.example.com, audience: orders}]", "1:25: issuer, audience, jwks, secret and algorithms of each issuer stand here, not beside")
	f("twice", "issuers: [{issuer: https://a.example, audience: a}, {issuer: https://a.example, audience: b}]", `1:68: "https://a.example" is there already; an issuer has one set of keys`)
	f("csrf", ok+"cookie_csrf: origin", "1:70: is of no use without a cookie")
	f("claims", ok+"claims: [{claim: a}]", "1:66: needs either equals or one_of")
	f("scopes", ok+`scopes: ["a b"]`, `1:66: "a b" is no scope; list them one by one`)
	f("headers", ok+"headers: {Authorization: sub, X-A: {claim: a, as: xml}}",
		"1:82: Authorization cannot tell of a claim: clients need it themselves", `1:107: "xml" is no way to write a claim; write text, json or base64`)
	f("header", ok+"header: X-Real-Ip", "1:65: the header X-Real-Ip cannot be read here: it is not passed on from outside")
	f("times", ok+"leeway: 1h, max_lifetime: 0s", "1:65: is more than 5m0s; set the clocks instead", "1:83: must be more than 0")
}

// make1024 is an odd number of 1024 bits.
func make1024() []byte {
	n := make([]byte, 128)
	n[0], n[127] = 0x80, 1
	return n
}
