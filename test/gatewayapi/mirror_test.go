package gatewayapi_test

import (
	"strings"
	"testing"
	"time"
)

// next is the next request that a backend gets, a copy or not.
func (e *echo) next(t *testing.T) request {
	t.Helper()
	select {
	case got := <-e.seen:
		return got
	case <-time.After(patience):
		t.Fatalf("no request has come to %s", e.name)
	}
	return request{}
}

func TestHTTPRouteRequestMirror(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /mirror}, use: [mirror: {to: v2, credentials: true}], to: v1}
  - {match: {prefix: /mirror-and-modify-headers}, use: [` + modify + `, mirror: {to: v2, credentials: true}], to: v1}`})
	lines := []string{"Authorization: Bearer t", "X-Header-Remove: remove-val", "X-Header-Add-Append: append-val-1"}
	g.want("v1", "GET http://a.example/mirror?a=b", lines...).wantSent(lines...)
	copied := g.echoes["v2"].next(t)
	if copied.Target != "/mirror?a=b" || copied.Host != "a.example" {
		t.Errorf("the copy is %+v", copied)
	}
	reply{t: t, sent: copied}.wantSent(lines...)

	changed := []string{"X-Header-Add: header-val-1", "X-Header-Add-Append: append-val-1,header-val-2", "X-Header-Set: set-overwrites-values", "X-Header-Remove:"}
	g.want("v1", "GET http://a.example/mirror-and-modify-headers", lines...).wantSent(changed...)
	reply{t: t, sent: g.echoes["v2"].next(t)}.wantSent(changed...)
}

func TestHTTPRouteRequestMultipleMirrors(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /multi-mirror}, use: [mirror: {to: v2}, mirror: {to: v3}], to: v1}`})
	g.want("v1", "GET http://a.example/multi-mirror")
	for _, name := range []string{"v2", "v3"} {
		if copied := g.echoes[name].next(t); copied.Target != "/multi-mirror" {
			t.Errorf("the copy is %+v", copied)
		}
	}
}

// The ends of the range, where nothing is left to chance.
func TestHTTPRouteRequestPercentageMirror(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {prefix: /none}, use: [mirror: {to: v2, percent: 0}, mirror: {to: v2, fraction: {numerator: 0, denominator: 3}}], to: v1}
  - {match: {prefix: /all}, use: [mirror: {to: v2, percent: 100}], to: v1}
  - {match: {prefix: /fraction}, use: [mirror: {to: v2, fraction: {numerator: 100}}], to: v1}`})
	for range 20 {
		g.want("v1", "GET http://a.example/none")
	}
	for range 20 {
		g.want("v1", "GET http://a.example/all")
		g.want("v1", "GET http://a.example/fraction")
	}
	for range 40 {
		if copied := g.echoes["v2"].next(t); copied.Target == "/none" {
			t.Fatal("a request that was not to be copied was")
		}
	}
}

func replacePort(url, port string) string { return strings.ReplaceAll(url, "{port}", port) }
