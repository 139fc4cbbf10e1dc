package route

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// Candidate is a rule that a request came near to.
type Candidate struct {
	Rule    int // index in the rules given to New
	Matched bool
	Why     string // all conditions that did not hold, else what the match rests on
}

// How much of an answer is still readable where one path has hundreds of rules.
const (
	maxCandidates   = 8 // routes
	maxAlternatives = 4 // rules of each
)

// Explain lists the nearest rules that would have won had they matched, in
// order of precedence, and last the rule that did match. If none did, the list
// shows what the nearest ones would have needed. It looks at every rule: it is
// for people, not for requests.
func (t *Table) Explain(r *http.Request, x *gateway.Exchange) []Candidate {
	return t.ExplainAtMost(maxCandidates, r, x)
}

// ExplainAtMost is Explain with a list of rules of at most n routes beside the
// match.
func (t *Table) ExplainAtMost(n int, r *http.Request, x *gateway.Exchange) []Candidate {
	winner := t.find(r, x)
	var misses []miss
	for i, e := range t.entries() {
		if e == winner {
			break
		}
		if winner != nil && t.places[e.id].route == t.places[winner.id].route {
			continue // the route did match, by another of its hosts or rules
		}
		if m := e.compare(i, r, x); winner == nil || m.isNear() {
			misses = append(misses, m)
		}
	}
	slices.SortStableFunc(misses, nearer)
	misses = t.ofRoutes(n, misses)
	slices.SortFunc(misses, func(a, b miss) int { return cmp.Compare(a.order, b.order) })
	candidates := make([]Candidate, 0, len(misses)+1)
	for _, m := range misses {
		candidates = append(candidates, Candidate{Rule: t.places[m.id].rule, Why: strings.Join(m.why, "; ")})
	}
	if winner != nil {
		why := "host " + winner.host.String() + ", " + winner.describePath()
		candidates = append(candidates, Candidate{Rule: t.places[winner.id].rule, Matched: true, Why: why})
	}
	return candidates
}

// ofRoutes keeps each rule once, and the rules of the first n routes.
func (t *Table) ofRoutes(n int, misses []miss) []miss {
	seen, routes := make(map[*rule]bool), make(map[int]int)
	return slices.DeleteFunc(misses, func(m miss) bool {
		again := seen[m.rule]
		seen[m.rule] = true
		route := t.places[m.id].route
		if again || routes[route] == maxAlternatives || routes[route] == 0 && len(routes) == n {
			return true
		}
		routes[route]++
		return false
	})
}

// miss is an entry that did not match, with how far away it was.
type miss struct {
	*entry
	order      int  // among all entries
	host, path bool // these matched
	shared     int  // leading segments of the path that matched
	why        []string
}

// isNear keeps rules out of the list that nobody would have expected to match.
func (m *miss) isNear() bool { return m.path || m.host && m.shared > 0 }

func nearer(a, b miss) int {
	return cmp.Or(
		cmp.Compare(boolToInt(b.host)+boolToInt(b.path), boolToInt(a.host)+boolToInt(a.path)),
		cmp.Compare(b.shared, a.shared),
		cmp.Compare(len(a.why), len(b.why)),
	)
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compare checks every condition of e and notes those that do not hold.
func (e *entry) compare(order int, r *http.Request, x *gateway.Exchange) miss {
	m := miss{entry: e, order: order, host: true, path: true}
	if name := hostname(r.Host); !e.host.matches(name) {
		m.host = false
		m.add("host %s, want %s", orNone(name), e.host)
	}
	path, ok := matchPath(r.URL)
	switch {
	case !ok:
		m.path = false
		m.add("path %s is never routed", quote(r.URL.Path))
	case !e.matchesPath(path):
		m.path = false
		m.shared = e.sharedSegments(path)
		m.add("path %s: want %s%s", shorten(r.URL.EscapedPath()), e.describePath(), e.hint(path))
	default:
		m.shared = len(e.segments)
	}
	m.compareMethod(r)
	m.compareConditions(r)
	m.compareSender(x)
	return m
}

func (m *miss) compareMethod(r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		m.add("method CONNECT is never routed")
	case m.kind == rpc:
		if !isCall(r) {
			m.add("no gRPC call, which is POST over HTTP/2 with content-type application/grpc")
		}
	case m.matchesMethod(r.Method):
	case len(m.methods) == 0:
		m.add("method %s must be named by the rule", r.Method)
	default:
		m.add("method %s, want %s", shorten(r.Method), anyOf(m.methods))
	}
}

func (m *miss) compareConditions(r *http.Request) {
	for i := range m.headers {
		if c := &m.headers[i]; !c.inHeader(r.Header) {
			m.add("%s", c.why("header", strings.ToLower(c.name), r.Header[c.name]))
		}
	}
	query := r.URL.Query()
	for i := range m.query {
		if c := &m.query[i]; !c.inQuery(firstParam(r.URL.RawQuery, c.name)) {
			values := query[c.name]
			m.add("%s", c.why("query parameter", c.name, values[:min(1, len(values))]))
		}
	}
}

func (m *miss) compareSender(x *gateway.Exchange) {
	if len(m.clients) > 0 && !m.clients.contain(x.Client) {
		if x.Client.IsValid() {
			m.add("client %s is in none of the networks", x.Client)
		} else {
			m.add("the client's address is not known")
		}
	}
	if !m.matchesListener(x.Listener) {
		m.add("listener %s, want %s", x.Listener, anyOf(m.listeners))
	}
}

func (m *miss) add(format string, args ...any) { m.why = append(m.why, fmt.Sprintf(format, args...)) }

func orNone(name string) string {
	if name == "" {
		return "is missing"
	}
	return shorten(name)
}

func anyOf(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// shorten keeps an 8 KiB path from filling the screen.
func shorten(s string) string {
	const enough = 80
	if len(s) <= enough {
		return s
	}
	return s[:enough] + "..."
}

func quote(s string) string { return strconv.Quote(shorten(s)) }

func (c *rule) describePath() string {
	switch c.kind {
	case rpc:
		return "grpc " + c.shown
	case prefix:
		return "prefix " + c.shown
	case expression:
		return "path_regex " + c.shown
	default:
		return "path " + c.shown
	}
}

// sharedSegments counts the leading segments that the rule and path have in common.
func (c *rule) sharedSegments(path string) int {
	shared := 0
	for segment := range strings.SplitSeq(path[1:], "/") {
		if shared == len(c.segments) || segment == "" || !fits(c.segments[shared], segment) {
			break
		}
		shared++
	}
	return shared
}

// hint names the usual ways to miss a path by a little.
func (c *rule) hint(path string) string {
	if c.kind == expression || c.kind == rpc || path == "/" {
		return ""
	}
	shared, got := c.sharedSegments(path), strings.Count(path, "/")
	switch {
	case c.matchesPath(strings.TrimSuffix(path, "/")), c.matchesPath(path + "/"):
		return ", the slash at the end differs"
	case c.re != nil && shared == len(c.segments) && shared == got:
		return ", a parameter's pattern does not match"
	case shared == len(c.segments) && shared > 0:
		rest := "/" + strings.Join(strings.Split(path[1:], "/")[shared:], "/")
		return ", which leaves " + shorten(strings.ReplaceAll(rest, encodedSlash, "%2F")) + " over"
	case strings.EqualFold(path, c.path):
		return ", upper and lower case differ"
	case c.kind == prefix && strings.HasPrefix(path, c.path):
		return ", a prefix ends at a slash"
	default:
		return ""
	}
}
