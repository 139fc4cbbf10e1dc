package route

import (
	"net/http"
	"strings"
)

// site is the index of the rules of one host. All lists are in order of
// precedence.
type site struct {
	exact       map[string][]*entry
	templates   *node
	prefixes    map[string][]*entry // without trailing slash
	longest     int                 // of the prefixes
	expressions []*entry
}

func newSite() *site { return &site{longest: -1} }

// add files an entry. Entries come in order of precedence.
func (s *site) add(e *entry) {
	switch e.kind {
	case exact:
		s.exact = file(s.exact, e)
	case prefix:
		s.prefixes = file(s.prefixes, e)
		s.longest = max(s.longest, len(e.path))
	case template:
		if s.templates == nil {
			s.templates = &node{nearest: e.rank}
		}
		s.templates.add(e)
	case expression:
		s.expressions = append(s.expressions, e)
	}
}

// file makes the map when it gets its first entry: with one host for each
// route, most sites have one rule.
func file(m map[string][]*entry, e *entry) map[string][]*entry {
	if m == nil {
		m = make(map[string][]*entry)
	}
	m[e.path] = append(m[e.path], e)
	return m
}

// find returns the nearest entry that matches.
func (s *site) find(r *http.Request, path string) *entry {
	if e := firstOf(s.exact[path], r); e != nil {
		return e
	}
	if s.templates != nil {
		if e := s.templates.find(r, path, path[1:], nil); e != nil {
			return e
		}
	}
	if e := s.findPrefix(r, path); e != nil {
		return e
	}
	for _, e := range s.expressions {
		if e.re.MatchString(path) && e.matchesRest(r) {
			return e
		}
	}
	return nil
}

func firstOf(entries []*entry, r *http.Request) *entry {
	for _, e := range entries {
		if e.matchesRest(r) {
			return e
		}
	}
	return nil
}

// findPrefix looks up ever shorter cuts of path. It begins at the longest
// prefix there is: to hash every cut of a long path would be quadratic.
func (s *site) findPrefix(r *http.Request, path string) *entry {
	if s.longest < 0 {
		return nil
	}
	if len(path) > s.longest {
		path = path[:s.longest+1]
		path = path[:strings.LastIndexByte(path, '/')]
	}
	for {
		if e := firstOf(s.prefixes[path], r); e != nil || path == "" {
			return e
		}
		path = path[:strings.LastIndexByte(path, '/')]
	}
}

// node is one segment in the tree of templates.
type node struct {
	literal map[string]*node
	param   *node
	nearest int      // best rank in this subtree
	leaves  []*entry // templates that end here
}

func (n *node) add(e *entry) {
	for _, segment := range e.segments {
		n = n.child(segment, e.rank)
	}
	n.leaves = append(n.leaves, e)
}

// child finds or makes the child for a segment. A new one is made by the
// nearest entry that it will ever hold, as entries come in order.
func (n *node) child(segment string, rank int) *node {
	if strings.Contains(segment, parameter) {
		if n.param == nil {
			n.param = &node{nearest: rank}
		}
		return n.param
	}
	if n.literal == nil {
		n.literal = make(map[string]*node)
	}
	if n.literal[segment] == nil {
		n.literal[segment] = &node{nearest: rank}
	}
	return n.literal[segment]
}

// find returns the nearest entry of the subtree that matches and is nearer than
// best; best if there is none. rest is the part of path that is yet to be
// walked; a request visits only nodes that the rules made.
func (n *node) find(r *http.Request, path, rest string, best *entry) *entry {
	segment, rest, more := strings.Cut(rest, "/")
	if next := n.literal[segment]; next != nil {
		best = next.enter(r, path, rest, more, best)
	}
	if n.param != nil && isValue(segment) {
		best = n.param.enter(r, path, rest, more, best)
	}
	return best
}

func (n *node) enter(r *http.Request, path, rest string, more bool, best *entry) *entry {
	if best != nil && best.rank < n.nearest {
		return best
	}
	if more {
		return n.find(r, path, rest, best)
	}
	for _, e := range n.leaves {
		if best != nil && best.rank < e.rank {
			break
		}
		if (e.re == nil || e.re.MatchString(path)) && e.matchesRest(r) {
			return e
		}
	}
	return best
}
