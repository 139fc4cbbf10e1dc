package middleware_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// under is the environment of a route that matches by prefix.
func under(t testing.TB, prefix string) middleware.Env {
	t.Helper()
	env, _ := orders(t)
	env.Match.Prefix = prefix
	return env
}

// pass makes a function that sends one request through a block, on a route that
// matches /v1. What the exchange has to say is thrown away.
func pass(tb testing.TB, block, request string) func() {
	tb.Helper()
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	h, w := middlewaretest.Build(tb, under(tb, "/v1"), block).Wrap(next), discard{http.Header{}}
	x := new(gateway.Exchange)
	r := gateway.WithExchange(middlewaretest.Request(tb, request), x)
	return func() {
		clear(w.h)
		*x = gateway.Exchange{Client: clientAddr, Scheme: "https"}
		h.ServeHTTP(w, r)
	}
}

type discard struct{ h http.Header }

func (w discard) Header() http.Header         { return w.h }
func (w discard) Write(p []byte) (int, error) { return len(p), nil }
func (w discard) WriteHeader(int)             {}

// goesOn is a location: the request is passed on.
const goesOn = "-"

func TestRedirect(t *testing.T) {
	f := func(name, settings, prefix, url, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env := under(t, prefix)
			step := middlewaretest.Build(t, env, "redirect: {"+settings+"}")
			scheme, _, _ := strings.Cut(url, ":")
			a := send(t, env, step, "GET "+url, &gateway.Exchange{Scheme: scheme})
			if want == goesOn {
				if a.Sent == nil || a.Status != http.StatusOK {
					t.Errorf("answered %d, Location %s; want it passed on", a.Status, a.Header.Get("Location"))
				}
				return
			}
			if got := a.Header.Get("Location"); a.Status != http.StatusFound || got != want {
				t.Errorf("answered %d, Location %s\nwant 302, %s", a.Status, got, want)
			}
			if a.Sent != nil || a.Exchange.Upstream != "" || a.Exchange.Cluster != nil {
				t.Errorf("the upstream %s was asked", a.Exchange.Upstream)
			}
		})
	}
	f("scheme", "scheme: https", "/", "http://a.example/x?y=1&z=%20", "https://a.example/x?y=1&z=%20")
	f("scheme there already", "scheme: https", "/", "https://a.example/x", goesOn)
	f("scheme brings its own port", "scheme: https", "/", "http://a.example:8080/x", "https://a.example/x")
	f("scheme and port", "scheme: https, port: 8443", "/", "http://a.example:8080/x", "https://a.example:8443/x")
	f("scheme to http", "scheme: http", "/", "https://a.example/x", "http://a.example/x")
	f("the default port of https", "scheme: https, port: 443", "/", "http://a.example/", "https://a.example/")
	f("the default port of http", "port: 80", "/", "http://a.example:8080/", "http://a.example/")
	f("the default port of the other scheme", "port: 80", "/", "https://a.example/", "https://a.example:80/")
	f("port there already", "port: 443", "/", "https://a.example/", goesOn)
	f("host", "host: b.example", "/", "https://a.example/x?y", "https://b.example/x?y")
	f("host keeps the port", "host: b.example", "/", "http://a.example:8080/x", "http://b.example:8080/x")
	f("host there already", "host: B.example", "/", "http://b.example/x", goesOn)
	f("host is an address", "host: \"[2001:db8::1]\"", "/", "http://[2001:db8::2]:8080/x", "http://[2001:db8::1]:8080/x")
	f("path", "path: /new", "/", "https://a.example/old/x?y=1", "https://a.example/new?y=1")
	f("path there already", "path: /new", "/", "https://a.example/new?y=1", goesOn)
	f("prefix", "prefix: /new", "/old", "https://a.example/old/x%20y?z", "https://a.example/new/x%20y?z")
	f("prefix to nothing", "prefix: /", "/old", "https://a.example/old", "https://a.example/")
	f("a path without the prefix", "prefix: /new", "/old", "https://a.example/other", goesOn)
	f("all", "scheme: http, host: b.example, port: 81, prefix: /new", "/old", "https://a.example/old/x?y", "http://b.example:81/new/x?y")
	f("no query", "path: /new", "/", "https://a.example/?", "https://a.example/new")
}

// TestRedirectNeverToAnotherHost is row P18: what the client writes into the path
// cannot become the authority of the Location.
func TestRedirectNeverToAnotherHost(t *testing.T) {
	f := func(name, settings, prefix, path string) {
		t.Helper()
		t.Run("P18 "+name, func(t *testing.T) {
			t.Helper()
			canonical, _, err := canon.Path(path, canon.AnyEncoded)
			if err != nil {
				return // the canonical view, which every request passes first, refuses it
			}
			env := under(t, prefix)
			step := middlewaretest.Build(t, env, "redirect: {"+settings+"}")
			a := send(t, env, step, "GET https://a.example"+canonical, &gateway.Exchange{Scheme: "https"})
			got := a.Header.Get("Location")
			if a.Status == http.StatusBadRequest && got == "" {
				return
			}
			if rest, ok := strings.CutPrefix(got, "https://b.example/"); !ok || strings.HasPrefix(rest, "/") {
				t.Errorf("answered %d, Location %s", a.Status, got)
			}
		})
	}
	for _, path := range []string{
		"//evil.com/%2f..", "//evil.com", "/%2fevil.com", "/%2Fevil.com", "/old//evil.com", "/old/%2Fevil.com", "/old%2F%2Fevil.com",
		"/old/%5Cevil.com", "/old/@evil.com", "/old/evil.com:80",
	} {
		f("host "+path, "host: b.example", "/", path)
		if strings.HasPrefix(path, "/old") {
			f("stripped "+path, "host: b.example, prefix: /", "/old", path)
			f("prefix "+path, "host: b.example, prefix: /new/", "/old", path)
		}
	}
	t.Run("P18 a new path that is not canonical", func(t *testing.T) {
		env := under(t, "/old")
		step := middlewaretest.Build(t, env, "redirect: {prefix: /}")
		// No canonical path, so nothing that comes here; the middleware does not rely on it.
		a := send(t, env, step, "GET /old//evil.com", &gateway.Exchange{})
		if a.Status != http.StatusBadRequest || a.Header.Get("Location") != "" || a.Sent != nil {
			t.Errorf("answered %d %v", a.Status, a.Header)
		}
	})
}

func TestRedirectStatus(t *testing.T) {
	env := under(t, "/")
	for _, status := range []int{301, 302, 303, 307, 308} {
		middlewaretest.Run(t, env, "redirect: {host: b.example, status: "+itoa(status)+"}", cases{
			{Name: itoa(status), Request: "POST /x\n\nbody", Status: status, To: middlewaretest.Nowhere, Header: header{"Location": "https://b.example/x"}},
		})
	}
}

func TestRedirectExplain(t *testing.T) {
	f := func(settings, request, want string, status int) {
		t.Helper()
		env := under(t, "/v1")
		step := middlewaretest.Build(t, env, "redirect: {"+settings+"}")
		x := &gateway.Exchange{Scheme: "https", Cluster: env.To, Upstream: "orders"}
		if got := step.Explain(middlewaretest.Request(t, request), x); got != want || x.Status != status || (x.Cluster == nil) != (status == 302) {
			t.Errorf("got  %s, status %d, to %v\nwant %s, status %d", got, x.Status, x.Cluster, want, status)
		}
	}
	f("prefix: /v2", "GET /v1/x?y", "answers 302, Location: https://api.example.com/v2/x?y", 302)
	f("scheme: https", "GET /v1", "goes on: the request is where the redirect leads", 0)
	f("prefix: /", "GET /v1//x", "refuses with 400: the path is not canonical after a rewrite", 400)
}

func TestRedirectMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "redirect:\n  "+settings+"\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	f("{}", "1:1: leads nowhere; give scheme, host, port, path or prefix")
	f("status: 301", "1:1: leads nowhere; give scheme, host, port, path or prefix")
	f("{path: /a, prefix: /b}", "1:1: give only one of path and prefix")
	f("{scheme: ftp, host: a/b, port: 65536, path: a, status: 304}",
		`2:12: "ftp" is not http or https`, `2:23: "a/b" is no host`, `2:34: is not from 1 to 65535`,
		`2:47: "a" cannot be the path of a request: the path does not begin with a slash`,
		`2:58: 304 is no redirect; write 301, 302, 303, 307 or 308`)
	f("host: a.example:80", "2:9: has a port; write it under port")
	f(`host: "*.example"`, `2:9: "*.example" is no host`)
	f("path: //evil.com", `2:9: "//evil.com" is not canonical; write /evil.com`)
	f("path: /a/../b", `2:9: "/a/../b" cannot be the path of a request: the path holds a dot segment`)
	f("path: /a?b", `2:9: "/a?b" cannot be the path of a request: the path holds a control character, a backslash, a number sign or a query`)
	f("prefix: /caf é", `2:11: "/caf é" is not canonical; write /caf%20%C3%A9`)
	f("prefix: /b", `2:11: there is no prefix to replace: route "test" does not match by one prefix and nothing else`)
}

func TestRedirectBudget(t *testing.T) {
	f := func(name, settings string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, "redirect: {"+settings+"}", "GET /v1/orders/7?x=1")); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("goes on", "scheme: https", 0, "")
	f("host", "host: b.example", 2, "the location and its list")
	f("prefix", "prefix: /v2", 3, "the path, the location and its list")
}
