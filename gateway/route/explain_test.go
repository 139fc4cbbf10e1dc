package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func TestExplain(t *testing.T) {
	rules := []Rule{
		0: {Hosts: []string{"api.example.com"}, Path: "/v1/orders/{id}", Headers: values{"x-tenant": {Exact: "a"}}},
		1: {Hosts: []string{"api.example.com"}, Path: "/v1/orders/{id}", Methods: []string{"PUT", "POST"}},
		2: {Hosts: []string{"api.example.com"}, Path: "/v1/orders/{id}", Query: values{"debug": {Exact: "yes"}}},
		3: {Hosts: []string{"www.example.com"}, Path: "/v1/orders/{id}"},
		4: {Hosts: []string{"api.example.com"}, Path: "/admin"},
		5: {Hosts: []string{"*.example.com"}, Prefix: "/v1"},
		6: {Prefix: "/"},
	}
	tab := table(t, rules...)
	f := func(name, req string, want ...Candidate) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if diff := cmp.Diff(want, tab.Explain(request(t, req), nowhere)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", req, diff)
			}
		})
	}
	f("all that failed", "GET http://api.example.com/v1/orders/7?debug=no\nX-Tenant: b",
		Candidate{Rule: 1, Why: "method GET, want PUT or POST"},
		Candidate{Rule: 0, Why: `header x-tenant is "b", want "a"`},
		Candidate{Rule: 2, Why: `query parameter debug is "no", want "yes"`},
		Candidate{Rule: 3, Why: "host api.example.com, want www.example.com"},
		Candidate{Rule: 5, Matched: true, Why: "host *.example.com, prefix /v1"})
	f("missing", "GET http://api.example.com/v1/orders/7",
		Candidate{Rule: 1, Why: "method GET, want PUT or POST"},
		Candidate{Rule: 0, Why: `no header x-tenant, want "a"`},
		Candidate{Rule: 2, Why: `no query parameter debug, want "yes"`},
		Candidate{Rule: 3, Why: "host api.example.com, want www.example.com"},
		Candidate{Rule: 5, Matched: true, Why: "host *.example.com, prefix /v1"})
	f("path goes on", "PUT http://api.example.com/v1/orders/7/x%2Fy",
		Candidate{Rule: 1, Why: "path /v1/orders/7/x%2Fy: want path /v1/orders/{id}, which leaves /x%2Fy over"},
		Candidate{Rule: 0, Why: "path /v1/orders/7/x%2Fy: want path /v1/orders/{id}, which leaves /x%2Fy over; " +
			`no header x-tenant, want "a"`},
		Candidate{Rule: 2, Why: "path /v1/orders/7/x%2Fy: want path /v1/orders/{id}, which leaves /x%2Fy over; " +
			`no query parameter debug, want "yes"`},
		Candidate{Rule: 5, Matched: true, Why: "host *.example.com, prefix /v1"})
	f("nearest wins", "POST http://api.example.com/v1/orders/7",
		Candidate{Rule: 1, Matched: true, Why: "host api.example.com, path /v1/orders/{id}"})
}

func TestExplainHints(t *testing.T) {
	f := func(rule Rule, req, want string) {
		t.Helper()
		got := table(t, rule).Explain(request(t, req), nowhere)
		if len(got) != 1 || got[0].Matched || !strings.Contains(got[0].Why, want) {
			t.Errorf("%s with %s: %+v, want %q", cmpName(rule), req, got, want)
		}
	}
	f(Rule{Path: "/a"}, "GET http://x/a/", "path /a/: want path /a, the slash at the end differs")
	f(Rule{Path: "/a/{id}/"}, "GET http://x/a/7", "the slash at the end differs")
	f(Rule{Path: "/Admin"}, "GET http://x/admin", "upper and lower case differ")
	f(Rule{Prefix: "/v1"}, "GET http://x/v10", "want prefix /v1, a prefix ends at a slash")
	f(Rule{Path: "/a/{id:[0-9]+}"}, "GET http://x/a/b", "pattern does not match")
	f(Rule{Path: "/a/{id}"}, "GET http://x/", "path /: want path /a/{id}")
	f(Rule{PathRegex: "/a.*"}, "GET http://x/b", "want path_regex /a.*")
	f(Rule{}, "TRACE http://x/", "method TRACE must be named by the rule")
	f(Rule{}, "CONNECT http://x/", "method CONNECT is never routed")
	f(Rule{Methods: []string{"GET"}}, "POST http://x/", "method POST, want GET")
	f(Rule{Headers: values{"X-A": {}}}, "GET http://x/", "no header x-a")
	f(Rule{Query: values{"q": {}}}, "GET http://x/", "no query parameter q")
	f(Rule{Headers: values{"x-a": {Regex: "b+"}}}, "GET http://x/\nX-A: a", `header x-a is "a", want regex b+`)
	f(Rule{Headers: values{"x-a": {Regex: "b+"}}}, "GET http://x/", "no header x-a, want regex b+")
	f(Rule{Headers: values{"x-a": {Not: "a"}}}, "GET http://x/\nX-A: a", `header x-a is "a", want any other value`)
	f(Rule{Query: values{"q": {Regex: "b+"}}}, "GET http://x/?q=a&q=b", `query parameter q is "a", want regex b+`)
	f(Rule{Query: values{"q": {Absent: true}}}, "GET http://x/?q=a", `query parameter q is "a", want none`)
	f(Rule{Clients: nets("10.2.0.0/16")}, "GET http://x/", "client 10.1.2.3 is in none of the networks")
	f(Rule{Listeners: []string{"tls", "admin"}}, "GET http://x/", "listener web, want tls or admin")
	f(Rule{Hosts: []string{"*.a.com"}, Path: "/a"}, "GET http://a.com/b", "host a.com, want *.a.com; path /b: want path /a")
	f(Rule{Path: "/x"}, "GET http://x/"+strings.Repeat("y", 8000), "yyy...: want path /x")

	r := request(t, "GET http://x/")
	r.Host, r.URL.Path = "", "*"
	if got := table(t, Rule{Hosts: []string{"a"}}).Explain(r, nowhere); !strings.HasPrefix(got[0].Why, `host is missing, want a; path "*" is never routed`) {
		t.Errorf("%+v", got)
	}
}

func TestExplainIsBounded(t *testing.T) {
	rules := make([]Rule, 1000)
	for i := range rules {
		rules[i] = Rule{Path: fmt.Sprintf("/v1/%d", i), Methods: []string{"PUT"}}
	}
	rules = append(rules, Rule{Path: "/v1/7/x"}, Rule{Hosts: []string{"a.org", "b.org"}, Path: "/v1/7"})
	tab := table(t, rules...)

	t.Run("nearest first", func(t *testing.T) {
		want := []Candidate{
			{Rule: 1001, Why: "host x, want a.org"},
			{Rule: 7, Why: "method GET, want PUT"},
		}
		if diff := cmp.Diff(want, tab.ExplainAtMost(2, request(t, "GET http://x/v1/7"), nowhere)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("default", func(t *testing.T) {
		if n := len(tab.Explain(request(t, "GET http://x/v1/nothing"), nowhere)); n != 8 {
			t.Errorf("%d candidates", n)
		}
	})
	t.Run("only the near ones beside a match", func(t *testing.T) {
		catchAll := table(t, append(rules, Rule{Prefix: "/"})...)
		got := catchAll.Explain(request(t, "GET http://x/elsewhere"), nowhere)
		if diff := cmp.Diff([]Candidate{{Rule: 1002, Matched: true, Why: "host *, prefix /"}}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("rules of one route", func(t *testing.T) {
		rules := []Rule{{Path: "/a/b", Methods: []string{"PUT"}}, {Path: "/a/c"}, {Path: "/a/b"}, {Path: "/a/b", Methods: []string{"POST"}}}
		for i, route := range []int{0, 1, 0, 1} {
			rules[i].Route = route
		}
		tab, err := New(rules)
		if err != nil {
			t.Fatal(err)
		}
		want := []Candidate{ // not rule 0, whose route does match
			{Rule: 3, Why: "method GET, want POST"},
			{Rule: 2, Matched: true, Why: "host *, path /a/b"},
		}
		if diff := cmp.Diff(want, tab.Explain(request(t, "GET http://x/a/b"), nowhere)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		var told []int
		for _, c := range tab.ExplainAtMost(1, request(t, "GET http://x/a/d"), nowhere) {
			told = append(told, c.Rule)
		}
		if diff := cmp.Diff([]int{0, 2}, told); diff != "" { // of the route that stands first
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("no client", func(t *testing.T) {
		got := table(t, Rule{Clients: nets("::/0")}).Explain(request(t, "GET http://x/"), &gateway.Exchange{})
		if diff := cmp.Diff([]Candidate{{Why: "the client's address is not known"}}, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no rules", func(t *testing.T) {
		if got := table(t).Explain(request(t, "GET http://x/"), nowhere); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	})
}
