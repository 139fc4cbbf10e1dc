package route

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request reads "METHOD http://host/path?query", then "Name: value" lines. The
// method GRPC makes it a call of gRPC.
func request(t testing.TB, text string) *http.Request {
	t.Helper()
	lines := strings.Split(text, "\n")
	method, target, _ := strings.Cut(lines[0], " ")
	call := method == "GRPC"
	if call {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	if call {
		r.ProtoMajor = 2
		r.Header.Set("Content-Type", "application/grpc+proto")
	}
	return r
}

// values are the conditions on headers or on a query.
type values = map[string]Value

// nowhere is the exchange of requests whose sender does not matter.
var nowhere = &gateway.Exchange{Listener: "web", Client: netip.MustParseAddr("10.1.2.3")}

// table makes each rule a route of its own.
func table(t testing.TB, rules ...Rule) *Table {
	t.Helper()
	for i := range rules {
		rules[i].Route = i
	}
	tab, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// winner is the name of the rule that matches, "" for none.
func winner(t testing.TB, rules []Rule, r *http.Request) string {
	t.Helper()
	m := table(t, rules...).Match(r, nowhere)
	if m.Rule < 0 {
		return ""
	}
	return rules[m.Rule].Name
}

func TestPrecedence(t *testing.T) {
	// Each pair is tried in both orders: only the last level goes by order.
	f := func(level string, near, far Rule, req string) {
		t.Helper()
		t.Run(level, func(t *testing.T) {
			t.Helper()
			near.Name, far.Name = "near", "far"
			for _, rules := range [][]Rule{{near, far}, {far, near}} {
				if got := winner(t, rules, request(t, req)); got != "near" {
					t.Errorf("%s first: %q won", rules[0].Name, got)
				}
				if got := rules[table(t, rules...).Order()[0]].Name; got != "near" {
					t.Errorf("%s first: Order begins with %q", rules[0].Name, got)
				}
			}
			if got := winner(t, []Rule{far}, request(t, req)); got != "far" {
				t.Error("the far rule does not match alone: this proves nothing")
			}
		})
	}
	get := "GET http://a.b.example.com/v1/orders/7?q=1&p=2\nX-A: 1\nX-B: 2"
	host := func(h string) Rule { return Rule{Hosts: []string{h}} }
	f("exact host before wildcard", host("a.b.example.com"), host("*.b.example.com"), get)
	f("exact host before any", host("a.b.example.com"), Rule{}, get)
	f("longer wildcard before shorter", host("*.b.example.com"), host("*.example.com"), get)
	f("wildcard before any", host("*.com"), Rule{}, get)
	f("host before path", Rule{Hosts: []string{"*.com"}, PathRegex: "/.*"}, Rule{Path: "/v1/orders/7"}, get)

	exactPath := Rule{Path: "/v1/orders/7"}
	longTemplate, shortTemplate := Rule{Path: "/v1/orders/{id}"}, Rule{Path: "/v1/{what}/{id}"}
	longPrefix, shortPrefix := Rule{Prefix: "/v1/orders"}, Rule{Prefix: "/v1"}
	expr := Rule{PathRegex: "/v1/.*"}
	f("exact path before template", exactPath, longTemplate, get)
	f("exact path before prefix", exactPath, Rule{Prefix: "/v1/orders/7"}, get)
	f("exact path before regex", exactPath, expr, get)
	f("longer template before shorter", longTemplate, shortTemplate, get)
	f("template before longer prefix", shortTemplate, longPrefix, get)
	f("template before regex", shortTemplate, expr, get)
	f("longer prefix before shorter", longPrefix, shortPrefix, get)
	f("prefix before root", shortPrefix, Rule{Prefix: "/"}, get)
	f("prefix before no path", shortPrefix, Rule{}, get)
	f("prefix before regex", shortPrefix, expr, get)
	f("regex before root", expr, Rule{Prefix: "/"}, get)
	f("regex before no path", expr, Rule{Headers: values{"x-a": {Exact: "1"}}}, get)
	f("literal length, not the first literal", Rule{Path: "/{v}/orders/7"}, Rule{Path: "/v1/{x}/7"}, get)

	method := Rule{Prefix: "/v1", Methods: []string{"GET", "PUT"}}
	f("path before method", longPrefix, method, get)
	f("method before no method", method, shortPrefix, get)
	f("method before headers", method, Rule{Prefix: "/v1", Headers: values{"x-a": {Exact: "1"}, "x-b": {Exact: "2"}}}, get)
	one, two := values{"x-a": {Exact: "1"}}, values{"x-a": {Exact: "1"}, "x-b": {}}
	f("header before none", Rule{Headers: one}, Rule{}, get)
	f("more headers before fewer", Rule{Headers: two}, Rule{Headers: one}, get)
	f("headers before query", Rule{Headers: one}, Rule{Query: values{"q": {Exact: "1"}, "p": {Exact: "2"}}}, get)
	f("query before none", Rule{Query: values{"q": {Exact: "1"}}}, Rule{}, get)
	f("more query parameters before fewer", Rule{Query: values{"q": {Exact: "1"}, "p": {}}}, Rule{Query: values{"q": {Exact: "1"}}}, get)
	f("regex counts like an exact value", Rule{Headers: values{"x-a": {Regex: "."}, "x-b": {Not: "1"}}}, Rule{Headers: one}, get)
	clients, listeners := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"web"}
	f("query before clients", Rule{Query: values{"q": {}}}, Rule{Clients: clients}, get)
	f("clients before none", Rule{Clients: clients}, Rule{}, get)
	f("clients before listeners", Rule{Clients: clients}, Rule{Listeners: listeners}, get)
	f("listeners before none", Rule{Listeners: listeners}, Rule{}, get)
	for _, r := range []Rule{exactPath, longTemplate, longPrefix, expr, {}} {
		with := r
		with.Headers = one
		f("within "+cmpName(r), with, r, get)
	}

	t.Run("order", func(t *testing.T) {
		for _, r := range []Rule{exactPath, longTemplate, longPrefix, expr, {}} {
			if m := table(t, r, r).Match(request(t, get), nowhere); m.Rule != 0 {
				t.Errorf("%s: rule %d won over its equal", cmpName(r), m.Rule)
			}
		}
	})
}

// A template that is found late in the tree does not win over a nearer one.
func TestNearestTemplate(t *testing.T) {
	rules := []Rule{
		{Name: "nearest, but for PUT", Path: "/{y}/b", Methods: []string{"PUT"}},
		{Name: "near", Path: "/a/{x}", Headers: values{"x-a": {Exact: "1"}}},
		{Name: "far", Path: "/{y}/b"},
	}
	if got := winner(t, rules, request(t, "GET http://x/a/b\nX-A: 1")); got != "near" {
		t.Errorf("%q won", got)
	}
}

func cmpName(r Rule) string {
	return fmt.Sprintf("path %q prefix %q regex %q", r.Path, r.Prefix, r.PathRegex)
}

func TestNextInOrderIsTried(t *testing.T) {
	rules := []Rule{
		{Name: "exact put", Hosts: []string{"a.example.com"}, Path: "/v1/x", Methods: []string{"PUT"}},
		{Name: "template header", Hosts: []string{"a.example.com"}, Path: "/v1/{id}", Headers: values{"x-a": {Exact: "1"}}},
		{Name: "template short", Hosts: []string{"a.example.com"}, Path: "/{v}/{id}", Methods: []string{"DELETE"}},
		{Name: "prefix long", Hosts: []string{"a.example.com"}, Prefix: "/v1/x", Query: values{"q": {Exact: "1"}}},
		{Name: "prefix short", Hosts: []string{"a.example.com"}, Prefix: "/v1", Methods: []string{"PATCH"}},
		{Name: "regex", Hosts: []string{"a.example.com"}, PathRegex: "/v1/x", Methods: []string{"HEAD"}},
		{Name: "wildcard", Hosts: []string{"*.example.com"}, Prefix: "/v1", Methods: []string{"POST"}},
		{Name: "any", Prefix: "/v1/x", Methods: []string{"GET"}},
	}
	f := func(req, want string) {
		t.Helper()
		if got := winner(t, rules, request(t, req)); got != want {
			t.Errorf("%s: got %q, want %q", req, got, want)
		}
	}
	f("PUT http://a.example.com/v1/x", "exact put")
	f("GET http://a.example.com/v1/x\nX-A: 1", "template header")
	f("DELETE http://a.example.com/v1/x", "template short")
	f("GET http://a.example.com/v1/x?q=1", "prefix long")
	f("PATCH http://a.example.com/v1/x", "prefix short")
	f("HEAD http://a.example.com/v1/x", "regex")
	f("POST http://a.example.com/v1/x", "wildcard")
	f("GET http://a.example.com/v1/x", "any")
	f("GET http://b.org/v1/x", "any")
	f("POST http://b.org/v1/x", "")
}

func TestHosts(t *testing.T) {
	f := func(pattern, host string, want bool) {
		t.Helper()
		r := request(t, "GET http://x/")
		r.Host = host
		if got := table(t, Rule{Hosts: []string{pattern}}).Match(r, nowhere).Rule == 0; got != want {
			t.Errorf("%s with host %q: %v, want %v", pattern, host, got, want)
		}
	}
	f("example.com", "example.com", true)
	f("example.com", "example.com:8080", true)
	f("Example.COM.", "example.com", true)
	f("example.com", "a.example.com", false)
	f("example.com", "example.com.evil.org", false)
	f("*.example.com", "a.example.com", true)
	f("*.example.com", "a.b.example.com:443", true)
	f("*.example.com", "example.com", false)
	f("*.example.com", ".example.com", false)
	f("*.example.com", "a..example.com", false)
	f("*.example.com", "badexample.com", false)
	f("*.example.com", "example.com.", false)
	f("[::1]", "[::1]:8080", true)
	f("[0:0::1]", "[::1]", true)
	f("::1", "[::1]:80", true)
	f("10.0.0.1", "10.0.0.1:80", true)
	f("", "anything", true)
	f("", "", true)
	f("localhost", "", false)

	t.Run("several hosts", func(t *testing.T) {
		rules := []Rule{{Name: "any"}, {Name: "both", Hosts: []string{"a.org", "*.b.org", "A.org"}}}
		for host, want := range map[string]string{"a.org": "both", "x.b.org": "both", "b.org": "any"} {
			if got := winner(t, rules, request(t, "GET http://"+host+"/")); got != want {
				t.Errorf("%s: %q, want %q", host, got, want)
			}
		}
	})
	t.Run("T11 any number of hosts in any case", func(t *testing.T) {
		for _, n := range []int{1, 99, 101, 5000} {
			rules := make([]Rule, n)
			for i := range rules {
				rules[i] = Rule{Hosts: []string{fmt.Sprintf("Shop-%d.EXAMPLE.com", i)}, Path: "/x"}
			}
			tab := table(t, rules...)
			for i := range n {
				if m := tab.Match(request(t, fmt.Sprintf("GET http://shop-%d.example.com/x", i)), nowhere); m.Rule != i {
					t.Fatalf("%d hosts: host %d matched rule %d", n, i, m.Rule)
				}
			}
		}
	})
}

func TestPaths(t *testing.T) {
	f := func(name string, rule Rule, target string, want bool) {
		t.Helper()
		t.Run(name+" "+target, func(t *testing.T) {
			t.Helper()
			if got := table(t, rule).Match(request(t, "GET http://x"+target), nowhere).Rule == 0; got != want {
				t.Errorf("%s: %v, want %v", cmpName(rule), got, want)
			}
		})
	}
	prefix := Rule{Prefix: "/v1"}
	f("prefix", prefix, "/v1", true)
	f("prefix", prefix, "/v1/", true)
	f("prefix", prefix, "/v1/x/y", true)
	f("prefix", prefix, "/v10", false)
	f("prefix", prefix, "/v", false)
	f("prefix", prefix, "/v1%2Fx", false)
	f("prefix", Rule{Prefix: "/v1/"}, "/v1", true)
	f("prefix", Rule{Prefix: "/"}, "/x/y", true)
	f("prefix", Rule{Prefix: "/a%2Fb"}, "/a%2fb/c", true)
	f("prefix", Rule{Prefix: "/a%2Fb"}, "/a/b/c", false)
	f("regex", Rule{PathRegex: "/v[0-9]+"}, "/v12", true)
	f("regex is anchored", Rule{PathRegex: "/v[0-9]+"}, "/v12/x", false)
	f("regex is anchored", Rule{PathRegex: "/a|/b"}, "/ab", false)
	f("regex is anchored", Rule{PathRegex: "/a|/b"}, "/b", true)
	f("regex", Rule{PathRegex: "/files/[^/]+/x"}, "/files/a%2Fb/x", true)
	f("encoded literal", Rule{Path: "/caf%C3%A9 bar"}, "/caf%c3%a9%20bar", true)
	f("encoded literal", Rule{Path: "/café/{id}"}, "/caf%C3%A9/7", true)

	f("P12 case", Rule{Path: "/Admin"}, "/admin", false)
	f("P12 case", Rule{Path: "/Admin"}, "/%41dmin", true)
	f("P12 case", Rule{Prefix: "/admin"}, "/%41dmin/x", false)
	f("P12 case", Rule{Path: "/Admin/{id}"}, "/%41dmin/x", true)
	f("P12 case", Rule{Path: "/Admin/{id}"}, "/admin/x", false)
	f("P12 case", Rule{PathRegex: "/Admin"}, "/%41dmin", true)

	f("P16 slash at the end", Rule{Path: "/a"}, "/a/", false)
	f("P16 slash at the end", Rule{Path: "/a/"}, "/a", false)
	f("P16 slash at the end", Rule{Path: "/a/"}, "/a/", true)
	f("P16 slash at the end", Rule{Path: "/a/{id}"}, "/a/7/", false)
	f("P16 slash at the end", Rule{Path: "/a/{id}/"}, "/a/7/", true)
	f("P16 slash at the end", Rule{Path: "/a/{id}/"}, "/a/7", false)
	f("P16 blank at the end", Rule{Path: "/a"}, "/a%20", false)
	f("P16 dot at the end", Rule{Path: "/a"}, "/a.", false)

	user := Rule{Path: "/users/{id}"}
	f("P22 one segment", user, "/users/7", true)
	f("P22 one segment", user, "/users/a/b", false)
	f("P22 one segment", user, "/users/a%2Fb", true)
	f("P22 one segment", Rule{Path: "/users/{a}/{b}"}, "/users/a%2Fb", false)
	f("P22 empty", user, "/users/", false)
	f("P22 empty", user, "/users", false)
	f("P22 empty", Rule{Path: "/users/{id:.*}"}, "/users/", false)
	f("P22 dots", user, "/users/..", false)
	f("P22 dots", user, "/users/%2e%2e", false)
	f("P22 dots", user, "/users/.", false)
	f("P22 dots", user, "/users/...", true)
	f("P22 dots", Rule{Path: "/users/.{ext}"}, "/users/..", false)
	f("P22 pattern over a slash", Rule{Path: "/users/{id:.+}"}, "/users/a/b", false)
	f("P22 pattern over a slash", Rule{Path: "/users/{id:[^x]+}/b"}, "/users/a/b/b", false)
	f("pattern", Rule{Path: "/users/{id:[0-9]{2}}"}, "/users/77", true)
	f("pattern", Rule{Path: "/users/{id:[0-9]{2}}"}, "/users/777", false)
	f("part of a segment", Rule{Path: "/f/{name}.json"}, "/f/a.json", true)
	f("part of a segment", Rule{Path: "/f/{name}.json"}, "/f/a.xml", false)
	f("part of a segment", Rule{Path: "/f/{name}.{ext:js|css}"}, "/f/a.b.css", true)
	f("two in a segment", Rule{Path: "/{a:[a-z]+}{b:[0-9]+}"}, "/ab12", true)

	t.Run("not a path", func(t *testing.T) {
		for _, path := range []string{"", "*", "x/y", "/a\x00b"} {
			r := request(t, "GET http://x/")
			r.URL.Path = path
			if m := table(t, Rule{}, Rule{PathRegex: "(?s).*"}, Rule{Path: "/a%2Fb"}).Match(r, nowhere); m.Rule >= 0 {
				t.Errorf("%q matched rule %d", path, m.Rule)
			}
		}
	})
	t.Run("P15 stale RawPath decides nothing", func(t *testing.T) {
		for _, raw := range []string{"/x%2Fy", "/a%2Fbc", "/a%2F", "/a%2Fb%", "/a%2Fb%2", "/a%2Fb%zz", "/%2Fa/b", "/a%2Fb "} {
			r := request(t, "GET http://x/")
			r.URL.Path, r.URL.RawPath = "/a/b", raw
			if m := table(t, Rule{Path: "/{one}"}, Rule{Path: "/a/b"}).Match(r, nowhere); m.Rule != 1 {
				t.Errorf("RawPath %q: rule %d", raw, m.Rule)
			}
		}
	})
}

func TestMethods(t *testing.T) {
	f := func(methods []string, method string, want bool) {
		t.Helper()
		r := request(t, "GET http://x/")
		r.Method = method
		if got := table(t, Rule{Methods: methods}).Match(r, nowhere).Rule == 0; got != want {
			t.Errorf("%v with %s: %v, want %v", methods, method, got, want)
		}
	}
	f(nil, "GET", true)
	f(nil, "PURGE", true)
	f(nil, "TRACE", false)
	f(nil, "CONNECT", false)
	f([]string{"get", "POST"}, "GET", true)
	f([]string{"get", "POST"}, "POST", true)
	f([]string{"GET"}, "HEAD", false)
	f([]string{"GET"}, "get", false)
	f([]string{"TRACE"}, "TRACE", true)
	f([]string{"GET"}, "TRACE", false)
}

func TestVars(t *testing.T) {
	f := func(rule Rule, target string, want map[string]string) {
		t.Helper()
		r := request(t, "GET http://x"+target)
		m := table(t, rule).Match(r, nowhere)
		if m.Rule != 0 {
			t.Errorf("%s does not match %s", cmpName(rule), target)
		}
		if diff := cmp.Diff(want, m.Vars(r)); diff != "" {
			t.Errorf("%s with %s (-want +got):\n%s", cmpName(rule), target, diff)
		}
	}
	f(Rule{Path: "/v1/{what}/{id}"}, "/v1/orders/7", map[string]string{"what": "orders", "id": "7"})
	f(Rule{Path: "/v1/{id}"}, "/v1/a%20b%2Fc", map[string]string{"id": "a b/c"})
	f(Rule{Path: "/f/{name}.{ext:js|css}"}, "/f/a.b.css", map[string]string{"name": "a.b", "ext": "css"})
	f(Rule{PathRegex: "/v(?P<major>[0-9]+)/(x|y)"}, "/v12/x", map[string]string{"major": "12"})
	f(Rule{PathRegex: "/v1/.*"}, "/v1/x", nil)
	f(Rule{Path: "/v1"}, "/v1", nil)
	f(Rule{}, "/v1", nil)

	r := request(t, "GET http://x/")
	if vars := table(t).Match(r, nowhere).Vars(r); vars != nil {
		t.Errorf("no match has the parameters %v", vars)
	}
}

func TestOrder(t *testing.T) {
	rules := []Rule{
		0: {Prefix: "/"},
		1: {Hosts: []string{"*.example.com", "b.org"}, Prefix: "/"},
		2: {Hosts: []string{"a.org"}, Path: "/x"},
		3: {Hosts: []string{"a.org"}, Path: "/x", Methods: []string{"GET"}},
		4: {Hosts: []string{"*.shop.example.com"}},
	}
	if diff := cmp.Diff([]int{3, 2, 1, 4, 0}, table(t, rules...).Order()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}
