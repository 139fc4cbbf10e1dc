package gatewayapi_test

import (
	"strings"
	"testing"
)

func TestHTTPRouteCORS(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {prefix: /cors-1}
    use:
      - cors:
          allow_origins: ["https://www.foo.com", "https://*.bar.com"]
          allow_methods: [GET, OPTIONS]
          allow_headers: [x-header-1, x-header-2]
          expose_headers: [x-header-3, x-header-4]
          allow_credentials: true
          max_age: 1h
    to: v1
  - {match: {prefix: /cors-2}, use: [cors: {allow_origins: ["https://www.foo.com"], allow_methods: ["*"]}], to: v1}
  - {match: {prefix: /cors-wildcard-origin}, use: [cors: {allow_origins: ["*"], allow_methods: [PUT]}], to: v1}
  - {match: {prefix: /cors-wildcard-methods-headers}, use: [cors: {allow_origins: ["https://*"], allow_methods: ["*"], allow_headers: ["*"], allow_credentials: true}], to: v1}
  - {match: {prefix: /cors-wildcard-methods-headers-unauth}, use: [cors: {allow_origins: ["https://*"], allow_methods: ["*"], allow_headers: ["*"]}], to: v1}`})
	const allow = "Access-Control-Allow-"
	preflight := func(path, origin, method string, want ...string) {
		t.Helper()
		lines := []string{"Origin: " + origin, "Access-Control-Request-Method: " + method, "Access-Control-Request-Headers: x-header-1, x-header-2"}
		got := g.want("200", "OPTIONS http://a.example"+path, lines...)
		got.wantHeader(want...)
	}
	for _, origin := range []string{"https://www.foo.com", "https://www.bar.com", "https://xpto.www.bar.com"} {
		preflight("/cors-1", origin, "GET", allow+"Origin: "+origin, allow+"Methods: GET, OPTIONS", allow+"Headers: x-header-1, x-header-2",
			"Access-Control-Expose-Headers: x-header-3, x-header-4", "Access-Control-Max-Age: 3600", allow+"Credentials: true")
	}
	preflight("/cors-1", "https://foobar.com", "GET", allow+"Origin:", allow+"Methods:")
	preflight("/cors-2", "https://www.foo.com", "POST", allow+"Origin: https://www.foo.com", allow+"Methods: *", allow+"Credentials:", "Access-Control-Max-Age: 5")
	for _, origin := range []string{"https://foobar.com", "https://foobar.com:12345"} {
		preflight("/cors-wildcard-origin", origin, "PUT", allow+"Origin: *", allow+"Methods: PUT", allow+"Credentials:")
	}
	preflight("/cors-wildcard-methods-headers", "https://other.foo.com", "PUT",
		allow+"Origin: https://other.foo.com", allow+"Methods: PUT", allow+"Headers: x-header-1, x-header-2", allow+"Credentials: true")
	preflight("/cors-wildcard-methods-headers-unauth", "https://other.foo.com", "PUT",
		allow+"Origin: https://other.foo.com", allow+"Methods: *", allow+"Headers: *", allow+"Credentials:")

	simple := func(request, origin string, want ...string) {
		t.Helper()
		g.want("v1", strings.Replace(request, " ", " http://a.example", 1), "Origin: "+origin, "Authorization: Bearer test").wantHeader(want...)
	}
	simple("GET /cors-1", "https://www.foo.com", allow+"Origin: https://www.foo.com")
	simple("GET /cors-1", "https://www.bar.com", allow+"Origin: https://www.bar.com")
	simple("GET /cors-1", "https://foobar.com", allow+"Origin:")
	simple("PUT /cors-wildcard-origin", "https://foobar.com:12345", allow+"Origin: *", allow+"Credentials:")
	simple("GET /cors-wildcard-methods-headers", "https://other.foo.com", allow+"Origin: https://other.foo.com", allow+"Credentials: true")
	simple("GET /cors-wildcard-methods-headers-unauth", "https://other.foo.com", allow+"Origin: https://other.foo.com", allow+"Credentials:")
}

func TestCORSAllowCredentialsBehavior(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {path: /cors-behavior-creds-false}, use: [cors: {allow_origins: ["https://app.example"]}], to: v1}
  - {match: {path: /cors-behavior-creds-true}, use: [cors: {allow_origins: ["https://app.example"], allow_credentials: true}], to: v1}`})
	lines := []string{"Origin: https://app.example", "Cookie: sid=abc123", "Authorization: Bearer test"}
	g.want("v1", "GET http://a.example/cors-behavior-creds-false", lines...).wantHeader("Access-Control-Allow-Credentials:")
	g.want("v1", "GET http://a.example/cors-behavior-creds-true", lines...).
		wantHeader("Access-Control-Allow-Credentials: true", "Access-Control-Allow-Origin: https://app.example")
}
