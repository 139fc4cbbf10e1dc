package middleware_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// rewritten checks the target that the upstream gets, "" for a refusal.
func rewritten(t *testing.T, prefix, settings, target, want string) {
	t.Helper()
	env := under(t, prefix)
	step := middlewaretest.Build(t, env, "rewrite: {"+settings+"}")
	r := middlewaretest.Request(t, "GET "+target)
	before, uri := *r.URL, r.RequestURI
	var handed *http.Request
	wrap := step.Wrap
	step.Wrap = func(next http.Handler) http.Handler {
		return wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handed = r
			next.ServeHTTP(w, r)
		}))
	}
	a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{})
	if *r.URL != before || r.RequestURI != uri {
		t.Errorf("the client's own request became %s, which the access log would show", r.URL)
	}
	if want == "" {
		if a.Sent != nil || a.Status != http.StatusBadRequest || a.Exchange.Err == nil {
			t.Errorf("answered %d, want 400", a.Status)
		}
		return
	}
	if a.Sent == nil {
		t.Fatalf("answered %d: %v", a.Status, a.Exchange.Err)
	}
	if got := a.Sent.URL.RequestURI(); got != want || handed.RequestURI != want {
		t.Errorf("upstream got %s, and later middlewares %s; want %s", got, handed.RequestURI, want)
	}
}

// The rows are those of ReplacePrefixMatch in the Gateway API, then what
// it does not say.
func TestRewritePrefix(t *testing.T) {
	f := func(path, prefix, to, want string) {
		t.Helper()
		t.Run(path+" "+prefix+" "+to, func(t *testing.T) {
			t.Helper()
			rewritten(t, prefix, "prefix: "+to, path, want)
		})
	}
	f("/foo/bar", "/foo", "/xyz", "/xyz/bar")
	f("/foo/bar", "/foo", "/xyz/", "/xyz/bar")
	f("/foo/bar", "/foo/", "/xyz", "/xyz/bar")
	f("/foo/bar", "/foo/", "/xyz/", "/xyz/bar")
	f("/foo", "/foo", "/xyz", "/xyz")
	f("/foo/", "/foo", "/xyz", "/xyz/")
	f("/foo/bar", "/foo", "/", "/bar")
	f("/foo/", "/foo", "/", "/")
	f("/foo", "/foo", "/", "/")
	f("/foo", "/foo", "/xyz/", "/xyz")

	f("/", "/", "/xyz", "/xyz/")
	f("/foo", "/", "/xyz", "/xyz/foo")
	f("/foo?a=1&a=%202", "/foo", "/xyz", "/xyz?a=1&a=%202")
	f("/foo/foo/bar", "/foo", "/", "/foo/bar")
	f("/a/b/c", "/a/b", "/x/y/z", "/x/y/z/c")
	f("/foo/bar/", "/foo", "/", "/bar/")
	f("/caf%C3%A9/bar", "/café", "/xyz", "/xyz/bar")
	f("/caf%C3%A9/bar", "/caf%C3%A9", "/xyz", "/xyz/bar")
	f("/a%28b/bar", "/a(b", "/xyz", "/xyz/bar")
	f("/foo/a%2Fb%25c;d", "/foo", "/", "/a%2Fb%25c;d")
	f("/a%2Fb/bar", "/a%2Fb", "/xyz", "/xyz/bar")
	f("/foobar", "/foo", "/xyz", "/foobar") // as an earlier rewrite may have made it
	f("/other/bar", "/foo", "/xyz", "/other/bar")
	f("/foo", "/foo/bar", "/xyz", "/foo")
}

func TestRewritePath(t *testing.T) {
	f := func(name, settings, path, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			rewritten(t, "/", settings, path, want)
		})
	}
	f("whole", "path: /new/path", "/old?x=1", "/new/path?x=1")
	f("whole, encoded", "path: /caf%C3%A9", "/old/a%2Fb", "/caf%C3%A9")
	f("whole, the same", "path: /old", "/old?x=1", "/old?x=1")
	f("groups", `regex: "^/users/([0-9]+)/(.*)$", to: "/u/$1/$2"`, "/users/7/a/b?x=1", "/u/7/a/b?x=1")
	f("named group", `regex: "^/users/(?P<id>[0-9]+)$", to: "/u/$${id}x"`, "/users/7", "/u/7x")
	f("a group before a letter", `regex: "^/v([0-9])", to: "/$${1}v"`, "/v2/x", "/2v/x")
	f("every match", `regex: "-", to: "_"`, "/a-b-c", "/a_b_c")
	f("a dollar sign", `regex: "^/usd", to: "/$$$$"`, "/usd/1", "/$/1")
	f("cut out", `regex: "\\.html$"`, "/a/b.html", "/a/b")
	f("no match", `regex: "^/v1", to: "/v2"`, "/v3/x", "/v3/x")
	f("the canonical form is matched", `regex: "^/caf%C3%A9$", to: "/coffee"`, "/caf%C3%A9", "/coffee")
	f("decoded it does not match", `regex: "é", to: "e"`, "/caf%C3%A9", "/caf%C3%A9")
}

// To see these fail, say canon.SetPath in rewrite.apply.
func TestRewriteIsNoWayOut(t *testing.T) {
	f := func(row, prefix, settings, path, want string) {
		t.Helper()
		t.Run(row, func(t *testing.T) {
			t.Helper()
			canonical, _, err := canon.Path(path, canon.AnyEncoded)
			if err != nil {
				if want != "" {
					t.Error(err)
				}
				return // refused before there is a route
			}
			rewritten(t, prefix, settings, canonical, want)
		})
	}
	const strip = `regex: "^/api"`
	f("P13", "/api", "prefix: /", "/api%2e/admin", "/api./admin") // which the route does not match
	f("P13 by expression", "/", strip, "/api%2e/admin", "")
	f("P13 to a dot segment", "/", strip+", to: /", "/api%2e/admin", "")
	f("P13 to two dots", "/", strip+", to: /", "/api%2e%2e/admin", "")
	f("P13 dots and an encoded slash", "/api", "prefix: /", "/api/..%2fadmin", "")
	f("P13 two slashes", "/", strip+", to: /", "/api/admin", "")
	f("P13 nothing left", "/", strip, "/api", "")
	f("P13 no slash left", "/", strip+", to: x", "/api/admin", "")
	f("P13 two slashes as a prefix", "/api", "prefix: /", "/api//admin", "/admin") // merged before the match
	f("P14", "/", `regex: "^/files/(.*)/(.*)$", to: "/$2$1"`, "/files/./.", "")
	f("P14 dots put together", "/", `regex: "^/files/(.*)-(.*)$", to: "/$1$2"`, "/files/.-./admin", "")
	f("P14 dots laid bare", "/", `regex: "x"`, "/a/.x./admin", "")
	f("P14 an escape put together", "/", `regex: "25x"`, "/a/%25x2e%25x2e/admin", "")
	f("P14 an escape cut in two", "/", `regex: "2(F)", to: "$1"`, "/a%2Fb", "")
	f("P14 a letter that need not be escaped", "/", `regex: "%C3%A9", to: "$0"`, "/caf%C3%A9", "/caf%C3%A9")
	f("P14 slashes put together", "/", `regex: "x"`, "/a/x/admin", "")
}

func TestRewriteHost(t *testing.T) {
	env := under(t, "/api")
	host := func(want string) func(testing.TB, middlewaretest.Answer) {
		return func(t testing.TB, a middlewaretest.Answer) {
			if a.Sent.Host != want {
				t.Errorf("upstream got Host %s, want %s", a.Sent.Host, want)
			}
		}
	}
	middlewaretest.Run(t, env, "rewrite: {host: Internal.example, prefix: /}", cases{
		{Name: "both", Request: "GET http://a.example/api/x", Sent: header{"X-Forwarded-Host": "a.example"}, Check: host("internal.example")},
		{
			Name: "an untrusted peer has no say", Request: "GET http://a.example/api\nX-Forwarded-Host: forged",
			Sent: header{"X-Forwarded-Host": "a.example"},
		},
		{
			Name: "behind a proxy", Request: "GET http://a.example/api\nX-Forwarded-Host: public.example", Sent: header{"X-Forwarded-Host": "public.example"},
			Prepare: func(_ *http.Request, x *gateway.Exchange) { x.Trusted = true }, Check: host("internal.example"),
		},
		{
			Name: "behind a proxy that does not say", Request: "GET http://a.example/api", Sent: header{"X-Forwarded-Host": "a.example"},
			Prepare: func(_ *http.Request, x *gateway.Exchange) { x.Trusted = true },
		},
	})
	middlewaretest.Run(t, env, "rewrite: {host: \"internal.example:8080\"}", cases{
		{Name: "with a port", Request: "GET http://a.example/api", Check: host("internal.example:8080")},
	})
	middlewaretest.Run(t, env, "rewrite: {prefix: /}", cases{
		{Name: "not asked for", Request: "GET http://a.example/api", Sent: header{"X-Forwarded-Host": ""}, Check: host("a.example")},
	})
}

func TestRewriteExplain(t *testing.T) {
	f := func(settings, path, want string, status int) {
		t.Helper()
		env := under(t, "/v1")
		step := middlewaretest.Build(t, env, "rewrite: {"+settings+"}")
		x := &gateway.Exchange{}
		if got := step.Explain(middlewaretest.Request(t, "GET "+path), x); got != want || x.Status != status {
			t.Errorf("got  %s, status %d\nwant %s, status %d", got, x.Status, want, status)
		}
		h := http.Header{}
		if x.ApplyUpstreamHeaders(h); len(h) > 0 {
			t.Errorf("explaining has changed what goes upstream: %v", h)
		}
	}
	f("prefix: /", "/v1/x?y", "path /v1/x becomes /x", 0)
	f("regex: b, to: c", "/v1/x", "path /v1/x stays", 0)
	f("host: b.example", "/v1/x", "path /v1/x stays, host api.example.com becomes b.example", 0)
	f("host: b.example, path: /y", "/v1/x", "path /v1/x becomes /y, host api.example.com becomes b.example", 0)
	f("regex: ^/v1", "/v1./x", "refuses with 400: the path does not begin with a slash", 400)
}

func TestRewriteMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, "rewrite:\n  "+settings+"\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", settings, diff)
		}
	}
	f("{}", "1:1: changes nothing; give host, path, prefix or regex")
	f("{path: /a, prefix: /b, regex: c}", "1:1: give only one of path, prefix and regex")
	f("{host: a b, path: /a b, to: x}", `2:10: "a b" is no host`, `2:21: "/a b" is not canonical; write /a%20b`, "2:31: is of no use without a regex")
	f("prefix: a", `2:11: "a" cannot be the path of a request: the path does not begin with a slash`)
	f("prefix: /b", `2:11: there is no prefix to replace: route "test" does not match by one prefix and nothing else`)
	f("path: /a%2Fb", `2:9: "/a%2Fb" cannot be the path of a request: the path holds an encoded slash`)
	f(`regex: "("`, "2:10: error parsing regexp: missing closing ): `(`")
	f(`{regex: "/(a)", to: "/$1x"}`, `2:23: $1x is no group of the regex; write $${1}x`)
	f(`{regex: "/(a)", to: "/$2"}`, `2:23: $2 is no group of the regex`)
	f(`{regex: "/(?P<id>a)", to: "/$${ip}"}`, `2:29: ${ip} is no group of the regex`)
	f(`{regex: "/a", to: "/$"}`, "2:21: a dollar sign by itself is written $$$$")
	f(`{regex: "/a", to: "/$${1"}`, "2:21: a dollar sign by itself is written $$$$")
	f(`{regex: "/a", to: "/b?c=1"}`, `2:21: "/b?c=1" cannot be in the path of a request: the path holds a control character, a backslash, a number sign or a query`)
	f(`{regex: "/a", to: "/b/../c"}`, `2:21: "/b/../c" cannot be in the path of a request: the path holds a dot segment`)
	f(`{regex: "/(a)", to: "//$1"}`, `2:23: "//$1" makes paths that are not canonical: /x//xx would be /x/xx`)
}

func TestRewriteBudget(t *testing.T) {
	f := func(name, settings, request string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, "rewrite: {"+settings+"}", request)); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("no match", "regex: ^/v2", "GET /v1/orders/7", 0, "")
	f("prefix", "prefix: /v2", "GET /v1/orders/7", 2, "the path and the request")
	f("stripped", "prefix: /", "GET /v1/orders/7?x=1", 2, "the request and its target")
	f("host", "host: b.example", "GET /v1/orders/7", 4, "the request, the map of headers with its first group, and the list of X-Forwarded-Host")
}
