package route

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// world is a table of n rules of one form and a request that one of them takes.
type world struct {
	name    string
	rule    func(i int) Rule
	request string            // %d is the rule that shall match
	numbers func(i int) []any // what takes the places of %d, if not i
	miss    bool
	pooled  bool // by regexp, whose pools the race detector empties at random
	allocs  float64
}

var worlds = []world{
	{name: "exact", rule: func(i int) Rule { return Rule{Path: fmt.Sprintf("/api/v1/service-%d/items", i)} }, request: "GET http://x/api/v1/service-%d/items"},
	{name: "prefix", rule: func(i int) Rule { return Rule{Prefix: fmt.Sprintf("/api/v1/service-%d", i)} }, request: "GET http://x/api/v1/service-%d/items/7/lines"},
	{name: "template", rule: func(i int) Rule { return Rule{Path: fmt.Sprintf("/api/v1/service-%d/{id}/lines", i)} }, request: "GET http://x/api/v1/service-%d/7/lines"},
	{name: "pattern", rule: func(i int) Rule { return Rule{Path: fmt.Sprintf("/api/v1/service-%d/{id:[0-9]+}", i)} }, request: "GET http://x/api/v1/service-%d/7"},
	{name: "host", rule: func(i int) Rule {
		return Rule{Hosts: []string{fmt.Sprintf("shop-%d.example.com", i)}, Prefix: "/v1"}
	}, request: "GET http://shop-%d.example.com:8080/v1/orders/7"},
	{name: "wildcard", rule: func(i int) Rule {
		return Rule{Hosts: []string{fmt.Sprintf("*.shop-%d.example.com", i)}, Prefix: "/v1"}
	}, request: "GET http://eu.west.shop-%d.example.com/v1/orders/7"},
	{name: "conditions", rule: func(i int) Rule {
		return Rule{Prefix: fmt.Sprintf("/s-%d", i), Methods: []string{"GET"}, Headers: values{"x-a": {Exact: "1"}}, Query: values{"q a": {Exact: "b"}}}
	}, request: "GET http://x/s-%d/y?z=1&q+a=%%62\nX-A: 1"},
	{name: "header_regex", rule: func(i int) Rule {
		return Rule{Prefix: fmt.Sprintf("/s-%d", i), Headers: values{"x-a": {Regex: "[a-z]+-[0-9]+"}}}
	}, request: "GET http://x/s-%d/y\nX-A: tenant-77"},
	{name: "query_regex", rule: func(i int) Rule {
		return Rule{Prefix: fmt.Sprintf("/s-%d", i), Query: values{"q": {Regex: "[a-z]+-[0-9]+"}}}
	}, request: "GET http://x/s-%d/y?p=1&q=tenant-77"},
	{name: "query_regex_escaped", rule: func(i int) Rule {
		return Rule{Prefix: fmt.Sprintf("/s-%d", i), Query: values{"q": {Regex: "[a-z]+-[0-9]+"}}}
	}, request: "GET http://x/s-%d/y?p=1&q=tenant%%2D77", allocs: 1}, // the value without escapes
	{name: "sender", rule: func(i int) Rule {
		return Rule{Prefix: fmt.Sprintf("/s-%d", i), Clients: nets("10.0.0.0/16", "10.1.0.0/16", "192.0.2.0/24", "2001:db8::/32"), Listeners: []string{"tls", "web"}}
	}, request: "GET http://x/s-%d/y"},
	{name: "grpc", rule: func(i int) Rule {
		return Rule{GRPC: &GRPC{Service: Name{Exact: fmt.Sprintf("shop.v%d.Orders", i)}, Method: Name{Exact: "Get"}}}
	}, request: "GRPC http://x/shop.v%d.Orders/Get"},
	{name: "one_path_by_header", rule: func(i int) Rule {
		return Rule{Prefix: "/v1", Headers: values{"x-tenant": {Exact: fmt.Sprintf("tenant-%d", i)}}}
	}, request: "GET http://x/v1/orders/7\nX-Tenant: tenant-%d"},
	{name: "one_path_by_query", rule: func(i int) Rule {
		return Rule{Prefix: "/v1", Query: values{"tenant": {Exact: fmt.Sprintf("tenant-%d", i)}}}
	}, request: "GET http://x/v1/orders/7?tenant=tenant-%d"},
	{name: "one_path_by_query_escaped", rule: func(i int) Rule {
		return Rule{Prefix: "/v1", Query: values{"tenant": {Exact: fmt.Sprintf("tenant-%d", i)}}}
	}, request: "GET http://x/v1/orders/7?page=2&tenant=tenant%%2D%d"},
	{name: "one_path_by_two_parameters", rule: func(i int) Rule {
		return Rule{Prefix: "/v1", Query: values{"shop": {Exact: fmt.Sprint(i / 100)}, "till": {Exact: fmt.Sprint(i % 100)}, "v": {Exact: "2"}}}
	}, request: "GET http://x/v1/orders/7?shop=%d&till=%d&v=2", numbers: func(i int) []any { return []any{i / 100, i % 100} }},
	{name: "one_path_by_regex", rule: func(i int) Rule {
		return Rule{Prefix: "/v1", Headers: values{"x-tenant": {Regex: fmt.Sprintf("tenant-%d(-[a-z]+)?", i)}}}
	}, request: "GET http://x/v1/orders/7\nX-Tenant: tenant-%d", pooled: true},
	{name: "miss", rule: func(i int) Rule { return Rule{Prefix: fmt.Sprintf("/api/v1/service-%d", i)} }, request: "GET http://x/api/v2/service-%d/items/7/lines", miss: true},
	{name: "encoded_slash", rule: func(i int) Rule { return Rule{Prefix: fmt.Sprintf("/api/v1/service-%d", i)} }, request: "GET http://x/api/v1/service-%d/a%%2Fb", allocs: 2},
}

func (w world) build(t testing.TB, n int) (tab *Table, r *http.Request, want int) {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = w.rule(i)
	}
	want = n / 2
	numbers := []any{want}
	if w.numbers != nil {
		numbers = w.numbers(want)
	}
	r = request(t, fmt.Sprintf(w.request, numbers...))
	if w.miss {
		want = -1
	}
	return table(t, rules...), r, want
}

func TestAllocations(t *testing.T) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			tab, r, want := w.build(t, 1000)
			if m := tab.Match(r, nowhere); m.Rule != want {
				t.Fatalf("rule %d, want %d", m.Rule, want)
			}
			if raceEnabled && w.pooled {
				return
			}
			if n := testing.AllocsPerRun(100, func() { tab.Match(r, nowhere) }); n != w.allocs {
				t.Errorf("%v allocations, budget %v", n, w.allocs)
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, w := range worlds {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", w.name, n), func(b *testing.B) {
				tab, r, want := w.build(b, n)
				b.ReportAllocs()
				for b.Loop() {
					if m := tab.Match(r, nowhere); m.Rule != want {
						b.Fatalf("rule %d, want %d", m.Rule, want)
					}
				}
			})
		}
	}
}

// BenchmarkHostile measures requests made to be slow to match.
func BenchmarkHostile(b *testing.B) {
	rules := []Rule{{Hosts: []string{"*.example.com"}}, {Prefix: "/a/b/c/d/e"}}
	for i := range 12 { // every segment a and {x}: 4096 ways through the tree
		for mask := range 1 << i {
			path := ""
			for bit := range i {
				path += [...]string{"/a", fmt.Sprintf("/{x%d}", bit)}[mask>>bit&1]
			}
			rules = append(rules, Rule{Path: path + "/end"})
		}
	}
	for i := range 1000 { // indexes in an index
		one := values{"t": {Exact: fmt.Sprint(i / 10)}}
		rules = append(rules, Rule{Path: "/t", Headers: one, Query: values{"q": {Exact: fmt.Sprint(i % 10)}}})
	}
	lines := ""
	for i := range 100 {
		lines += fmt.Sprintf("\nT: %d", i)
	}
	tab := table(b, rules...)
	for name, req := range map[string]string{
		"lines":     "GET http://x/t?" + strings.Repeat("%71;=&", 1000) + "q=%" + lines,
		"long_path": "GET http://x" + strings.Repeat("/a", 4000),
		"template":  "GET http://x" + strings.Repeat("/a", 11) + "/miss",
		"query":     "GET http://x/?" + strings.Repeat("%71%71=&", 1000),
		"dots":      "GET http://" + strings.Repeat("a.", 4000) + "example.com/",
	} {
		b.Run(name, func(b *testing.B) {
			r := request(b, req)
			for b.Loop() {
				tab.Match(r, nowhere)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, w := range worlds {
		if w.allocs > 0 || w.pooled || w.miss {
			continue // the same rules again, or the cost of regexp
		}
		b.Run(w.name+"/10000", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.build(b, 10000)
			}
		})
	}
}
