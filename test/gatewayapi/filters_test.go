package gatewayapi_test

import (
	"net"
	"testing"
)

const modify = `headers: {request: {set: {X-Header-Set: set-overwrites-values}, add: {X-Header-Add: header-val-1, X-Header-Add-Append: header-val-2}, remove: [X-Header-Remove]}}`

func TestHTTPRouteRequestHeaderModifier(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /set}, use: [headers: {request: {set: {X-Header-Set: set-overwrites-values}}}], to: v1}
  - {match: {prefix: /add}, use: [headers: {request: {add: {X-Header-Add: add-appends-values}}}], to: v1}
  - {match: {prefix: /remove}, use: [headers: {request: {remove: [X-Header-Remove]}}], to: v1}
  - match: {prefix: /multiple}
    use:
      - headers:
          request:
            set: {X-Header-Set-1: header-set-1, X-Header-Set-2: header-set-2}
            add: {X-Header-Add-1: header-add-1, X-Header-Add-2: header-add-2, X-Header-Add-3: header-add-3}
            remove: [X-Header-Remove-1, X-Header-Remove-2]
    to: v1
  - match: {prefix: /case-insensitivity}
    use: [headers: {request: {set: {X-Header-Set: header-set}, add: {X-Header-Add: header-add}, remove: [X-Header-Remove]}}]
    to: v1`})
	f := func(path string, lines ...string) reply {
		t.Helper()
		return g.want("v1", "GET http://a.example"+path, lines...)
	}
	f("/set", "Some-Other-Header: val").wantSent("Some-Other-Header: val", "X-Header-Set: set-overwrites-values")
	f("/set", "X-Header-Set: some-other-value").wantSent("X-Header-Set: set-overwrites-values")
	f("/add", "Some-Other-Header: val").wantSent("Some-Other-Header: val", "X-Header-Add: add-appends-values")
	f("/add", "X-Header-Add: some-other-value").wantSent("X-Header-Add: some-other-value,add-appends-values")
	f("/remove", "X-Header-Remove: val").wantSent("X-Header-Remove:")
	f("/multiple", "X-Header-Set-2: set-val-2", "X-Header-Add-2: add-val-2", "X-Header-Remove-2: remove-val-2", "Another-Header: another-header-val").
		wantSent("X-Header-Set-1: header-set-1", "X-Header-Set-2: header-set-2", "X-Header-Add-1: header-add-1", "X-Header-Add-2: add-val-2,header-add-2",
			"X-Header-Add-3: header-add-3", "Another-Header: another-header-val", "X-Header-Remove-1:", "X-Header-Remove-2:")
	f("/case-insensitivity", "x-header-set: original-val-set", "x-header-add: original-val-add", "x-header-remove: original-val-remove").
		wantSent("X-Header-Set: header-set", "X-Header-Add: original-val-add,header-add", "X-Header-Remove:")
}

func TestHTTPRouteResponseHeaderModifier(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /set}, use: [headers: {response: {set: {X-Header-Set: set-overwrites-values}}}], to: v1}
  - {match: {prefix: /add}, use: [headers: {response: {add: {X-Header-Add: add-appends-values}}}], to: v1}
  - {match: {prefix: /remove}, use: [headers: {response: {remove: [X-Header-Remove]}}], to: v1}
  - {match: {prefix: /multiple}, use: [headers: {response: {set: {x-header-set: header-set-1, X-New: a}, add: {X-Header-Add: b}, remove: [x-header-remove]}}], to: v1}
  - {match: {prefix: /both}, use: [headers: {request: {set: {X-Env: prod}}, response: {set: {X-Env: test}}}], to: v1}`})
	f := func(path string) reply {
		t.Helper()
		return g.want("v1", "GET http://a.example"+path)
	}
	f("/set").wantHeader("X-Header-Set: set-overwrites-values", "X-Header-Add: of the backend")
	f("/add").wantHeader("X-Header-Add: of the backend,add-appends-values")
	f("/remove").wantHeader("X-Header-Remove:", "X-Header-Set: of the backend")
	f("/multiple").wantHeader("X-Header-Set: header-set-1", "X-New: a", "X-Header-Add: of the backend,b", "X-Header-Remove:")
	both := f("/both")
	both.wantSent("X-Env: prod")
	both.wantHeader("X-Env: test")
}

func TestHTTPRouteRewriteHost(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {host: rewrite.example, prefix: /one}, use: [rewrite: {host: one.example.org}], to: v1}
  - {match: {host: rewrite.example}, use: [rewrite: {host: example.org}], to: v2}
  - {match: {host: rewrite.example, prefix: /rewrite-host-and-modify-headers}, use: [rewrite: {host: test.example.org}, ` + modify + `], to: v2}`})
	f := func(backend, path, host string, lines ...string) reply {
		t.Helper()
		got := g.want(backend, "GET http://rewrite.example"+path, lines...)
		if got.sent.Host != host || got.sent.Target != path {
			t.Errorf("the backend got %s of host %s, want %s of %s", got.sent.Target, got.sent.Host, path, host)
		}
		return got
	}
	f("v1", "/one", "one.example.org")
	f("v2", "/two", "example.org")
	f("v2", "/rewrite-host-and-modify-headers", "test.example.org", "X-Header-Remove: remove-val", "X-Header-Add-Append: append-val-1").
		wantSent("X-Header-Add: header-val-1", "X-Header-Add-Append: append-val-1,header-val-2", "X-Header-Set: set-overwrites-values", "X-Header-Remove:")
}

func TestHTTPRouteRewritePath(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /prefix/one}, use: [rewrite: {prefix: /one}], to: v1}
  - {match: {prefix: /strip-prefix}, use: [rewrite: {prefix: /}], to: v1}
  - {match: {prefix: /full/one}, use: [rewrite: {path: /one}], to: v1}
  - {match: {prefix: /full/rewrite-path-and-modify-headers}, use: [rewrite: {path: /test}, ` + modify + `], to: v1}
  - {match: {prefix: /prefix/rewrite-path-and-modify-headers}, use: [rewrite: {prefix: /prefix}, ` + modify + `], to: v1}`})
	f := func(path, want string, lines ...string) reply {
		t.Helper()
		got := g.want("v1", "GET http://a.example"+path, lines...)
		if got.sent.Target != want {
			t.Errorf("%s became %s, want %s", path, got.sent.Target, want)
		}
		return got
	}
	f("/prefix/one/two", "/one/two")
	f("/prefix/one", "/one")
	f("/prefix/one/", "/one/")
	f("/strip-prefix/three", "/three")
	f("/strip-prefix/", "/")
	f("/strip-prefix", "/")
	f("/full/one/two", "/one")
	f("/full/one/two?a=b", "/one?a=b")
	for path, want := range map[string]string{
		"/full/rewrite-path-and-modify-headers/test":  "/test",
		"/prefix/rewrite-path-and-modify-headers/one": "/prefix/one",
	} {
		f(path, want, "X-Header-Remove: remove-val", "X-Header-Add-Append: append-val-1", "X-Header-Set: set-val").
			wantSent("X-Header-Add: header-val-1", "X-Header-Add-Append: append-val-1,header-val-2", "X-Header-Set: set-overwrites-values", "X-Header-Remove:")
	}
}

// redirects asks for paths, and compares status and Location; {port} is that of the
// listener.
func (g *gate) redirects(path string, status int, want string) {
	g.t.Helper()
	got := g.ask("GET http://a.example" + path)
	_, port, err := net.SplitHostPort(g.server.Addrs()[g.listener].String())
	if err != nil {
		g.t.Fatal(err)
	}
	if location := got.header.Get("Location"); got.status != status || location != replacePort(want, port) {
		g.t.Errorf("%s: %d to %s, want %d to %s", path, got.status, location, status, replacePort(want, port))
	}
}

func TestHTTPRouteRedirectHostAndStatus(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /hostname-redirect}, use: [redirect: {host: example.org}]}
  - {match: {prefix: /host-and-status}, use: [redirect: {host: example.org, status: 301}]}`})
	g.redirects("/hostname-redirect", 302, "http://example.org:{port}/hostname-redirect")
	g.redirects("/host-and-status", 301, "http://example.org:{port}/host-and-status")
}

// All of them at once: 301 and 302 are of the core, the others are extended.
func TestHTTPRouteRedirectStatusCodes(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {path: /301}, use: [redirect: {host: example.org, status: 301}]}
  - {match: {path: /302}, use: [redirect: {host: example.org, status: 302}]}
  - {match: {path: /303}, use: [redirect: {host: example.org, status: 303}]}
  - {match: {path: /307}, use: [redirect: {host: example.org, status: 307}]}
  - {match: {path: /308}, use: [redirect: {host: example.org, status: 308}]}`})
	for path, status := range map[string]int{"/301": 301, "/302": 302, "/303": 303, "/307": 307, "/308": 308} {
		g.redirects(path, status, "http://example.org:{port}"+path)
	}
}

func TestHTTPRouteRedirectPath(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /original-prefix}, use: [redirect: {prefix: /replacement-prefix}]}
  - {match: {prefix: /full}, use: [redirect: {path: /full-path-replacement}]}
  - {match: {prefix: /path-and-host}, use: [redirect: {host: example.org, prefix: /replacement-prefix}]}
  - {match: {prefix: /path-and-status}, use: [redirect: {prefix: /replacement-prefix, status: 301}]}
  - {match: {prefix: /full-path-and-host}, use: [redirect: {host: example.org, path: /replacement-full}]}
  - {match: {prefix: /full-path-and-status}, use: [redirect: {path: /replacement-full, status: 301}]}`})
	g.redirects("/original-prefix/lemon", 302, "http://a.example:{port}/replacement-prefix/lemon")
	g.redirects("/original-prefix/lemon?a=b", 302, "http://a.example:{port}/replacement-prefix/lemon?a=b")
	g.redirects("/full/path/original", 302, "http://a.example:{port}/full-path-replacement")
	g.redirects("/path-and-host", 302, "http://example.org:{port}/replacement-prefix")
	g.redirects("/path-and-status", 301, "http://a.example:{port}/replacement-prefix")
	g.redirects("/full-path-and-host", 302, "http://example.org:{port}/replacement-full")
	g.redirects("/full-path-and-status", 301, "http://a.example:{port}/replacement-full")
}

func TestHTTPRouteRedirectPort(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /port}, use: [redirect: {port: 8083}]}
  - {match: {prefix: /port-and-host}, use: [redirect: {port: 8083, host: example.org}]}
  - {match: {prefix: /port-and-status}, use: [redirect: {port: 8083, status: 301}]}
  - {match: {prefix: /port-and-host-and-status}, use: [redirect: {port: 8083, host: example.org, status: 302}]}`})
	g.redirects("/port", 302, "http://a.example:8083/port")
	g.redirects("/port-and-host", 302, "http://example.org:8083/port-and-host")
	g.redirects("/port-and-status", 301, "http://a.example:8083/port-and-status")
	g.redirects("/port-and-host-and-status", 302, "http://example.org:8083/port-and-host-and-status")
}

func TestHTTPRouteRedirectScheme(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /scheme}, use: [redirect: {scheme: https}]}
  - {match: {prefix: /scheme-and-host}, use: [redirect: {scheme: https, host: example.org}]}
  - {match: {prefix: /scheme-and-status}, use: [redirect: {scheme: https, status: 301}]}
  - {match: {prefix: /scheme-and-host-and-status}, use: [redirect: {scheme: https, host: example.org, status: 302}]}
  - {match: {prefix: /scheme-and-port}, use: [redirect: {scheme: https, port: 8443}]}`})
	g.redirects("/scheme", 302, "https://a.example/scheme")
	g.redirects("/scheme-and-host", 302, "https://example.org/scheme-and-host")
	g.redirects("/scheme-and-status", 301, "https://a.example/scheme-and-status")
	g.redirects("/scheme-and-host-and-status", 302, "https://example.org/scheme-and-host-and-status")
	g.redirects("/scheme-and-port", 302, "https://a.example:8443/scheme-and-port")
}
