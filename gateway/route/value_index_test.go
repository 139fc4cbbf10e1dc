package route

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// tenants are n rules of one path, each for a value of one query parameter.
func tenants(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{Route: i, Query: values{"tenant": {Exact: fmt.Sprintf("tenant-%d", i)}}}
	}
	return rules
}

func TestParametersAreLookedUp(t *testing.T) {
	rules := tenants(100)
	for _, value := range []string{"a b", "a+b", "%41", "é", "&", "=", "x;y", fitting, tooLong, tooLong + "x", "A", "a"} {
		rules = append(rules, Rule{Query: values{"tenant": {Exact: value}}})
	}
	rules = append(rules, Rule{Query: values{"tenant": {}}})
	tab := table(t, rules...)
	ways := map[string]func(string) string{
		"as forms do": url.QueryEscape,
		"as paths do": func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") },
		"all escaped": func(s string) string {
			out := ""
			for i := range len(s) {
				out += fmt.Sprintf("%%%02x", s[i])
			}
			return out
		},
	}
	for name, write := range ways {
		t.Run(name, func(t *testing.T) {
			for i, rule := range rules {
				value := rule.Query["tenant"].Exact // the last one has none, and takes an empty one
				r := request(t, "GET http://x/?x=y&tenant="+write(value)+"&tenant=tenant-1")
				if got := tab.Match(r, nowhere).Rule; got != i {
					t.Errorf("%s: rule %d, want %d", r.URL, got, i)
				}
				if n := testing.AllocsPerRun(10, func() { tab.Match(r, nowhere) }); n != 0 {
					t.Errorf("%s: %v allocations", r.URL, n)
				}
			}
		})
	}
}

func TestPrecedenceAmongLookedUp(t *testing.T) {
	q, p, x := values{"q": {Exact: "1"}}, values{"q": {Exact: "1"}, "p": {Exact: "1"}}, values{"x-a": {Exact: "1"}}
	first := []Rule{ // each takes the request if those before it are not there
		{Name: "method", Methods: []string{"GET"}, Query: q},
		{Name: "header and query", Headers: x, Query: q},
		{Name: "header", Headers: x},
		{Name: "two parameters", Query: p},
		{Name: "client", Query: q, Clients: nets("192.0.2.0/24")},
		{Name: "first in file", Query: q},
		{Name: "second in file", Query: values{"p": {Exact: "1"}}},
		{Name: "third in file", Query: values{"p": {Regex: "1"}}},
		{Name: "any"},
	}
	var crowd []Rule // enough for an index by each subject
	for i := range 20 {
		other := Value{Exact: fmt.Sprint(100 + i)}
		crowd = append(crowd, Rule{Query: values{"q": other}}, Rule{Query: values{"p": other}}, Rule{Headers: values{"x-a": other}},
			Rule{Headers: x, Query: values{"q": {Exact: "1"}, "p": other}}, Rule{Query: values{"q": {Exact: "1"}, "r": other}})
	}
	for i, want := range first {
		t.Run(want.Name, func(t *testing.T) {
			r := request(t, "GET http://x/?p=1&q=1\nX-A: 1")
			x := &gateway.Exchange{Client: netip.MustParseAddr("192.0.2.7")}
			if got := table(t, slices.Concat(crowd, first[i:])...).Match(r, x).Rule; got != len(crowd) {
				t.Errorf("rule %d, want %d", got, len(crowd))
			}
		})
	}
}

// TestIndexInIndex has rules whose most common conditions say little, each alone.
func TestIndexInIndex(t *testing.T) {
	rules := make([]Rule, 1000)
	for i := range rules {
		rules[i] = Rule{
			Headers: values{"x-version": {Exact: "2"}},
			Query:   values{"env": {Exact: "test"}, "shop": {Exact: fmt.Sprint(i / 30)}, "till": {Exact: fmt.Sprint(i % 30)}},
		}
	}
	rules = append(rules, Rule{Headers: values{"x-version": {Exact: "2"}, "x-kind": {Exact: "a"}, "x-a": {}}})
	if tried := atMost(table(t, rules...).any.prefixes[""]); tried > 3 {
		t.Errorf("%d of 1,001 rules are tried for one request", tried)
	}
}

// atMost counts the entries that the worst request has tried, if it sends each header once.
func atMost(s shelf) int {
	n := len(s.entries)
	for x := s.values; x != nil; x = x.next {
		most := 0
		for _, below := range x.shelves {
			most = max(most, atMost(below))
		}
		n += most
	}
	return n
}

func TestExplainOfLookedUp(t *testing.T) {
	tab := table(t, tenants(1000)...)
	f := func(query string, want ...Candidate) {
		t.Helper()
		if diff := cmp.Diff(want, tab.ExplainAtMost(2, request(t, "GET http://x/a"+query), nowhere)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", query, diff)
		}
	}
	f("?tenant=none",
		Candidate{Rule: 0, Why: `query parameter tenant is "none", want "tenant-0"`},
		Candidate{Rule: 1, Why: `query parameter tenant is "none", want "tenant-1"`})
	f("",
		Candidate{Rule: 0, Why: `no query parameter tenant, want "tenant-0"`},
		Candidate{Rule: 1, Why: `no query parameter tenant, want "tenant-1"`})
	f("?tenant=tenant%2D700&tenant=tenant-0",
		Candidate{Rule: 0, Why: `query parameter tenant is "tenant-700", want "tenant-0"`},
		Candidate{Rule: 1, Why: `query parameter tenant is "tenant-700", want "tenant-1"`},
		Candidate{Rule: 700, Matched: true, Why: "host *, prefix /"})
}
