package route

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/mux"

	"github.com/pithead/pithead/gateway"
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
			score := slices.Concat(oracleHost(host), oracleCall(rule.GRPC), path, []int{
				min(len(rule.Methods), 1), len(rule.Headers), len(rule.Query), min(len(rule.Clients), 1), min(len(rule.Listeners), 1), -i,
			})
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

// oracleCall ranks a name before an expression before none, and more characters
// before fewer.
func oracleCall(g *GRPC) []int {
	if g == nil {
		return []int{0, 0, 0, 0, 0}
	}
	score := []int{1}
	for _, n := range []Name{g.Service, g.Method} {
		switch {
		case n.Exact != "":
			score = append(score, 2, len(n.Exact))
		case n.Regex != "":
			score = append(score, 1, len(n.Regex))
		default:
			score = append(score, 0, 0)
		}
	}
	return score
}

var braces = regexp.MustCompile(`\{[^}]*\}`)

// oraclePath adds the path matcher and returns its part of the score.
func oraclePath(route *mux.Route, rule Rule) []int {
	literal, _ := url.PathUnescape(braces.ReplaceAllString(rule.Path, ""))
	switch {
	case rule.GRPC != nil && *rule.GRPC == (GRPC{}):
		return []int{0, 0}
	case rule.GRPC != nil:
		route.Path("/{rest:(?:" + oracleName(rule.GRPC.Service, ".+") + ")/(?:" + oracleName(rule.GRPC.Method, "[^/]+") + ")}")
		return []int{0, 0}
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
		return []int{0, 0}
	}
	route.Path(prefix + "{rest:(?:/.*)?}")
	plain, _ := url.PathUnescape(prefix)
	return []int{2, len(plain)}
}

func oracleName(n Name, any string) string {
	if n.Exact != "" {
		return regexp.QuoteMeta(n.Exact)
	}
	return cmp.Or(n.Regex, any)
}

func oracleRest(route *mux.Route, rule Rule) {
	for name, v := range rule.Headers {
		key := http.CanonicalHeaderKey(name)
		route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
			got := r.Header[key]
			if v.Not != "" {
				return !slices.Contains(got, v.Not)
			}
			return oracleValue(v, got)
		})
	}
	for name, v := range rule.Query {
		route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
			got := r.URL.Query()[name]
			if v.Not != "" {
				return len(got) == 0 || got[0] != v.Not
			}
			return oracleValue(v, got[:min(1, len(got))])
		})
	}
	route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool {
		x := gateway.ExchangeOf(r)
		inside := func(p netip.Prefix) bool { return p.Contains(x.Client) }
		return (len(rule.Clients) == 0 || slices.ContainsFunc(rule.Clients, inside)) &&
			(len(rule.Listeners) == 0 || slices.Contains(rule.Listeners, x.Listener))
	})
	switch {
	case rule.GRPC != nil:
		route.Methods("POST").HeadersRegexp("Content-Type", "^application/grpc($|[+;])")
		route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool { return r.ProtoMajor == 2 })
	case len(rule.Methods) > 0:
		route.Methods(slices.Clone(rule.Methods)...)
	default:
		route.MatcherFunc(func(r *http.Request, _ *mux.RouteMatch) bool { return r.Method != "TRACE" && r.Method != "CONNECT" })
	}
}

// oracleValue judges all conditions but Not.
func oracleValue(v Value, got []string) bool {
	switch {
	case v.Absent:
		return len(got) == 0
	case v.Exact != "":
		return slices.Contains(got, v.Exact)
	case v.Regex != "":
		return slices.ContainsFunc(got, func(s string) bool {
			re := regexp.MustCompile(v.Regex)
			re.Longest()
			return re.FindString(s) == s && re.MatchString(s)
		})
	default:
		return len(got) > 0
	}
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
