package gatewayapi_test

import (
	"strings"
	"testing"
)

// three is an upstream with all three backends as its endpoints.
const three = `  three: {protocol: h2c, discover: {static: {targets: ["{v1}", "{v2}", "{v3}"]}}}`

// tokenOf is what a client sends back of an answer.
func tokenOf(r reply) string {
	if token := r.header.Get("X-Session"); token != "" {
		return "X-Session: " + token
	}
	var pairs []string
	for _, cookie := range r.header.Values("Set-Cookie") {
		pair, _, _ := strings.Cut(cookie, ";")
		pairs = append(pairs, pair)
	}
	return "Cookie: " + strings.Join(pairs, "; ")
}

// The suite has no test of it. Sessions stay where they are, while requests without
// one take turns.
func TestHTTPRouteSessionPersistence(t *testing.T) {
	g := serve(t, setup{upstreams: three, routes: `
  - {match: {path: /cookie}, use: [affinity: {cookie: route}], to: three}
  - {match: {path: /header}, use: [affinity: {header: x-session, lifetime: 1h, idle: 10m}], to: three}
  - {match: {path: /permanent}, use: [affinity: {cookie: route, lifetime: 1h, permanent: true}], to: three}
  - match: {path: /weighted}
    use:
      - canary: {header: "", cookie: arm, arms: {stable: {}, canary: {to: v1}}, split: {stable: 1, canary: 1}}
      - affinity: {cookie: route}
    to: three`})
	for _, path := range []string{"/cookie", "/header", "/permanent", "/weighted"} {
		met := make(map[string]bool)
		for range 20 {
			first := g.ask("GET http://a.example" + path)
			met[first.sent.Backend] = true
			for range 4 {
				g.want(first.sent.Backend, "GET http://a.example"+path, tokenOf(first))
			}
		}
		if len(met) != 3 {
			t.Errorf("%s: sessions are with %v only", path, met)
		}
	}
	g.ask("GET http://a.example/cookie").wantHeader("Cache-Control: no-cache=\"Set-Cookie\"")
	for path, permanent := range map[string]bool{"/cookie": false, "/permanent": true} {
		if got := g.ask("GET http://a.example" + path).header.Get("Set-Cookie"); strings.Contains(got, "; Max-Age=3600;") != permanent {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// A session moves when its endpoint is gone, and stays where it has moved to.
func TestHTTPRouteSessionPersistenceMoves(t *testing.T) {
	g := serve(t, setup{upstreams: three, routes: `  - {match: {}, use: [affinity: {cookie: route}], to: three}`})
	first := g.ask("GET http://a.example/")
	g.echoes[first.sent.Backend].stop()
	moved := g.ask("GET http://a.example/", tokenOf(first))
	if moved.status != 200 || moved.sent.Backend == first.sent.Backend || tokenOf(moved) == tokenOf(first) || tokenOf(moved) == "Cookie: " {
		t.Fatalf("%d by %s, token %s after %s", moved.status, moved.sent.Backend, tokenOf(moved), tokenOf(first))
	}
	for range 4 {
		g.want(moved.sent.Backend, "GET http://a.example/", tokenOf(moved))
	}
}

func TestGRPCRouteSessionPersistence(t *testing.T) {
	g := serve(t, setup{upstreams: three, routes: `
  - {match: [{grpc: {}}, {path: /token}], use: [affinity: {cookie: route}], to: three}`})
	for range 6 {
		first := g.ask("GET http://a.example/token")
		for range 3 {
			g.wantCall(first.sent.Backend, "a.example", echoService+"/Echo", tokenOf(first))
		}
	}
}
