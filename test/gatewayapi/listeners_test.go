package gatewayapi_test

import (
	"path/filepath"
	"testing"

	"github.com/pithead/pithead/test/certtest"
)

// A host name of a listener and those of a route have an intersection, and that is
// what stands in the match here.
func TestHTTPRouteHostnameIntersection(t *testing.T) {
	g := serve(t, setup{
		listeners: "  web: {address: \"127.0.0.1:0\"}\n  all: {address: \"127.0.0.1:0\"}",
		routes: `
  - {match: {host: very.specific.com, prefix: /s1, listeners: [web]}, to: v1}
  - {match: {hosts: [foo.wildcard.io, bar.wildcard.io, foo.bar.wildcard.io], prefix: /s2, listeners: [web]}, to: v2}
  - {match: {host: very.specific.com, prefix: /s3, listeners: [web]}, to: v3}
  - {match: {host: "*.anotherwildcard.io", prefix: /s4, listeners: [web]}, to: v1}
  - {match: {hosts: [first.com, "*.first.com", second.com, "*.second.com"], listeners: [all]}, to: v2}`,
	})
	f := func(who, url string) {
		t.Helper()
		g.want(who, "GET http://"+url)
	}
	f("v1", "very.specific.com/s1")
	f("v1", "very.specific.com:1234/s1") // a port in Host does not count
	for _, host := range []string{"non.matching.com", "foo.nonmatchingwildcard.io", "foo.wildcard.io"} {
		f("404", host+"/s1")
	}
	f("404", "very.specific.com/non-matching-prefix")
	for _, host := range []string{"foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io"} {
		f("v2", host+"/s2")
	}
	for _, host := range []string{"non.matching.com", "wildcard.io", "very.specific.com"} {
		f("404", host+"/s2")
	}
	f("404", "foo.wildcard.io/non-matching-prefix")
	f("v3", "very.specific.com/s3")
	for _, host := range []string{"non.matching.com", "foo.specific.com", "foo.wildcard.io"} {
		f("404", host+"/s3")
	}
	for _, host := range []string{"foo.anotherwildcard.io", "bar.anotherwildcard.io", "foo.bar.anotherwildcard.io"} {
		f("v1", host+"/s4")
	}
	for _, host := range []string{"anotherwildcard.io", "foo.wildcard.io", "very.specific.com"} {
		f("404", host+"/s4")
	}
	f("404", "specific.but.wrong.com/s5")
	f("404", "first.com/")
	all := g.on("all")
	for _, host := range []string{"first.com", "sub.first.com", "second.com", "sub.second.com"} {
		all.want("v2", "GET http://"+host+"/")
	}
	for _, host := range []string{"third.com", "sub.third.com"} {
		all.want("404", "GET http://"+host+"/")
	}
	all.want("404", "GET http://very.specific.com/s1")
}

func TestHTTPRouteListenerHostnameMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {host: bar.com}, to: v1}
  - {match: {host: foo.bar.com}, to: v2}
  - {match: {hosts: ["*.bar.com", "*.foo.com"]}, to: v3}`})
	for host, who := range map[string]string{
		"bar.com": "v1", "foo.bar.com": "v2", "baz.bar.com": "v3", "boo.bar.com": "v3", "multiple.prefixes.bar.com": "v3",
		"multiple.prefixes.foo.com": "v3", "foo.com": "404", "no.matching.host": "404",
	} {
		g.want(who, "GET http://"+host+"/")
	}
}

// A host that is a listener's own ends there: what its routes leave over is not for
// those of a less specific one. Here that is said by a last route for the host.
func TestGatewayHTTPListenerIsolation(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /empty-hostname}, to: v1}
  - {match: {host: "*.example.com", prefix: /wildcard-example-com}, to: v1}
  - {match: {host: "*.foo.example.com", prefix: /wildcard-foo-example-com}, to: v1}
  - {match: {host: abc.foo.example.com, prefix: /abc-foo-example-com}, to: v1}
  - {match: {hosts: ["*.example.com", "*.foo.example.com", abc.foo.example.com]}, use: [respond: {status: 404}]}`})
	paths := []string{"/empty-hostname", "/wildcard-example-com", "/wildcard-foo-example-com", "/abc-foo-example-com"}
	for i, host := range []string{"bar.com", "bar.example.com", "bar.foo.example.com", "abc.foo.example.com"} {
		for j, path := range paths {
			who := "404"
			if i == j {
				who = "v1"
			}
			g.want(who, "GET http://"+host+path)
		}
	}
}

func TestHTTPRouteListenerPortMatching(t *testing.T) {
	g := serve(t, setup{
		listeners: "  a: {address: \"127.0.0.1:0\"}\n  b: {address: \"127.0.0.1:0\"}\n  c: {address: \"127.0.0.1:0\"}",
		routes: `
  - {match: {listeners: [a]}, to: v1}
  - {match: {listeners: [b]}, to: v2}
  - {match: {path: /anywhere}, to: v3}
  - {match: {path: /some, listeners: [b, c]}, to: v3}`,
	})
	for listener, who := range map[string]string{"a": "v1", "b": "v2", "c": "404"} {
		g.on(listener).want(who, "GET http://a.example/")
		g.on(listener).want("v3", "GET http://a.example/anywhere")
	}
	g.on("a").want("v1", "GET http://a.example/some")
	g.on("b").want("v3", "GET http://a.example/some")
	g.on("c").want("v3", "GET http://a.example/some")
}

func TestHTTPRouteHTTPSListener(t *testing.T) {
	g := serve(t, setup{
		listeners: secure(t, "example.org"),
		routes: `
  - {match: {host: example.org}, to: v1}
  - {match: {host: second-example.org}, to: v2}`,
	})
	g.withTLS("example.org").want("v1", "GET https://example.org/")
	g.withTLS("second-example.org").want("v2", "GET https://second-example.org/")
	g.withTLS("unknown-example.org").want("404", "GET https://unknown-example.org/")
}

// Host names of listeners are those of certificates here, and the first certificate
// is the listener for all names that no other has.
func TestHTTPRouteHTTPSListenerDetectMisdirectedRequests(t *testing.T) {
	g := serve(t, setup{
		listeners: secure(t, "example.org", "second-example.org", "*.wildcard.org", "fourth-example.wildcard.org"),
		routes: `
  - {match: {host: example.org}, to: v1}
  - {match: {host: second-example.org}, to: v2}
  - {match: {host: "*.wildcard.org"}, to: v3}
  - {match: {host: fourth-example.wildcard.org}, to: v1}`,
	})
	for protocol, g := range map[string]*gate{"HTTP/1.1": g, "HTTP/2": g.withHTTP2()} {
		for _, one := range []struct{ sni, host, want string }{
			{"example.org", "example.org", "v1"},
			{"example.org", "second-example.org", "421"},
			{"example.org", "unknown-example.org", "404"},
			{"second-example.org", "second-example.org", "v2"},
			{"second-example.org", "example.org", "421"},
			{"second-example.org", "unknown-example.org", "421"},
			{"third-example.wildcard.org", "third-example.wildcard.org", "v3"},
			{"third-example.wildcard.org", "fifth-example.wildcard.org", "v3"},
			{"third-example.wildcard.org", "fourth-example.wildcard.org", "421"},
			{"third-example.wildcard.org", "second-example.org", "421"},
			{"third-example.wildcard.org", "unknown-example.org", "421"},
			{"fourth-example.wildcard.org", "fourth-example.wildcard.org", "v1"},
			{"fourth-example.wildcard.org", "fifth-example.wildcard.org", "421"},
			{"unknown-example.org", "example.org", "v1"},
			{"unknown-example.org", "unknown-example.org", "404"},
		} {
			t.Run(protocol+" "+one.sni+" "+one.host, func(t *testing.T) {
				g := *g
				g.t = t
				g.withTLS(one.sni).want(one.want, "GET https://"+one.host+"/detect-misdirected-requests")
			})
		}
	}
}

// A connection in the name of one certificate must not reach a route whose host no
// certificate has, in whatever form the host is written. Nothing is refused that the
// client could not ask for in another way.
func TestMisdirectedToAHostWithoutACertificate(t *testing.T) {
	g := serve(t, setup{
		listeners: secure(t, "example.org", "second-example.org"),
		routes: `
  - {match: {host: inside.example}, to: v1}
  - {match: {prefix: /}, to: v2}`,
	})
	for protocol, g := range map[string]*gate{"HTTP/1.1": g, "HTTP/2": g.withHTTP2()} {
		for _, one := range []struct{ sni, host, want string }{
			{"second-example.org", "inside.example", "421"},
			{"second-example.org", "INSIDE.example.:8443", "421"},
			{"second-example.org", "192.0.2.1:8443", "421"},
			{"second-example.org", "Second-Example.org.:8443", "v2"},
			{"inside.example", "inside.example", "v1"},
			{"inside.example", "inside.example:8443", "v1"},
			{"example.org", "inside.example", "v1"},
			{"192.0.2.1", "192.0.2.1", "v2"},      // no SNI is sent for an address
			{"192.0.2.1", "inside.example", "v1"}, // nor by a client that has none
			{"192.0.2.1", "second-example.org", "421"},
		} {
			t.Run(protocol+" "+one.sni+" "+one.host, func(t *testing.T) {
				g := *g
				g.t = t
				g.withTLS(one.sni).want(one.want, "GET https://"+one.host+"/")
			})
		}
	}
	t.Run("one certificate", func(t *testing.T) {
		g := serve(t, setup{listeners: secure(t, "example.org"), routes: "  - {match: {prefix: /}, to: v1}"})
		g.withTLS("example.org").want("v1", "GET https://inside.example/")
		g.withHTTP2().withTLS("example.org").want("v1", "GET https://inside.example/")
	})
}

// secure is a listener with a certificate for each name.
func secure(t *testing.T, names ...string) string {
	t.Helper()
	dir, text := t.TempDir(), "  web:\n    address: \"127.0.0.1:0\"\n    tls:\n      certificates:\n"
	certtest.Write(t, dir, names...)
	for _, name := range names {
		path := filepath.Join(dir, name)
		text += "        - {cert: \"" + path + ".pem\", key: \"" + path + ".key\"}\n"
	}
	return text
}
