package middleware_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestJWT(t *testing.T) {
	env, _ := orders(t)
	challenge := func(rest string) map[string]string {
		return map[string]string{"WWW-Authenticate": `Bearer realm="pithead"` + rest}
	}
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{
		{Name: "RS256", Request: bearer(token(t, "rsa", goodClaims(nil))), Proves: "ada"},
		{Name: "ES256", Request: bearer(token(t, "ec", goodClaims(nil))), Proves: "ada"},
		{Name: "EdDSA", Request: bearer(token(t, "ed", goodClaims(nil))), Proves: "ada"},
		{Name: "no token", Request: "GET /", Status: 401, Reason: "jwt_missing", Header: challenge("")},
		{Name: "another scheme", Request: "GET /\nAuthorization: Basic YTpi", Status: 401, Reason: "jwt_missing"},
		{
			Name: "bad token", Request: bearer("nonsense"), Status: 401, Reason: "jwt_malformed",
			Header: challenge(`, error="invalid_token", error_description="the token is malformed"`),
		},
	})
	good := token(t, "ec", goodClaims(nil))
	middlewaretest.Run(t, env, jwtBlock(", optional: true, forward: false"), []middlewaretest.Case{
		{Name: "optional: none", Request: "GET /"},
		{Name: "optional: bad", Request: bearer("nonsense"), Status: 401, Reason: "jwt_malformed"},
		{Name: "optional: good, and not forwarded", Request: bearer(good), Proves: "ada", Sent: map[string]string{"Authorization": ""}},
	})
	middlewaretest.Run(t, env, jwtBlock(""), []middlewaretest.Case{
		{Name: "forwarded", Request: bearer(good), Proves: "ada", Sent: map[string]string{"Authorization": "Bearer " + good}},
	})
}

func TestJWTAsksForMore(t *testing.T) {
	env, _ := orders(t)
	ask := func(claims members) string { return bearer(token(t, "ec", goodClaims(claims))) }
	scope := map[string]string{"WWW-Authenticate": `Bearer realm="shop", error="insufficient_scope", ` +
		`error_description="the token does not have the scope that is required", scope="orders.read orders.write"`}
	middlewaretest.Run(t, env, jwtBlock(`, realm: shop, scopes: [orders.read, orders.write]`), []middlewaretest.Case{
		{Name: "scope", Request: ask(members{"scope": "a orders.write orders.read"}), Proves: "ada"},
		{Name: "scp", Request: ask(members{"scp": []string{"orders.read", "orders.write"}}), Proves: "ada"},
		{Name: "one of two scopes", Request: ask(members{"scope": "orders.read"}), Status: 403, Reason: "jwt_scope", Header: scope},
		{Name: "part of a scope", Request: ask(members{"scope": "orders.read orders.writer"}), Status: 403, Reason: "jwt_scope"},
		{Name: "scope as a number", Request: ask(members{"scope": 7}), Status: 403, Reason: "jwt_scope"},
	})
	const claims = `, claims: [{claim: tenant, equals: acme}, {claim: realm.roles, one_of: [admin, "7", "true"]}]`
	roles := func(v any) string { return ask(members{"tenant": "acme", "realm": members{"roles": v}}) }
	middlewaretest.Run(t, env, jwtBlock(claims), []middlewaretest.Case{
		{Name: "in a list", Request: roles([]string{"user", "admin"}), Proves: "ada"},
		{Name: "alone", Request: roles("admin"), Proves: "ada"},
		{Name: "a number", Request: roles(7), Proves: "ada"},
		{Name: "a truth value", Request: roles(true), Proves: "ada"},
		{Name: "another one", Request: roles([]string{"user"}), Status: 403, Reason: "jwt_denied"},
		{Name: "an object", Request: roles(members{"admin": true}), Status: 403, Reason: "jwt_denied"},
		{Name: "no such claim", Request: ask(members{"tenant": "acme"}), Status: 403, Reason: "jwt_denied"},
		{Name: "null", Request: ask(members{"tenant": "acme", "realm": nil}), Status: 403, Reason: "jwt_denied"},
		{Name: "wrong tenant", Request: ask(members{"tenant": "acme2", "realm": members{"roles": "admin"}}), Status: 403, Reason: "jwt_denied"},
		{Name: "a name with a dot", Request: ask(members{"tenant": "acme", "realm.roles": "admin"}), Proves: "ada"},
	})
	middlewaretest.Run(t, env, jwtBlock(", subject: user.id"), []middlewaretest.Case{
		{Name: "another subject", Request: ask(members{"user": members{"id": "u7"}}), Proves: "u7"},
		{Name: "no subject", Request: ask(nil), Status: 401, Reason: "jwt_subject"},
		{Name: "a subject that is no text", Request: ask(members{"user": members{"id": 7}}), Status: 401, Reason: "jwt_subject"},
	})
}

func TestJWTHeaders(t *testing.T) {
	env, _ := orders(t)
	ask := func(claims members) string { return bearer(token(t, "ec", goodClaims(claims))) }
	const headers = `, headers: {x-user: sub, X-V: v, X-J: {claim: v, as: json}, X-B: {claim: v, as: base64}}`
	sent := func(v, j, b string) map[string]string {
		return map[string]string{"X-User": "ada", "X-V": v, "X-J": j, "X-B": b}
	}
	middlewaretest.Run(t, env, jwtBlock(headers), []middlewaretest.Case{
		{Name: "I14: absent when absent", Request: ask(nil), Proves: "ada", Sent: sent("", "", "")},
		{Name: "null is absent", Request: ask(members{"v": nil}), Proves: "ada", Sent: sent("", "", "")},
		{Name: "text", Request: ask(members{"v": "a+b@x.example"}), Proves: "ada", Sent: sent("a+b@x.example", `"a+b@x.example"`, b64([]byte(`"a+b@x.example"`)))},
		{Name: "number", Request: ask(members{"v": 1.5}), Proves: "ada", Sent: sent("1.5", "1.5", b64([]byte("1.5")))},
		{Name: "truth value", Request: ask(members{"v": true}), Proves: "ada", Sent: sent("true", "true", b64([]byte("true")))},
		{Name: "I15: line ends and NUL", Request: ask(members{"v": "a\r\nX-Admin: 1\x00"}), Proves: "ada", Sent: sent("a%0D%0AX-Admin:%201%00", `"a\r\nX-Admin: 1\u0000"`, b64([]byte(`"a\r\nX-Admin: 1\u0000"`)))},
		{Name: "I15: comma in a list", Request: ask(members{"v": []any{"a,admin", "b%"}}), Proves: "ada", Sent: sent("a%2Cadmin,b%25", `["a,admin","b%"]`, b64([]byte(`["a,admin","b%"]`)))},
		{Name: "I15: beyond ASCII", Request: ask(members{"v": "Zoë🐦"}), Proves: "ada", Sent: sent("Zo%C3%AB%F0%9F%90%A6", `"Zo\u00eb\ud83d\udc26"`, b64([]byte(`"Zo\u00eb\ud83d\udc26"`)))},
		{Name: "I15: object as text", Request: ask(members{"v": members{"a": 1}}), Status: 401, Reason: "jwt_header"},
		{Name: "I15: too long", Request: ask(members{"v": strings.Repeat("x", 4097)}), Status: 401, Reason: "jwt_header"},
	})
	middlewaretest.Run(t, env, jwtBlock(`, headers: {X-J: {claim: v, as: json}}`), []middlewaretest.Case{
		{Name: "object as JSON", Request: ask(members{"v": members{"a": []int{1}}}), Proves: "ada", Sent: map[string]string{"X-J": `{"a":[1]}`}},
	})
	step := middlewaretest.Build(t, env, jwtBlock(headers))
	if diff := cmp.Diff([]string{"X-B", "X-J", "X-V", "X-User"}, step.Owns); diff != "" {
		t.Errorf("I13: owned headers (-want +got):\n%s", diff)
	}
}

func TestJWTIssuers(t *testing.T) {
	env, _ := orders(t)
	block := "jwt:\n  issuers:\n" +
		"    - {issuer: https://a.example, audience: orders, jwks: {inline: '{\"keys\":[" + jwkOf("a", signers()["ec"], "") + "]}'}}\n" +
		"    - {issuer: https://b.example, audience: any, algorithms: [EdDSA], jwks: {inline: '{\"keys\":[" + jwkOf("b", signers()["ed"], "") + "," + jwkOf("rsa", signers()["rsa"], "") + "]}'}}\n"
	with := func(iss, alg, kid, signer string, claims members) string {
		all := goodClaims(members{"iss": iss})
		maps.Copy(all, claims)
		return bearer(tokenWith(t, members{"alg": alg, "kid": kid}, all, signer))
	}
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "first", Request: with("https://a.example", "ES256", "a", "ec", nil), Proves: "https://a.example#ada"},
		{Name: "second, any audience", Request: with("https://b.example", "EdDSA", "b", "ed", members{"aud": 7}), Proves: "https://b.example#ada"},
		{Name: "J26: the key of another issuer", Request: with("https://a.example", "EdDSA", "b", "ed", nil), Status: 401, Reason: "jwt_key"},
		{Name: "J26: the kid of another key", Request: with("https://a.example", "EdDSA", "a", "ed", nil), Status: 401, Reason: "jwt_algorithm"},
		{Name: "an algorithm that is not listed", Request: with("https://b.example", "RS256", "rsa", "rsa", nil), Status: 401, Reason: "jwt_algorithm"},
		{Name: "no issuer", Request: with("https://c.example", "ES256", "a", "ec", nil), Status: 401, Reason: "jwt_issuer"},
	})
}

// What explain says is what a request would get, and it proves the subject for the
// steps that follow.
func TestJWTExplains(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, jwtBlock(""))
	f := func(request, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{}
		if got := step.Explain(middlewaretest.Request(t, request), x); got != want || x.Status != status {
			t.Errorf("%s: %q and status %d, want %q and %d", request, got, x.Status, want, status)
		}
	}
	f("GET /", "answers 401 (jwt_missing): a token is required", 401)
	f(bearer(token(t, "ec", goodClaims(nil))), `the caller is "ada"; verified with the keys of https://id.example.com`, 0)
	f(bearer(token(t, "ec", goodClaims(members{"exp": 1}))), "answers 401 (jwt_expired): the token has expired", 401)
	remote := middlewaretest.Build(t, env, "jwt: {issuer: https://id.example.com, audience: orders}")
	x := &gateway.Exchange{}
	got := remote.Explain(middlewaretest.Request(t, bearer(token(t, "ec", goodClaims(nil)))), x)
	if want := `the caller is "ada"; the signature is not verified, because the keys of https://id.example.com are not at hand`; got != want || x.Subject != "ada" {
		t.Errorf("%q and subject %q, want %q", got, x.Subject, want)
	}
}
