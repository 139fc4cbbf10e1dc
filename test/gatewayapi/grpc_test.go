package gatewayapi_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const echoService = "gateway_api_conformance.echo_basic.grpcecho.GrpcEcho"

// call makes a call, and says who answered: a backend, or the gateway with a code.
func (g *gate) call(authority, method string, lines ...string) (who string, header http.Header) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+authority+"/"+method, bytes.NewReader(make([]byte, 5)))
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return g.dial(ctx) },
		Protocols:   new(http.Protocols), DisableCompression: true,
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		g.t.Errorf("%s: HTTP status %d", method, resp.StatusCode)
	}
	if code := resp.Header.Get("Grpc-Status"); code != "" {
		return "code " + code, resp.Header
	}
	if code := resp.Trailer.Get("Grpc-Status"); code != "0" || len(body) < 5 {
		g.t.Fatalf("%s: %q with code %s", method, body, code)
	}
	return string(body[5:]), resp.Header
}

func (g *gate) wantCall(who, authority, method string, lines ...string) reply {
	g.t.Helper()
	got, header := g.call(authority, method, lines...)
	if got != who {
		g.t.Errorf("%s at %s %v: answered by %s, want %s", method, authority, lines, got, who)
	}
	return reply{t: g.t, header: header}
}

const unimplemented = "code 12"

func TestGRPCExactMethodMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {grpc: {service: ` + echoService + `, method: Echo}}, to: g1}
  - {match: {grpc: {service: ` + echoService + `, method: EchoTwo}}, to: g2}`})
	g.wantCall("v1", "a.example", echoService+"/Echo")
	g.wantCall("v2", "a.example", echoService+"/EchoTwo")
	g.wantCall(unimplemented, "a.example", echoService+"/EchoThree")
	g.wantCall(unimplemented, "a.example", "other.Service/Echo")
	g.want("404", "POST http://a.example/"+echoService+"/Echo") // no call
}

// The suite leaves expressions, and matches with one of both names, to the
// implementation.
func TestGRPCMethodMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {grpc: {service: shop.Orders, method: Get}}, to: g1}
  - {match: {grpc: {service: shop.Orders}}, to: g2}
  - {match: {grpc: {method: Watch}}, to: g3}
  - {match: {grpc: {service: {regex: "shop\\.v[0-9]+\\.Orders"}, method: {regex: "(Get|List)[A-Z].*"}}}, to: g1}
  - {match: {host: all.example, grpc: {}}, to: g3}`})
	g.wantCall("v1", "a.example", "shop.Orders/Get")
	g.wantCall("v2", "a.example", "shop.Orders/GetAll")
	g.wantCall("v2", "a.example", "shop.Orders/Watch")
	g.wantCall("v3", "a.example", "shop.Carts/Watch")
	g.wantCall("v1", "a.example", "shop.v2.Orders/ListAll")
	g.wantCall(unimplemented, "a.example", "shop.v2.Orders/Delete")
	g.wantCall(unimplemented, "a.example", "myshop.v2.Orders/GetAll")
	g.wantCall("v3", "all.example", "any.Service/Any")
}

func TestGRPCRouteHeaderMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {grpc: {}, headers: {version: one}}, to: g1}
  - {match: {grpc: {}, headers: {version: two}}, to: g2}
  - {match: {grpc: {}, headers: {version: two, color: orange}}, to: g1}
  - {match: [{grpc: {}, headers: {color: blue}}, {grpc: {}, headers: {color: green}}], to: g1}
  - {match: [{grpc: {}, headers: {color: red}}, {grpc: {}, headers: {color: yellow}}], to: g2}
  - {match: {grpc: {}, headers: {tone: {regex: "pale-.+"}}}, to: g3}`})
	f := func(who string, lines ...string) {
		t.Helper()
		g.wantCall(who, "a.example", echoService+"/Echo", lines...)
	}
	f("v1", "Version: one")
	f("v2", "Version: two")
	f("v1", "Version: two", "Color: orange")
	f("v2", "Version: two", "Color: blue")
	f(unimplemented, "Color: orange")
	f(unimplemented, "Some-Other-Header: one")
	f("v1", "Color: blue")
	f("v1", "Color: green")
	f("v2", "Color: red")
	f("v2", "Color: yellow")
	f(unimplemented, "Color: purple")
	f("v3", "Tone: pale-red")
}

func TestGRPCRouteListenerHostnameMatching(t *testing.T) {
	g := serve(t, setup{routes: `
  - {match: {host: bar.com, grpc: {}}, to: g1}
  - {match: {host: foo.bar.com, grpc: {}}, to: g2}
  - {match: {hosts: ["*.bar.com", "*.foo.com"], grpc: {}}, to: g3}`})
	for host, who := range map[string]string{
		"bar.com": "v1", "foo.bar.com": "v2", "baz.bar.com": "v3", "boo.bar.com": "v3", "multiple.prefixes.bar.com": "v3",
		"multiple.prefixes.foo.com": "v3", "foo.com": unimplemented, "no.matching.host": unimplemented,
	} {
		g.wantCall(who, host, echoService+"/Echo")
	}
}

func TestGRPCRouteNamedRule(t *testing.T) {
	g := serve(t, setup{routes: `
  - {name: named-rule, match: {grpc: {service: ` + echoService + `, method: Echo}}, to: g1}
  - {match: {grpc: {service: ` + echoService + `, method: EchoTwo}}, to: g2}`})
	g.wantCall("v1", "a.example", echoService+"/Echo")
	g.wantCall("v2", "a.example", echoService+"/EchoTwo")
	if got := g.server.Snapshot().Config.Routes[0].Name; got != "named-rule" {
		t.Errorf("the route is called %s", got)
	}
}

func TestGRPCRouteWeight(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {grpc: {}}
    use: [canary: {header: "", fallback: none, stable: a, arms: {a: {to: g1}, b: {to: g2}, c: {to: g3}}, split: {a: 70, b: 30, c: 0}}]
    to: g1`})
	wantShares(t, 500, map[string]float64{"v1": 70, "v2": 30, "v3": 0}, func() string {
		who, _ := g.call("a.example", echoService+"/Echo")
		return who
	})
}

// The filters of GRPCRoute are those of HTTPRoute.
func TestGRPCRouteFilters(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {grpc: {}}
    use:
      - ` + modify + `
      - headers: {response: {set: {X-Header-Set: a}, add: {X-Header-Add: b}, remove: [X-Header-Remove]}}
      - mirror: {to: g3, percent: 100, credentials: true}
      - canary: {header: "", fallback: none, arms: {stable: {headers: {request: {set: {X-Arm: stable}}}}, canary: {to: g2}}, split: {stable: 1, canary: 0}}
    to: g1`})
	g.wantCall("v1", "a.example", echoService+"/Echo", "X-Header-Add-Append: append-val-1", "X-Header-Remove: a").
		wantHeader("X-Header-Set: a", "X-Header-Add: of the backend,b", "X-Header-Remove:")
	for _, name := range []string{"v1", "v3"} {
		reply{t: t, sent: g.echoes[name].next(t)}.wantSent("X-Header-Set: set-overwrites-values", "X-Header-Add: header-val-1",
			"X-Header-Add-Append: append-val-1,header-val-2", "X-Header-Remove:", "X-Arm: stable")
	}
}
