package route

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// grpcRule is a rule for service and method, each a name, "~" and an expression,
// or nothing.
func grpcRule(service, method string) Rule {
	name := func(text string) Name {
		if text != "" && text[0] == '~' {
			return Name{Regex: text[1:]}
		}
		return Name{Exact: text}
	}
	return Rule{Name: service + "/" + method, GRPC: &GRPC{name(service), name(method)}}
}

func TestGRPC(t *testing.T) {
	f := func(service, method, req string, want bool) {
		t.Helper()
		if got := table(t, grpcRule(service, method)).Match(request(t, req), nowhere).Rule == 0; got != want {
			t.Errorf("%s/%s with %s: %v, want %v", service, method, req, got, want)
		}
	}
	f("shop.v1.Orders", "Get", "GRPC http://x/shop.v1.Orders/Get", true)
	f("shop.v1.Orders", "Get", "GRPC http://x/shop.v1.Orders/GetAll", false)
	f("shop.v1.Orders", "Get", "GRPC http://x/shop.v1.orders/Get", false)
	f("shop.v1.Orders", "Get", "GRPC http://x/shop.v1.Orders/Get/", false)
	f("shop.v1.Orders", "Get", "GRPC http://x/shop.v1.Orders%2FGet", false)
	f("shop.v1.Orders", "Get", "POST http://x/shop.v1.Orders/Get", false)
	f("shop.v1.Orders", "Get", "POST http://x/shop.v1.Orders/Get\nContent-Type: application/grpc", false) // HTTP/1.1
	f("shop.v1.Orders", "", "GRPC http://x/shop.v1.Orders/Get", true)
	f("shop.v1.Orders", "", "GRPC http://x/shop.v1.Orders/", false)
	f("shop.v1.Orders", "", "GRPC http://x/shop.v1.Orders", false)
	f("shop.v1.Orders", "", "GRPC http://x/shop.v1.OrdersOld/Get", false)
	f("shop.v1.Orders", "", "GRPC http://x/shop.v1.Orders/x/Get", false) // a service with a slash
	f("", "Get", "GRPC http://x/shop.v1.Orders/Get", true)
	f("", "Get", "GRPC http://x/any/thing/Get", true)
	f("", "Get", "GRPC http://x/Get", false)
	f(`~shop\.v[0-9]+\.Orders`, "", "GRPC http://x/shop.v12.Orders/Get", true)
	f(`~shop\.v[0-9]+\.Orders`, "", "GRPC http://x/a.shop.v12.Orders/Get", false)
	f("shop.v1.Orders", "~Get|List", "GRPC http://x/shop.v1.Orders/List", true)
	f("shop.v1.Orders", "~Get|List", "GRPC http://x/shop.v1.Orders/ListAll", false)
	f("", "", "GRPC http://x/", true)
	f("", "", "GRPC http://x/shop.v1.Orders/Get", true)
	f("", "", "POST http://x/shop.v1.Orders/Get", false)
	f("", "", "POST http://x/\nContent-Type: application/grpc-web", false)
}

// The rules stand nearest first; each must win over all after it, in any order.
func TestGRPCPrecedence(t *testing.T) {
	call := "GRPC http://x/shop.v1.Orders/Get"
	near := []Rule{
		grpcRule("shop.v1.Orders", "Get"),
		grpcRule("shop.v1.Orders", "~Get|List|Put"),
		grpcRule("shop.v1.Orders", "~.*"),
		grpcRule("shop.v1.Orders", ""),
		grpcRule(`~shop\.v1\.Orders`, "Get"),
		grpcRule(`~shop\.v1\.Orders`, ""),
		grpcRule("~shop.*", "Get"),
		grpcRule("", "Get"),
		grpcRule("", "~.*"),
		grpcRule("", ""),
		{Name: "path", Path: "/shop.v1.Orders/Get", Methods: []string{"POST"}},
		{Name: "prefix", Prefix: "/shop.v1.Orders"},
		{Name: "all"},
	}
	for i := range near {
		for j := range near[:i] {
			for _, rules := range [][]Rule{{near[i], near[j]}, {near[j], near[i]}} {
				if got := winner(t, rules, request(t, call)); got != near[j].Name {
					t.Errorf("%s won over %s", got, near[j].Name)
				}
			}
		}
		if winner(t, near[i:i+1], request(t, call)) == "" {
			t.Errorf("%s does not match alone: this proves nothing", near[i].Name)
		}
	}
	t.Run("host comes first", func(t *testing.T) {
		rules := []Rule{grpcRule("shop.v1.Orders", "Get"), {Name: "host", Hosts: []string{"x"}}}
		if got := winner(t, rules, request(t, call)); got != "host" {
			t.Errorf("%s won", got)
		}
	})
	t.Run("what calls leave over", func(t *testing.T) {
		rules := []Rule{grpcRule("shop.v1.Orders", "Put"), {Name: "prefix", Prefix: "/shop.v1.Orders"}}
		if got := winner(t, rules, request(t, call)); got != "prefix" {
			t.Errorf("%s won", got)
		}
	})
	t.Run("more headers", func(t *testing.T) {
		with := grpcRule("shop.v1.Orders", "")
		with.Name, with.Headers = "with", values{"x-a": {Exact: "1"}}
		if got := winner(t, []Rule{grpcRule("shop.v1.Orders", ""), with}, request(t, call+"\nX-A: 1")); got != "with" {
			t.Errorf("%s won", got)
		}
	})
}

// The names are those of the Gateway API's conformance tests.
func TestGatewayAPICalls(t *testing.T) {
	exact := []Rule{
		grpcRule("gateway_api_conformance.echo_basic.grpcecho.GrpcEcho", "Echo"),
		grpcRule("gateway_api_conformance.echo_basic.grpcecho.GrpcEcho", "EchoTwo"),
	}
	f := func(name string, rules []Rule, req, want string) {
		t.Helper()
		t.Run(name+" "+req, func(t *testing.T) {
			t.Helper()
			if got := winner(t, rules, request(t, req)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	service := "GRPC http://x/gateway_api_conformance.echo_basic.grpcecho.GrpcEcho/"
	f("GRPCExactMethodMatching", exact, service+"Echo", exact[0].Name)
	f("GRPCExactMethodMatching", exact, service+"EchoTwo", exact[1].Name)
	f("GRPCExactMethodMatching", exact, service+"EchoThree", "")

	with := func(name string, headers values) Rule { return Rule{Name: name, GRPC: &GRPC{}, Headers: headers} }
	headers := []Rule{
		with("v1", values{"version": {Exact: "one"}}),
		with("v2", values{"version": {Exact: "two"}}),
		with("v1", values{"version": {Exact: "two"}, "color": {Exact: "orange"}}),
	}
	f("GRPCRouteHeaderMatching", headers, service+"Echo\nVersion: one", "v1")
	f("GRPCRouteHeaderMatching", headers, service+"Echo\nVersion: two", "v2")
	f("GRPCRouteHeaderMatching", headers, service+"Echo\nVersion: two\nColor: orange", "v1")
	f("GRPCRouteHeaderMatching", headers, service+"Echo\nColor: orange", "")
}

func TestGRPCExplain(t *testing.T) {
	f := func(rule Rule, req, want string) {
		t.Helper()
		got := table(t, rule).Explain(request(t, req), nowhere)
		if diff := cmp.Diff([]Candidate{{Why: want}}, got); diff != "" {
			t.Errorf("%s: %s", req, diff)
		}
	}
	f(grpcRule("a.B", "Get"), "GRPC http://x/a.B/Put", "path /a.B/Put: want grpc a.B/Get")
	f(grpcRule("~a.*", ""), "GRPC http://x/b/Put", "path /b/Put: want grpc ~a.*/*")
	f(grpcRule("a.B", "Get"), "POST http://x/a.B/Get", "no gRPC call, which is POST over HTTP/2 with content-type application/grpc")
	f(grpcRule("", ""), "GET http://x/", "no gRPC call, which is POST over HTTP/2 with content-type application/grpc")
}
