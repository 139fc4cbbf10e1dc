package route

import (
	"net/netip"
	"testing"

	"github.com/pithead/pithead/gateway"
)

func TestHeadersAndQuery(t *testing.T) {
	f := func(rule Rule, req string, want bool) {
		t.Helper()
		if got := table(t, rule).Match(request(t, req), nowhere).Rule == 0; got != want {
			t.Errorf("%v %v with %s: %v, want %v", rule.Headers, rule.Query, req, got, want)
		}
	}
	header := func(pairs ...string) Rule { return Rule{Headers: pairMap(pairs)} }
	f(header("x-tenant", "a"), "GET http://x/\nX-Tenant: a", true)
	f(header("X-TENANT", "a"), "GET http://x/\nX-Tenant: a", true)
	f(header("x-tenant", "a"), "GET http://x/\nX-Tenant: A", false)
	f(header("x-tenant", "a"), "GET http://x/", false)
	f(header("x-tenant", "a"), "GET http://x/\nX-Tenant: b\nX-Tenant: a", true)
	f(header("x-tenant", "a"), "GET http://x/\nX-Tenant: a, b", false)
	f(header("x-tenant", ""), "GET http://x/\nX-Tenant: anything", true)
	f(header("x-tenant", ""), "GET http://x/\nX-Tenant: ", true)
	f(header("x-tenant", ""), "GET http://x/", false)
	f(header("x-a", "1", "x-b", "2"), "GET http://x/\nX-A: 1", false)

	is := func(v Value) Rule { return Rule{Headers: values{"x-tenant": v}} }
	f(is(Value{Regex: "a+"}), "GET http://x/\nX-Tenant: aa", true)
	f(is(Value{Regex: "a+"}), "GET http://x/\nX-Tenant: aab", false)
	f(is(Value{Regex: "a+"}), "GET http://x/\nX-Tenant: baa", false)
	f(is(Value{Regex: "a|b"}), "GET http://x/\nX-Tenant: ac", false)
	f(is(Value{Regex: "a+"}), "GET http://x/\nX-Tenant: b\nX-Tenant: a", true)
	f(is(Value{Regex: "(?i)A"}), "GET http://x/\nX-Tenant: a", true)
	f(is(Value{Regex: ".*"}), "GET http://x/", false)
	f(is(Value{Regex: ".*"}), "GET http://x/\nX-Tenant: ", true)
	f(is(Value{Not: "a"}), "GET http://x/\nX-Tenant: b", true)
	f(is(Value{Not: "a"}), "GET http://x/", true)
	f(is(Value{Not: "a"}), "GET http://x/\nX-Tenant: a", false)
	f(is(Value{Not: "a"}), "GET http://x/\nX-Tenant: b\nX-Tenant: a", false)
	f(is(Value{Absent: true}), "GET http://x/", true)
	f(is(Value{Absent: true}), "GET http://x/\nX-Tenant: ", false)

	query := func(pairs ...string) Rule { return Rule{Query: pairMap(pairs)} }
	f(query("q", "1"), "GET http://x/?q=1", true)
	f(query("q", "1"), "GET http://x/?p=2&q=1", true)
	f(query("q", "1"), "GET http://x/?Q=1", false)
	f(query("q", "1"), "GET http://x/?q=12", false)
	f(query("q", "12"), "GET http://x/?q=1", false)
	f(query("q", "1"), "GET http://x/?q=2&q=1", false)
	f(query("q", "1"), "GET http://x/?q=1;x=2", false)
	f(query("x", "2"), "GET http://x/?q=1;x=2", false)
	f(query("q", "2"), "GET http://x/?q=%zz&q=2", true)
	f(query("q", ""), "GET http://x/?q=%zz", false)
	f(query("q", ""), "GET http://x/?q", true)
	f(query("q", ""), "GET http://x/?q=", true)
	f(query("q", ""), "GET http://x/?", false)
	f(query("a b", "c&d"), "GET http://x/?a+b=c%26d", true)
	f(query("a b", "c+d"), "GET http://x/?%61%20b=c%2bd", true)
	asks := func(v Value) Rule { return Rule{Query: values{"q": v}} }
	f(asks(Value{Regex: "[0-9]+"}), "GET http://x/?q=12", true)
	f(asks(Value{Regex: "[0-9]+"}), "GET http://x/?q=12a", false)
	f(asks(Value{Regex: "[0-9]+"}), "GET http://x/?q=a&q=12", false)
	f(asks(Value{Regex: "a b&c"}), "GET http://x/?q=a+b%26c", true)
	f(asks(Value{Regex: ".*"}), "GET http://x/", false)
	f(asks(Value{Regex: "1"}), "GET http://x/?q=%zz&q=1", true)
	f(asks(Value{Not: "1"}), "GET http://x/", true)
	f(asks(Value{Not: "1"}), "GET http://x/?q=%31", false)
	f(asks(Value{Not: "1"}), "GET http://x/?q=2&q=1", true)
	f(asks(Value{Absent: true}), "GET http://x/?p", true)
	f(asks(Value{Absent: true}), "GET http://x/?q", false)
}

func pairMap(pairs []string) values {
	m := make(values)
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = Value{Exact: pairs[i+1]}
	}
	return m
}

// The names are those of the Gateway API's conformance tests; the requests and
// what they must get are theirs.
func TestGatewayAPIConditions(t *testing.T) {
	f := func(name string, rules []Rule, req, want string) {
		t.Helper()
		t.Run(name+" "+req, func(t *testing.T) {
			t.Helper()
			if got := winner(t, rules, request(t, req)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	header := func(name string, headers values) Rule { return Rule{Name: name, Headers: headers} }
	one, two := Value{Exact: "one"}, Value{Exact: "two"}
	headers := []Rule{
		header("v1", values{"version": one}),
		header("v2", values{"version": two}),
		header("v1", values{"version": two, "color": {Exact: "orange"}}),
		header("v1", values{"color": {Exact: "blue"}}),
		header("v1", values{"color": {Exact: "green"}}),
		header("v2", values{"color": {Exact: "red"}}),
		header("v2", values{"color": {Exact: "yellow"}}),
	}
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nVersion: one", "v1")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nVersion: two", "v2")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nVersion: two\nColor: orange", "v1")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nVersion: two\nColor: blue", "v2")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nColor: blue", "v1")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nColor: yellow", "v2")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/\nColor: purple", "")
	f("HTTPRouteHeaderMatching", headers, "GET http://x/", "")

	query := func(name string, query values) Rule { return Rule{Name: name, Query: query} }
	whale, dolphin := Value{Exact: "whale"}, Value{Exact: "dolphin"}
	queries := []Rule{
		query("v1", values{"animal": whale}),
		query("v2", values{"animal": dolphin}),
		query("v3", values{"animal": dolphin, "color": {Exact: "blue"}}),
		query("v3", values{"ANIMAL": {Exact: "Whale"}}),
	}
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=whale", "v1")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=dolphin", "v2")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=dolphin&color=blue", "v3")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?ANIMAL=Whale", "v3")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=whale&otherparam=irrelevant", "v1")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=dolphin&color=yellow", "v2")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?color=blue", "")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=dog", "")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=whaledolphin", "")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/?animal=whale&animal=dolphin", "v1")
	f("HTTPRouteQueryParamMatching", queries, "GET http://x/", "")

	methods := []Rule{
		{Name: "v1", Methods: []string{"POST"}},
		{Name: "v2", Methods: []string{"GET"}},
		{Name: "v3", Prefix: "/path5", Methods: []string{"PATCH"}, Headers: values{"version": {Exact: "four"}}},
	}
	f("HTTPRouteMethodMatching", methods, "POST http://x/", "v1")
	f("HTTPRouteMethodMatching", methods, "GET http://x/", "v2")
	f("HTTPRouteMethodMatching", methods, "HEAD http://x/", "")
	f("HTTPRouteMethodMatching", methods, "PATCH http://x/path5\nVersion: four", "v3")
	f("HTTPRouteMethodMatching", methods, "PATCH http://x/path5", "")
}

func nets(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestSender(t *testing.T) {
	f := func(rule Rule, client, listener string, want bool) {
		t.Helper()
		x := &gateway.Exchange{Listener: listener}
		x.Client, _ = netip.ParseAddr(client) // what is no address is the unknown client
		if got := table(t, rule).Match(request(t, "GET http://x/"), x).Rule == 0; got != want {
			t.Errorf("%v %v with %s at %s: %v, want %v", rule.Clients, rule.Listeners, client, listener, got, want)
		}
	}
	from := func(networks ...string) Rule { return Rule{Clients: nets(networks...)} }
	f(from("10.0.0.0/8"), "10.255.255.255", "web", true)
	f(from("10.0.0.0/8"), "11.0.0.0", "web", false)
	f(from("10.0.0.0/8"), "9.255.255.255", "web", false)
	f(from("10.0.0.0/8"), "::ffff:10.1.2.3", "web", false) // the canonical view has none of these
	f(from("10.0.0.0/8"), "unknown", "web", false)
	f(from("0.0.0.0/0"), "2001:db8::1", "web", false)
	f(from("0.0.0.0/0", "::/0"), "2001:db8::1", "web", true)
	f(from("10.1.0.0/16", "10.0.0.0/8", "10.3.0.0/16"), "10.2.0.0", "web", true)
	f(from("10.1.0.0/16", "10.3.0.0/16", "192.0.2.1/32"), "10.2.0.0", "web", false)
	f(from("10.1.0.0/16", "10.3.0.0/16", "192.0.2.1/32"), "10.3.255.255", "web", true)
	f(from("10.1.0.0/16", "10.3.0.0/16", "192.0.2.1/32"), "192.0.2.1", "web", true)
	f(Rule{Listeners: []string{"web", "tls"}}, "10.0.0.1", "tls", true)
	f(Rule{Listeners: []string{"web", "tls"}}, "10.0.0.1", "admin", false)
}
