package middleware_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// as is a caller with claims.
func as(subject string, claims gateway.Claims) func(*http.Request, *gateway.Exchange) {
	return func(_ *http.Request, x *gateway.Exchange) { x.Subject, x.Claims = subject, claims }
}

func TestAuthorize(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	claims := gateway.Claims{"scope": "orders:read a", "roles": []any{"x", "y"}, "level": json.Number("3"), "org": map[string]any{"id": "o1"}}
	cert := clientCert(t, func(c *x509.Certificate) { c.DNSNames = []string{"a.example"} })
	unverified := func(r *http.Request, _ *gateway.Exchange) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	}
	for _, one := range []struct {
		name, allow, request string
		prepare              func(*http.Request, *gateway.Exchange)
		want                 bool
	}{
		{"the whole of it", `subject != "" && method in ["GET"] && path.startsWith("/v1/") && "orders:read" in scopes`, "GET /v1/a", as("a", claims), true},
		{"nobody", `subject != ""`, "GET /", nil, false},
		{"another method", `method in ["GET"]`, "POST /", nil, false},
		{"another scope", `"orders:write" in scopes`, "GET /", as("a", claims), false},
		{"a list in claims", `"y" in claims.roles`, "GET /", as("a", claims), true},
		{"a number in claims", `claims.level >= 3`, "GET /", as("a", claims), true},
		{"an object in claims", `claims.org.id == "o1"`, "GET /", as("a", claims), true},
		{"a claim of another type", `claims.level == "3"`, "GET /", as("a", claims), false},
		{"a claim that is not there", `claims.role != "guest"`, "GET /", as("a", claims), false},
		{"no claims at all", `!has(claims.role)`, "GET /", as("a", nil), true},
		{"an error beside what holds", `claims.role == "a" || method == "GET"`, "GET /", as("a", claims), true},
		{"a header", `headers["x-tenant"] == "t1"`, "GET /\nX-Tenant: t1", nil, true},
		{"a header twice", `headers["x-tenant"] == "t1"`, "GET /\nX-Tenant: t1\nX-Tenant: t2", nil, false},
		{"a header that is not there", `headers["x-tenant"] != "t1"`, "GET /", nil, false},
		{"query", `query["a"] == ["1", "2"]`, "GET /?a=1&b=3&a=2", nil, true},
		{"host without port", `host == "api.example.com"`, "GET http://api.example.com:81/", nil, true},
		{"client", `client.in_cidr("192.0.2.0/24") && client == "192.0.2.1"`, "GET /", nil, true},
		{"a client of another family", `client.in_cidr("::/0")`, "GET /", nil, false},
		{"a client without address", `client.in_cidr("0.0.0.0/0")`, "GET /", func(_ *http.Request, x *gateway.Exchange) { x.Client = netip.Addr{} }, false},
		{"scheme and route", `scheme == "https" && route == "test"`, "GET /", nil, true},
		{"a certificate", `"a.example" in tls.dns`, "GET /", shows(cert, true), true},
		{"a certificate nobody verified", `"a.example" in tls.dns || tls.uris.size() > 0`, "GET /", unverified, false},
	} {
		t.Run(one.name, func(t *testing.T) {
			c := middlewaretest.Case{Name: one.allow, Request: one.request, Prepare: one.prepare}
			if !one.want {
				c.Status, c.Reason = 403, "denied"
			}
			if one.prepare != nil {
				x := &gateway.Exchange{}
				one.prepare(middlewaretest.Request(t, "GET /"), x)
				c.Proves = x.Subject
			}
			text, _ := json.Marshal(one.allow)
			middlewaretest.Run(t, env, "authorize: {allow: "+string(text)+"}", []middlewaretest.Case{c})
		})
	}
}

func TestAuthorizeRules(t *testing.T) {
	const rules = `authorize:
  tell: true
  rules:
    - {name: no_admin, deny: 'path.startsWith("/admin")'}
    - {name: broken, deny: 'headers["x-a"] == "1"'}
    - {name: readers, allow: 'method == "GET"'}
`
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	middlewaretest.Run(t, env, rules, []middlewaretest.Case{
		{Name: "the first that holds", Request: "GET /admin\nX-A: 2", Status: 403, Reason: "denied_no_admin"},
		{Name: "a deny that fails denies", Request: "GET /", Status: 403, Reason: "denied_broken"},
		{Name: "allowed", Request: "GET /\nX-A: 2"},
		{Name: "none holds", Request: "POST /\nX-A: 2", Status: 403, Reason: "denied"},
	})
	needs := func(rule string) []gateway.Identity {
		return middlewaretest.Build(t, env, "authorize: {allow: '"+rule+"'}").Needs
	}
	for rule, want := range map[string]int{`method == "GET"`: 0, `"subject" == "a"`: 0, `subject == "a"`: 1, `has(claims.a)`: 1, `"a" in scopes`: 1} {
		if got := needs(rule); len(got) != want || want > 0 && !slices.Contains(got, gateway.Subject) {
			t.Errorf("%s needs %v", rule, got)
		}
	}
}

// TestAuthorizeCost: what the estimate lets pass and a request of unusual size makes
// dear ends closed.
func TestAuthorizeCost(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	const block = `authorize: {allow: 'path.contains("x")', max_cost: 1000}`
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "usual", Request: "GET /x"},
		{Name: "dear", Request: "GET /" + strings.Repeat("a", 200_000), Status: 500, Reason: "authorize_cost"},
	})
}

func TestAuthorizeMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string][]string{
		`authorize: {}`:                     {`1:1: nobody would get through; give allow, or a list of rules`},
		`authorize: {allow: 'method == 1'}`: {`1:28: found no matching overload for '_==_' applied to '(string, int)'`},
		`authorize: {allow: metod == 1}`:    {`1:20: undeclared reference to 'metod' (did you mean 'method'?)`},
		"authorize:\n  allow: |\n    method == \"GET\" &&\n    pth == \"/\"": {`4:5: undeclared reference to 'pth' (did you mean 'path'?)`},
		`authorize: {allow: method}`:                                         {`1:20: is a string and must be true or false`},
		`authorize: {allow: 'client.in_cidr("10.0.0.1")'}`:                   {`1:36: "10.0.0.1" is no network such as 10.0.0.0/8`},
		`authorize: {allow: 'path.contains("x")', max_cost: 10}`:             {`1:20: may cost 83 for one request, more than the 10 of max_cost`},
		`authorize: {rules: [{name: A, allow: 'true', deny: 'true'}]}`: {
			`1:21: a rule has either allow or deny`, `1:28: "A" is no name of small letters, digits and underscores`,
		},
	} {
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
}

func benchmarkRule(b *testing.B, allow string) {
	env := middlewaretest.Env(b, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(b, env, "authorize: {allow: '"+allow+"'}")
	passed := 0
	h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }))
	x := &gateway.Exchange{Subject: "a", Client: netip.MustParseAddr("192.0.2.1"), Claims: gateway.Claims{"role": "admin"}}
	r := gateway.WithExchange(middlewaretest.Request(b, "GET /v1/orders"), x)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nil, r)
	}
	if passed == 0 {
		b.Error("nothing passed")
	}
}

func BenchmarkAuthorize(b *testing.B) {
	b.Run("method and path", func(b *testing.B) { benchmarkRule(b, `method in ["GET"] && path.startsWith("/v1/")`) })
	b.Run("claim", func(b *testing.B) { benchmarkRule(b, `claims.role == "admin"`) })
	b.Run("client", func(b *testing.B) { benchmarkRule(b, `client.in_cidr("192.0.2.0/24")`) })
}

// TestAuthorizeAllocations: the facts, the values that the rule reads, and no
// environment for each request.
func TestAuthorizeAllocations(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(t, env, `authorize: {allow: 'method in ["GET"] && path.startsWith("/v1/")'}`)
	h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := gateway.WithExchange(middlewaretest.Request(t, "GET /v1/orders"), &gateway.Exchange{})
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(nil, r) }); n > 12 {
		t.Errorf("%v allocations", n)
	}
}
