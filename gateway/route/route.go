// Package route finds the route of a request.
//
//	table, err := route.New(rules)   // once per snapshot
//	m := table.Match(r, x)           // hot path: no lock, no allocation
//	if m.Rule < 0 { ... 404 ... }
//	vars := m.Vars(r)                // only when somebody asks
//
// # What is matched
//
// Requests are matched in their canonical form: the host in lower case without
// a trailing dot, the path decoded, without dot segments and double slashes.
// A port in the host is ignored. A percent-encoded slash is part of its segment
// and never divides two; regular expressions see it as the byte \x00.
//
// All conditions of a rule must hold; a route may have several rules, of which
// one must. A path is compared byte by byte, so case and a trailing slash count.
// A header that is sent several times matches if one of its lines does, and is
// unlike a value if none of them is it; lines are not divided at commas. Of a
// repeated query parameter the first one counts, and parameters that
// [net/url.ParseQuery] drops do not exist. Regular expressions are RE2 and must
// match the whole path or value. Templates are gorilla/mux's, with one
// restriction: a parameter stands within one segment and is never empty, "." or
// "..", where it is the whole segment. A gRPC call is a POST over HTTP/2 of the
// type application/grpc; its method is what follows the last slash of the path,
// its service what stands before that.
//
// # Which rule wins
//
// When several rules match, the first of these differences decides:
//
//  1. host: a name, then a wildcard with more characters, then any host
//  2. gRPC calls: a service by name, then by expression, then any, each with
//     more characters first; then the method in the same way; then rules for
//     HTTP requests
//  3. path: exact, then the template with more literal characters, then the
//     longer prefix, then a regular expression, then the prefix /, which is also
//     that of a rule without a path: a default route leaves expressions alone
//  4. methods given, before all methods
//  5. more headers
//  6. more query parameters
//  7. networks of clients given, before all clients
//  8. listeners given, before all listeners
//  9. the order of the rules
//
// If the nearest rule fails on any condition the next one is tried, over all
// paths and then over less specific hosts: a rule for any host takes what the
// rules of an exact host leave over. That is the precedence of the Gateway API
// among the rules of one listener. A method that no rule has is therefore no
// match, like an unknown path. CONNECT never matches, and TRACE matches only a
// rule that names it.
//
// # What it costs
//
// Hosts, exact paths, prefixes, templates and gRPC methods are looked up, so the
// number of rules hardly matters. So are the exact values of headers and query
// parameters among the rules of one path. Rules of one path that differ in
// anything else are tried one by one, as are regular expressions on the path.
package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// Rule says what a request of one route must be like. All conditions that are
// given must hold; at most one of Path, Prefix, PathRegex and GRPC may be given.
type Rule struct {
	Name      string           // for the caller and his readers; matching does not look at it
	Route     int              // rules of one route are alternatives to each other; for Explain
	Hosts     []string         // names, `*.` and a name, or "" for any; none is any
	Path      string           // the whole path, exact or with {parameters}
	Prefix    string           // whole leading segments; / is everything
	PathRegex string           // RE2, for the whole path
	GRPC      *GRPC            // calls of gRPC instead of a path
	Methods   []string         // none is all but CONNECT and TRACE
	Headers   map[string]Value // by name, which is not case-sensitive
	Query     map[string]Value // by name
	Clients   []netip.Prefix   // networks, of which one has the client; none is any
	Listeners []string         // names, of which one has taken the request; none is any
}

// Value says what the value of a header or of a query parameter must be like.
// At most one field is set; the zero Value asks for presence.
type Value struct {
	Exact  string
	Regex  string // RE2, for the whole value
	Not    string // anything but this, or nothing at all
	Absent bool
}

// GRPC says which calls a rule is for. An empty one is for all.
type GRPC struct{ Service, Method Name }

// Name says what a service or a method must be called. At most one field is
// set; the zero Name is any.
type Name struct {
	Exact string
	Regex string // RE2, for the whole name
}

// RuleError is a mistake in one rule.
type RuleError struct {
	Rule  int    // index in the rules given to New
	Field string // "hosts[1]", "path", "prefix", "path_regex", "grpc.service", "methods[0]", "headers.x-a", "query.a"
	Err   error
}

func (e *RuleError) Error() string { return fmt.Sprintf("rule %d: %s: %v", e.Rule, e.Field, e.Err) }

func (e *RuleError) Unwrap() error { return e.Err }

// RuleErrors are all mistakes of a set of rules.
type RuleErrors []*RuleError

func (e RuleErrors) Error() string { return errors.Join(e.Unwrap()...).Error() }

// Unwrap lets errors.Is and errors.As look into each of them.
func (e RuleErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Table matches requests. It never changes and may be used by any number of
// goroutines.
type Table struct {
	names    map[string]*site // exact hosts
	suffixes map[string]*site // what follows "*."
	longest  int              // of the suffixes
	any      *site
	rules    []*rule       // in the order given to New
	places   []place       // by the numbers of the rules
	known    map[any]*rule // by the keys given to Renew
}

// entry is a rule under one of its hosts.
type entry struct {
	*rule
	host host
	rank int // among the rules of the host; smaller is nearer
}

// New compiles rules. Its error is a RuleErrors with every mistake in them.
func New(rules []Rule) (*Table, error) {
	places := make([]Place, len(rules))
	for i := range rules {
		places[i].Route = rules[i].Route
	}
	return Renew(nil, places, nil, func(i int) Rule { return rules[i] })
}

// precedence orders the entries of one host; those that it has nothing to say of stay
// in the order of the rules. Only pairs that can match the same request need an order;
// the rest is sorted to be read by people.
func precedence(a, b *entry) int {
	return cmp.Or(
		cmp.Compare(a.distance(), b.distance()),
		cmp.Compare(b.literals, a.literals),
		comparePaths(a.rule, b.rule),
		compareGiven(len(a.methods), len(b.methods)),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		compareGiven(len(a.clients), len(b.clients)),
		compareGiven(len(a.listeners), len(b.listeners)),
	)
}

// compareGiven puts a list that is given before an empty one.
func compareGiven(a, b int) int { return cmp.Compare(min(b, 1), min(a, 1)) }

// comparePaths keeps equal paths together where different ones exclude each
// other anyway.
func comparePaths(a, b *rule) int {
	switch {
	case a.kind != b.kind:
		return 0
	case a.kind == rpc:
		return a.call.compare(b.call)
	case a.kind == exact, a.kind == prefix:
		return cmp.Compare(a.path, b.path)
	default:
		return 0
	}
}

// Order lists the rules by precedence, nearest first. A rule with several hosts
// stands where its most specific one puts it.
func (t *Table) Order() []int {
	order := make([]int, 0, len(t.rules))
	seen := make([]bool, len(t.rules))
	for _, e := range t.entries() {
		if i := t.places[e.id].rule; !seen[i] {
			seen[i] = true
			order = append(order, i)
		}
	}
	return order
}

// Match is the result of matching one request.
type Match struct {
	Rule int // index in the rules given to New; -1 is none
	rule *rule
}

// Vars are the values of the template's parameters, or of the named groups of
// the regular expression, for the request that was matched. They are decoded:
// a value may hold a slash that was percent-encoded. Nil when there are none.
func (m Match) Vars(r *http.Request) map[string]string {
	path, ok := matchPath(r.URL)
	if m.rule == nil || !ok {
		return nil
	}
	return m.rule.vars(path)
}

// lookup is one request on its way through the table.
type lookup struct {
	*http.Request
	x    *gateway.Exchange
	path string // as matchPath has it

	// The query parameter that was asked for last, for param.
	asked, found bool
	name, value  string
}

// Match finds the rule that r belongs to. Of its exchange it reads who sent it
// and which listener took it.
func (t *Table) Match(r *http.Request, x *gateway.Exchange) Match {
	if e := t.find(r, x); e != nil {
		return Match{Rule: t.places[e.id].rule, rule: e.rule}
	}
	return Match{Rule: -1}
}

func (t *Table) find(r *http.Request, x *gateway.Exchange) *entry {
	path, ok := matchPath(r.URL)
	if !ok || r.Method == http.MethodConnect {
		return nil
	}
	q := &lookup{Request: r, x: x, path: path}
	name := hostname(r.Host)
	if s := t.names[name]; s != nil {
		if e := s.find(q); e != nil {
			return e
		}
	}
	for i := strings.IndexByte(name, '.'); i > 0; i = strings.IndexByte(name, '.') {
		name = name[i+1:]
		// Hashing every suffix of a host that is all dots would be quadratic.
		if len(name) > t.longest {
			continue
		}
		if s := t.suffixes[name]; s != nil {
			if e := s.find(q); e != nil {
				return e
			}
		}
	}
	return t.any.find(q)
}
