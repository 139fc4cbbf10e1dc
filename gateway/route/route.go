// Package route finds the route of a request.
//
//	table, err := route.New(rules)   // once per snapshot
//	m := table.Match(r)              // hot path: no lock, no allocation
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
// All conditions of a rule must hold. A path is compared byte by byte, so case
// and a trailing slash count. A header that is sent several times matches if one
// of its lines does; of a repeated query parameter the first one counts, and
// parameters that [net/url.ParseQuery] drops do not exist. Templates are
// gorilla/mux's, with one restriction: a parameter stands within one segment
// and is never empty, "." or "..", where it is the whole segment.
//
// # Which rule wins
//
// When several rules match, the first of these differences decides:
//
//  1. host: a name, then a wildcard with more characters, then any host
//  2. path: exact, then the template with more literal characters, then the
//     longer prefix, then a regular expression; a rule without a path is the prefix /
//  3. methods given, before all methods
//  4. more headers
//  5. more query parameters
//  6. the order of the rules
//
// If the nearest rule fails on any condition the next one is tried, over all
// paths and then over less specific hosts: a rule for any host takes what the
// rules of an exact host leave over. That is the precedence of the Gateway API
// among the rules of one listener. A method that no rule has is therefore no
// match, like an unknown path. CONNECT never matches, and TRACE matches only a
// rule that names it.
package route

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Rule says what a request of one route must be like. All conditions that are
// given must hold; at most one of Path, Prefix and PathRegex may be given.
type Rule struct {
	Name      string            // for the caller and his readers; matching does not look at it
	Hosts     []string          // names, `*.` and a name, or "" for any; none is any
	Path      string            // the whole path, exact or with {parameters}
	Prefix    string            // whole leading segments; / is everything
	PathRegex string            // RE2, for the whole path
	Methods   []string          // none is all but CONNECT and TRACE
	Headers   map[string]string // exact values; "" asks for presence
	Query     map[string]string // exact values; "" asks for presence
}

// RuleError is a mistake in one rule.
type RuleError struct {
	Rule  int    // index in the rules given to New
	Field string // "hosts[1]", "path", "prefix", "path_regex", "methods[0]", "headers.x-a", "query.a"
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
	entries  []*entry // in order of precedence
	rules    []*rule  // in the order given to New
}

// entry is a rule under one of its hosts.
type entry struct {
	*rule
	host host
	rank int // smaller is nearer
}

// New compiles rules. Its error is a RuleErrors with every mistake in them.
func New(rules []Rule) (*Table, error) {
	t := &Table{names: make(map[string]*site), suffixes: make(map[string]*site), any: newSite()}
	var errs RuleErrors
	for i, in := range rules {
		c := compiler{rule: &rule{index: i}}
		c.compile(in)
		errs = append(errs, c.errs...)
		t.rules = append(t.rules, c.rule)
		for _, h := range c.hosts {
			t.entries = append(t.entries, &entry{rule: c.rule, host: h})
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	slices.SortStableFunc(t.entries, precedence)
	for rank, e := range t.entries {
		e.rank = rank
		t.site(e.host).add(e)
	}
	return t, nil
}

// site returns the index of the rules of one host, making it if need be.
func (t *Table) site(h host) *site {
	sites := t.names
	switch {
	case h.name == "":
		return t.any
	case h.wildcard:
		sites = t.suffixes
		t.longest = max(t.longest, len(h.name))
	}
	if sites[h.name] == nil {
		sites[h.name] = newSite()
	}
	return sites[h.name]
}

// precedence orders entries. Only pairs that can match the same request need an
// order; the rest is sorted to be read by people.
func precedence(a, b *entry) int {
	return cmp.Or(
		cmp.Compare(a.host.class(), b.host.class()),
		cmp.Compare(len(b.host.name), len(a.host.name)),
		cmp.Compare(a.host.name, b.host.name),
		cmp.Compare(a.kind, b.kind),
		cmp.Compare(b.literals, a.literals),
		comparePaths(a.rule, b.rule),
		cmp.Compare(min(len(b.methods), 1), min(len(a.methods), 1)),
		cmp.Compare(len(b.headers), len(a.headers)),
		cmp.Compare(len(b.query), len(a.query)),
		cmp.Compare(a.index, b.index),
	)
}

// comparePaths keeps equal paths together where different ones exclude each
// other anyway.
func comparePaths(a, b *rule) int {
	if a.kind == exact || a.kind == prefix {
		return cmp.Compare(a.path, b.path)
	}
	return 0
}

// Order lists the rules by precedence, nearest first. A rule with several hosts
// stands where its most specific one puts it.
func (t *Table) Order() []int {
	order := make([]int, 0, len(t.rules))
	seen := make([]bool, len(t.rules))
	for _, e := range t.entries {
		if !seen[e.index] {
			seen[e.index] = true
			order = append(order, e.index)
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

// Match finds the rule that r belongs to.
func (t *Table) Match(r *http.Request) Match {
	if e := t.find(r); e != nil {
		return Match{Rule: e.index, rule: e.rule}
	}
	return Match{Rule: -1}
}

func (t *Table) find(r *http.Request) *entry {
	path, ok := matchPath(r.URL)
	if !ok || r.Method == http.MethodConnect {
		return nil
	}
	name := hostname(r.Host)
	if s := t.names[name]; s != nil {
		if e := s.find(r, path); e != nil {
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
			if e := s.find(r, path); e != nil {
				return e
			}
		}
	}
	return t.any.find(r, path)
}
