package route

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
)

// The oracle is a second opinion that shares no code with the index: every rule
// becomes a mux route for each of its hosts, the routes are sorted by
// precedence, and the first one that mux lets match wins.
type oracle []oracleRoute

type oracleRoute struct {
	rule  int
	score []int // larger is nearer
	route *mux.Route
}

func newOracle(t testing.TB, rules []Rule) oracle {
	t.Helper()
	var o oracle
	for i, rule := range rules {
		for _, host := range rule.Hosts {
			route := mux.NewRouter().UseEncodedPath().NewRoute()
			path := oraclePath(route, rule)
			switch {
			case strings.HasPrefix(host, "*."):
				route.Host(`{labels:[^.]+(?:\.[^.]+)*}` + host[1:])
			case host != "":
				route.Host(host)
			}
			oracleRest(route, rule)
			if err := route.GetError(); err != nil {
				t.Fatalf("mux refuses %+v: %v", rule, err)
			}
			score := append(oracleHost(host), path...)
			score = append(score, min(len(rule.Methods), 1), len(rule.Headers), len(rule.Query), -i)
			o = append(o, oracleRoute{rule: i, score: score, route: route})
		}
	}
	slices.SortFunc(o, func(a, b oracleRoute) int { return slices.Compare(b.score, a.score) })
	return o
}

func oracleHost(host string) []int {
	if host == "" {
		return []int{0, 0}
	}
	if strings.HasPrefix(host, "*.") {
		return []int{1, len(host)}
	}
	return []int{2, 0}
}

var braces = regexp.MustCompile(`\{[^}]*\}`)

// oraclePath adds the path matcher and returns its part of the score.
func oraclePath(route *mux.Route, rule Rule) []int {
	literal, _ := url.PathUnescape(braces.ReplaceAllString(rule.Path, ""))
	switch {
	case strings.Contains(rule.Path, "{"):
		route.Path(rule.Path)
		return []int{3, len(literal)}
	case rule.Path != "":
		route.Path(rule.Path)
		return []int{4, 0}
	case rule.PathRegex != "":
		route.Path("/{rest:" + strings.TrimPrefix(rule.PathRegex, "/") + "}")
		return []int{1, 0}
	}
	prefix := strings.TrimSuffix(rule.Prefix, "/")
	if prefix == "" {
		route.Path("/{rest:.*}")
		return []int{2, 0}
	}
	route.Path(prefix + "{rest:(?:/.*)?}")
	plain, _ := url.PathUnescape(prefix)
	return []int{2, len(plain)}
}

func oracleRest(route *mux.Route, rule Rule) {
	for name, value := range rule.Headers {
		route.Headers(name, value)
	}
	for name, value := range rule.Query {
		route.Queries(name, value)
	}
	if len(rule.Methods) > 0 {
		route.Methods(slices.Clone(rule.Methods)...)
		return
	}
	route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool { return r.Method != "TRACE" && r.Method != "CONNECT" })
}

func (o oracle) match(r *http.Request) (rule int, vars map[string]string) {
	// mux reads the host of a request with an absolute URL from there.
	served := r.Clone(r.Context())
	served.URL.Scheme, served.URL.Host = "", ""
	// It would not ignore the port where a host's pattern has a colon.
	served.Host, _, _ = strings.Cut(served.Host, ":")
	for _, candidate := range o {
		var m mux.RouteMatch
		if !candidate.route.Match(served, &m) {
			continue
		}
		delete(m.Vars, "rest")
		delete(m.Vars, "labels")
		for name, value := range m.Vars {
			m.Vars[name], _ = url.PathUnescape(value)
		}
		if len(m.Vars) == 0 {
			m.Vars = nil
		}
		return candidate.rule, m.Vars
	}
	return -1, nil
}

// dice draws rules and requests from a small world, in which they meet often.
type dice struct{ next func(n int) int }

func (d dice) of(words ...string) string { return words[d.next(len(words))] }

func (d dice) rules() []Rule {
	rules := make([]Rule, 1+d.next(12))
	for i := range rules {
		r := Rule{Hosts: []string{d.of("", "", "a.com", "b.a.com", "*.a.com", "*.b.a.com", "*.com")}}
		if d.next(4) == 0 {
			r.Hosts = append(r.Hosts, d.of("c.org", "*.org", "b.a.com"))
		}
		switch d.next(8) {
		case 0:
		case 1, 2:
			r.Prefix = d.path("a", "b", "ab", "a%2Fb") + d.of("", "/")
			r.Prefix = strings.ReplaceAll(r.Prefix, "//", "/")
		case 3:
			r.PathRegex = d.of("/a.*", "/[ab]+", "/[0-9]+/[^/]+", "/a/b", "/[^/]+/?", "/(?:a|b)")
		default:
			r.Path = d.path("a", "b", "ab", "a%2Fb", "{p}", "{p}", "{p:[0-9]+}", "{p}.js", "a{p:[a-z]*}", "{p:a|b}")
			for n := 1; strings.Contains(r.Path, "{p"); n++ {
				r.Path = strings.Replace(r.Path, "{p", fmt.Sprintf("{v%d", n), 1)
			}
		}
		if d.next(3) == 0 {
			r.Methods = []string{d.of("GET", "POST", "TRACE", "PUT"), "GET"}[:1+d.next(2)]
		}
		if d.next(4) == 0 {
			r.Headers = map[string]string{d.of("x-a", "X-B"): d.of("1", "2", "")}
		}
		if d.next(4) == 0 {
			r.Query = map[string]string{d.of("q", "p"): d.of("1", "2", "")}
		}
		rules[i] = r
	}
	return rules
}

func (d dice) path(words ...string) string {
	path := ""
	for range d.next(4) {
		path += "/" + d.of(words...)
	}
	if path == "" || d.next(6) == 0 {
		path += "/"
	}
	return path
}

func (d dice) request(t testing.TB) *http.Request {
	t.Helper()
	method := d.of("GET", "GET", "GET", "POST", "TRACE", "PUT", "HEAD")
	target := "http://" + d.of("a.com", "b.a.com", "b.a.com:80", "x.b.a.com", "y.x.b.a.com", "c.org", "org") +
		d.path("a", "b", "ab", "a%2Fb", "7", "77", "a.js", "7a") +
		d.of("", "", "?q=1", "?p=1&q=2", "?q", "?q=1&q=2", "?q=%zz&q=1", "?&q=%31")
	text := method + " " + target
	if d.next(2) == 0 {
		text += "\n" + d.of("X-A: 1", "X-A: 2", "X-B: 2\nX-B: 1", "X-A: 1\nX-B: 2")
	}
	return request(t, text)
}

// compareWithOracle demands the same rule and the same parameters, and that
// Explain tells the same story.
func compareWithOracle(t *testing.T, d dice) {
	t.Helper()
	rules := d.rules()
	tab, err := New(rules)
	if err != nil {
		t.Fatalf("%v\n%s", err, listing(rules))
	}
	naive := newOracle(t, rules)
	for range 8 {
		r := d.request(t)
		m := tab.Match(r)
		want, vars := naive.match(r)
		if m.Rule != want {
			t.Fatalf("%s %s %v: rule %d, mux says %d\n%s", r.Method, r.URL, r.Header, m.Rule, want, listing(rules))
		}
		if diff := cmp.Diff(vars, m.Vars(r)); diff != "" {
			t.Fatalf("%s of %s (-mux +got):\n%s", r.URL, listing(rules[m.Rule:m.Rule+1]), diff)
		}
		checkExplain(t, tab, r, m, listing(rules))
	}
}

func checkExplain(t *testing.T, tab *Table, r *http.Request, m Match, rules string) {
	t.Helper()
	for i, c := range tab.ExplainAtMost(100, r) {
		if c.Matched != (c.Rule == m.Rule) || c.Why == "" {
			t.Fatalf("%s %s: candidate %d is %+v, the match is %d\n%s", r.Method, r.URL, i, c, m.Rule, rules)
		}
	}
}

func listing(rules []Rule) string {
	var b strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&b, "%d: %v %s methods %v headers %v query %v\n", i, r.Hosts, cmpName(r), r.Methods, r.Headers, r.Query)
	}
	return b.String()
}

func TestMatchesLikeMux(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		compareWithOracle(t, dice{random.IntN})
	}
}

// FuzzMatch lets the fuzzer throw the dice.
func FuzzMatch(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		seed := make([]byte, 300)
		for i := range seed {
			seed[i] = byte(random.IntN(256))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareWithOracle(t, dice{func(n int) int {
			if len(data) == 0 {
				return 0
			}
			i := int(data[0]) % n
			data = data[1:]
			return i
		}})
	})
}

// FuzzQuery compares the walk over the raw query with url.ParseQuery.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"q=1", "a=1&q=2&q=3", "q", "q=%zz&q=%31", "%71=+", "q;=1&q=2", "q=1;", "&&q==", "q=%", "q=%4"} {
		f.Add(seed, "q")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		values, _ := url.ParseQuery(query) // its error is about the parameters that it drops
		raw, ok := firstParam(query, name)
		if ok != values.Has(name) {
			t.Fatalf("%q in %q: %v, ParseQuery says %v", name, query, ok, values)
		}
		if ok && (!unescapesTo(raw, values.Get(name)) || unescapesTo(raw, values.Get(name)+"x")) {
			t.Fatalf("%q in %q: %q, ParseQuery says %q", name, query, raw, values.Get(name))
		}
	})
}

// FuzzPath checks that a path and any legal way to write it are the same path
// to all rules, and that no encoded slash divides segments.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/a/b", "/a%2Fb", "/%61%2fb", "/caf%C3%A9%2F", "/a%252Fb", "/%zz", "/a%2Fb%25", "/%2F "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		path, ok := matchPath(u)
		if !ok {
			if strings.HasPrefix(u.Path, "/") && !strings.Contains(u.Path, "\x00") {
				t.Fatalf("%q is refused", raw)
			}
			return
		}
		if got := strings.ReplaceAll(path, encodedSlash, "/"); got != u.Path {
			t.Fatalf("%q became %q, want %q", raw, got, u.Path)
		}
		if got, want := strings.Count(path, "/"), strings.Count(u.EscapedPath(), "/"); got != want {
			t.Fatalf("%q became %q with %d slashes, want %d", raw, path, got, want)
		}
	})
}
