package middleware_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestSecurityHeaders(t *testing.T) {
	f := func(name, settings, scheme string, answer http.Header, want map[string]string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env, cluster := orders(t)
			cluster.Handle(func(w http.ResponseWriter, _ *http.Request) { maps.Copy(w.Header(), answer) })
			a := send(t, env, middlewaretest.Build(t, env, "security_headers: {"+settings+"}"), "GET /", &gateway.Exchange{Scheme: scheme})
			got := map[string]string{}
			for name, values := range a.Header {
				got[name] = strings.Join(values, "|")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	defaults := func(more ...string) map[string]string {
		m := map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "strict-origin-when-cross-origin",
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	f("defaults", "", "https", nil, defaults())
	f("none of the defaults", `nosniff: false, frame: "", referrer: "", resource: same-site`, "https", nil, map[string]string{"Cross-Origin-Resource-Policy": "same-site"})
	f("all", `frame: sameorigin, referrer: no-referrer, permissions: "camera=(), geolocation=(self)", opener: same-origin, resource: cross-origin, embedder: require-corp, csp: "default-src 'self'", csp_report_only: "default-src 'none'"`,
		"http", nil, map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "no-referrer", "Permissions-Policy": "camera=(), geolocation=(self)",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "cross-origin", "Cross-Origin-Embedder-Policy": "require-corp",
			"Content-Security-Policy": "default-src 'self'", "Content-Security-Policy-Report-Only": "default-src 'none'",
		})
	f("hsts", "hsts: {max_age: 8760h}", "https", nil, defaults("Strict-Transport-Security", "max-age=31536000"))
	f("hsts without TLS", "hsts: {max_age: 8760h}", "http", nil, defaults())
	f("hsts, all", "hsts: {max_age: 8760h, include_subdomains: true, preload: true}", "https", nil,
		defaults("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"))
	f("hsts, forget", "hsts: {max_age: 0s}", "https", nil, defaults("Strict-Transport-Security", "max-age=0"))
	upstream := http.Header{
		"X-Frame-Options": {"SAMEORIGIN"}, "Content-Security-Policy": {"default-src *", "img-src *"}, "Strict-Transport-Security": {"max-age=1"},
		"Server": {"nginx/1.0"}, "X-Powered-By": {"PHP/5"}, "X-Aspnet-Version": {"2"}, "Via": {"1.1 x"},
	}
	const policies = `hsts: {max_age: 2s}, csp: "default-src 'nonce-{nonce}'"`
	f("the upstream has a say", policies, "https", upstream, defaults("X-Frame-Options", "SAMEORIGIN", "Content-Security-Policy", "default-src *|img-src *",
		"Strict-Transport-Security", "max-age=1", "Server", "nginx/1.0", "X-Powered-By", "PHP/5", "X-Aspnet-Version", "2", "Via", "1.1 x"))
	f("override", `hsts: {max_age: 2s}, csp: "default-src 'self'", override: true, hide_software: true`, "https", upstream,
		defaults("Content-Security-Policy", "default-src 'self'", "Strict-Transport-Security", "max-age=2", "Via", "1.1 x"))
	f("hide software", `nosniff: false, frame: "", referrer: "", hide_software: true`, "https", http.Header{"Server": {"x"}, "X-Powered-By": {"y"}}, map[string]string{})
}

func TestSecurityHeadersNonce(t *testing.T) {
	env, cluster := orders(t)
	const policies = `csp: "script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'", csp_report_only: "script-src 'nonce-{nonce}'"`
	step := middlewaretest.Build(t, env, "security_headers: {"+policies+"}")
	seen := make(map[string]bool)
	for range 100 {
		a := send(t, env, step, "GET /", &gateway.Exchange{})
		nonce := a.Sent.Header.Get("X-Csp-Nonce")
		raw, err := base64.StdEncoding.DecodeString(nonce)
		if err != nil || len(raw) != 16 || seen[nonce] {
			t.Fatalf("nonce %q: %v", nonce, err)
		}
		seen[nonce] = true
		want := "script-src 'nonce-" + nonce + "'; style-src 'nonce-" + nonce + "'"
		if got := a.Header.Get("Content-Security-Policy"); got != want {
			t.Errorf("policy %q, want %q", got, want)
		}
		if got := a.Header.Get("Content-Security-Policy-Report-Only"); got != "script-src 'nonce-"+nonce+"'" {
			t.Errorf("policy to try %q", got)
		}
		if a.Header.Get("X-Csp-Nonce") != "" {
			t.Error("the nonce is in the answer")
		}
	}
	named := middlewaretest.Build(t, env, "security_headers: {nonce_header: x-nonce, "+policies+"}")
	if a := send(t, env, named, "GET /", &gateway.Exchange{}); a.Sent.Header.Get("X-Nonce") == "" || a.Sent.Header.Get("X-Csp-Nonce") != "" {
		t.Errorf("sent %v", a.Sent.Header)
	}
	if diff := cmp.Diff([]string{"X-Nonce"}, named.Owns); diff != "" {
		t.Errorf("owns: %s", diff)
	}
	if plain := middlewaretest.Build(t, env, "security_headers: {}"); plain.Owns != nil {
		t.Errorf("owns %v without a nonce", plain.Owns)
	}
	cluster.Break(&gateway.Error{Status: 503, Reason: "connect_failed", Cause: gateway.CauseNetwork})
	a := send(t, env, step, "GET /", &gateway.Exchange{})
	if a.Status != 503 || a.Header.Get("X-Frame-Options") != "DENY" || !strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "script-src 'nonce-") {
		t.Errorf("the gateway's own answer: %d %v", a.Status, a.Header)
	}
}

func TestSecurityHeadersMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f(`security_headers: {nosniff: false, frame: "", referrer: ""}`, "1:1: sets nothing")
	f("security_headers: {hsts: {}}", `1:20: hsts: "max_age" is required`)
	f("security_headers: {hsts: {max_age: 1500ms}}", "1:36: is no whole number of seconds")
	const lists = "the lists of browsers want include_subdomains and a max_age of a year, 8760h"
	f("security_headers: {hsts: {max_age: 8760h, preload: true}}", "1:52: "+lists)
	f("security_headers: {hsts: {max_age: 8759h, include_subdomains: true, preload: true}}", "1:78: "+lists)
	f("security_headers: {frame: allow, referrer: some, opener: x, resource: y, embedder: z}", `1:27: "allow" is none of deny, sameorigin`,
		`1:44: "some" is none of no-referrer, no-referrer-when-downgrade, origin, origin-when-cross-origin, same-origin, strict-origin, strict-origin-when-cross-origin, unsafe-url`,
		`1:58: "x" is none of same-origin, same-origin-allow-popups, noopener-allow-popups, unsafe-none`,
		`1:71: "y" is none of same-origin, same-site, cross-origin`, `1:84: "z" is none of require-corp, credentialless, unsafe-none`)
	f(`security_headers: {csp: "script-src {nonce}", csp_report_only: "a\nb", permissions: " x"}`, "1:25: a nonce is written 'nonce-{nonce}', with its quotes",
		"1:64: a policy is one line of printable ASCII", "1:85: a policy is one line of printable ASCII")
	f(`security_headers: {csp: "script-src 'nonce-{nonce}'", nonce_header: ""}`, `1:69: "" is no name of a header`)
}

func TestSecurityHeadersExplain(t *testing.T) {
	env, _ := orders(t)
	f := func(settings, scheme, want string) {
		t.Helper()
		step := middlewaretest.Build(t, env, "security_headers: {"+settings+"}")
		if got := step.Explain(middlewaretest.Request(t, "GET /"), &gateway.Exchange{Scheme: scheme}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	const few = `nosniff: false, referrer: "", hsts: {max_age: 1h}`
	f(few, "https", "sets what the upstream does not: X-Frame-Options, Strict-Transport-Security")
	f(few+", override: true", "http", "sets X-Frame-Options")
	f(`nosniff: false, referrer: "", frame: "", csp: "script-src 'nonce-{nonce}'"`, "http", "sets what the upstream does not: Content-Security-Policy with a nonce")
	f(`nosniff: false, referrer: "", frame: "", hide_software: true`, "http", "sets nothing; removes Server, X-Powered-By, X-Aspnet-Version, X-Aspnetmvc-Version")
}

func TestSecurityHeadersBudget(t *testing.T) {
	f := func(name, settings string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, "security_headers: {"+settings+"}", "GET /v1/x")); n > want { // with the race detector it is one more than without
				t.Errorf("%v allocations, at most %v: %s", n, want, what)
			}
		})
	}
	f("fixed", "hsts: {max_age: 1h}, hide_software: true", 2, "the writer and what it does with the head")
	f("nonce", `csp: "script-src 'nonce-{nonce}'"`, 9, "those, two for the nonce, three for its header upstream, two for the policy")
}
