package gatewayapi_test

import "testing"

func TestHTTPRouteSimpleSameNamespace(t *testing.T) {
	g := serve(t, setup{routes: `  - {match: {}, to: v1}`})
	g.want("v1", "GET http://any.example/")
}

func TestHTTPRouteMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: [{prefix: /}, {headers: {version: one}}], to: v1}
  - {match: [{prefix: /v2}, {headers: {version: two}}], to: v2}`})
	g.want("v1", "GET http://a.example/")
	g.want("v1", "GET http://a.example/example")
	g.want("v1", "GET http://a.example/", "Version: one")
	g.want("v2", "GET http://a.example/v2")
	g.want("v2", "GET http://a.example/v2/example")
	g.want("v2", "GET http://a.example/", "Version: two")
	// A prefix is whole segments, and a longer one comes before a header.
	g.want("v1", "GET http://a.example/v2example")
	g.want("v2", "GET http://a.example/v2/")
	g.want("v2", "GET http://a.example/v2/example", "Version: one")
}

func TestHTTPExactPathMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {path: /one}, to: v1}
  - {match: {path: /two}, to: v2}`})
	g.want("v1", "GET http://a.example/one")
	g.want("v2", "GET http://a.example/two")
	for _, path := range []string{"/", "/one/example", "/two/", "/Two"} {
		g.want("404", "GET http://a.example"+path)
	}
}

func TestHTTPRoutePathMatchOrder(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: [{prefix: /match}, {path: /match/exact/one}], to: v3}
  - {match: [{path: /match/exact}, {prefix: /match/prefix/one}], to: v2}
  - {match: [{path: /match}, {prefix: /match/prefix}, {prefix: /match/exact}], to: v1}`})
	g.want("v3", "GET http://a.example/match/exact/one")
	g.want("v2", "GET http://a.example/match/exact")
	g.want("v1", "GET http://a.example/match")
	g.want("v2", "GET http://a.example/match/prefix/one/any")
	g.want("v1", "GET http://a.example/match/prefix/any")
	g.want("v3", "GET http://a.example/match/any")
}

// The suite leaves expressions to the implementation. They come after all other
// paths, and see the whole of it.
func TestHTTPRoutePathRegularExpression(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {path_regex: "/v[0-9]+/.*"}, to: v2}
  - {match: {prefix: /v1}, to: v1}`})
	g.want("v1", "GET http://a.example/v1/x")
	g.want("v2", "GET http://a.example/v22/x")
	g.want("404", "GET http://a.example/x/v2/x")
}

func TestHTTPRouteHeaderMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {headers: {version: one}}, to: v1}
  - {match: {headers: {version: two}}, to: v2}
  - {match: {headers: {version: two, color: orange}}, to: v1}
  - {match: [{headers: {color: blue}}, {headers: {color: green}}], to: v1}
  - {match: [{headers: {color: red}}, {headers: {color: yellow}}], to: v2}
  - {match: {headers: {tone: {regex: "(dark|pale)-[a-z]+"}}}, to: v3}`})
	f := func(who string, lines ...string) {
		t.Helper()
		g.want(who, "GET http://a.example/", lines...)
	}
	f("v1", "Version: one")
	f("v2", "Version: two")
	f("v1", "Version: two", "Color: orange")
	f("v2", "Version: two", "Color: blue")
	f("404", "Color: orange")
	f("404", "Some-Other-Header: one")
	f("v1", "Color: blue")
	f("v1", "Color: green")
	f("v2", "Color: red")
	f("v2", "Color: yellow")
	f("404", "Color: purple")
	f("v1", "VERSION: one")
	f("404", "Version: One")
	f("v3", "Tone: pale-red")
	f("404", "Tone: very dark-red")
}

func TestHTTPRouteQueryParamMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {query: {animal: whale}}, to: v1}
  - {match: {query: {animal: dolphin}}, to: v2}
  - {match: [{query: {animal: dolphin, color: blue}}, {query: {ANIMAL: Whale}}], to: v3}
  - {match: {prefix: /path1, query: {animal: whale}}, to: v1}
  - {match: {headers: {version: one}, query: {animal: whale}}, to: v2}
  - {match: {prefix: /path2, headers: {version: two}, query: {animal: whale}}, to: v3}
  - {match: [{prefix: /path3, query: {animal: shark}}, {prefix: /path4, headers: {version: three}, query: {animal: kraken}}], to: v1}
  - {match: {prefix: /path5, query: {animal: hydra}}, to: v1}
  - {match: {query: {animal: hydra}}, to: v2}
  - {match: {headers: {version: four}, query: {animal: hydra}}, to: v3}
  - {match: {query: {size: {regex: "[0-9]{2}"}}}, to: v3}`})
	f := func(who, target string, lines ...string) {
		t.Helper()
		g.want(who, "GET http://a.example"+target, lines...)
	}
	f("v1", "/?animal=whale")
	f("v2", "/?animal=dolphin")
	f("v3", "/?animal=dolphin&color=blue")
	f("v3", "/?ANIMAL=Whale")
	f("v1", "/?animal=whale&otherparam=irrelevant")
	f("v2", "/?animal=dolphin&color=yellow")
	f("404", "/?color=blue")
	f("404", "/?animal=dog")
	f("404", "/?animal=whaledolphin")
	f("404", "/")
	f("v1", "/path1?animal=whale")
	f("v2", "/?animal=whale", "Version: one")
	f("v3", "/path2?animal=whale", "Version: two")
	f("v1", "/path3?animal=shark")
	f("v1", "/path4?animal=kraken", "Version: three")
	f("404", "/?animal=shark")
	f("404", "/path4?animal=kraken")
	f("v1", "/path5?animal=hydra")
	f("v3", "/?animal=hydra", "Version: four")
	f("v3", "/?size=12")
	f("404", "/?size=123")
}

func TestHTTPRouteMethodMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {methods: [POST]}, to: v1}
  - {match: {methods: [GET]}, to: v2}
  - {match: {prefix: /path1, methods: [GET]}, to: v1}
  - {match: {headers: {version: one}, methods: [PUT]}, to: v2}
  - {match: {prefix: /path2, headers: {version: two}, methods: [POST]}, to: v3}
  - {match: [{prefix: /path3, methods: [PATCH]}, {prefix: /path4, headers: {version: three}, methods: [DELETE]}], to: v1}
  - {match: {prefix: /path5}, to: v1}
  - {match: {methods: [PATCH]}, to: v2}
  - {match: {headers: {version: four}}, to: v3}`})
	f := func(who, request string, lines ...string) {
		t.Helper()
		g.want(who, request, lines...)
	}
	f("v1", "POST http://a.example/")
	f("v2", "GET http://a.example/")
	f("404", "HEAD http://a.example/")
	f("v1", "GET http://a.example/path1")
	f("v2", "PUT http://a.example/", "Version: one")
	f("v3", "POST http://a.example/path2", "Version: two")
	f("v1", "PATCH http://a.example/path3")
	f("v1", "DELETE http://a.example/path4", "Version: three")
	f("404", "PUT http://a.example/")
	f("404", "DELETE http://a.example/path4")
	f("v1", "PATCH http://a.example/path5")
	f("v2", "PATCH http://a.example/", "Version: four")
}

func TestHTTPRouteMatchingAcrossRoutes(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: [{hosts: [example.com, example.net], prefix: /}, {hosts: [example.com, example.net], headers: {version: one}}], to: v1}
  - {match: [{host: example.com, prefix: /v2}, {host: example.com, headers: {version: two}}], to: v2}
  - {match: [{host: "*.com", prefix: /v2}, {host: "*.com", prefix: /v3}], to: v3}`})
	g.want("v1", "GET http://example.com/")
	g.want("v1", "GET http://example.com/example")
	g.want("v1", "GET http://example.net/example")
	g.want("v1", "GET http://example.com/example", "Version: one")
	g.want("v2", "GET http://example.com/v2")
	g.want("v1", "GET http://example.net/v2")
	g.want("v2", "GET http://example.com/v2/example")
	g.want("v2", "GET http://example.com/", "Version: two")
	// A longer host comes before a longer path.
	g.want("v1", "GET http://example.com/v3")
	g.want("v3", "GET http://other.com/v3")
	g.want("404", "GET http://other.com/")
}

// A named rule is a named route.
func TestHTTPRouteNamedRule(t *testing.T) {
	g := serve(t, setup{routes: `
  - {name: named-rule, match: {path: /named}, to: v1}
  - {match: {path: /unnamed}, to: v2}`})
	g.want("v1", "GET http://a.example/named")
	g.want("v2", "GET http://a.example/unnamed")
	if got := g.server.Snapshot().Config.Routes[0].Name; got != "named-rule" {
		t.Errorf("the route is called %s", got)
	}
}
