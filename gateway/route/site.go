package route

import (
	"strings"

	"github.com/pithead/pithead/gateway/pace"
)

// site is the index of the rules of one host. All lists are in order of
// precedence.
type site struct {
	host        host
	rules       []*rule  // in the order given to New
	entries     []*entry // of the rules, in order of precedence
	calls       *calls
	exact       map[string]shelf
	templates   *node
	prefixes    map[string]shelf // without trailing slash
	longest     int              // of the prefixes
	expressions []*entry
}

func newSite(h host) *site { return &site{host: h} }

// add files an entry. Entries come in order of precedence.
func (s *site) add(e *entry) {
	switch e.kind {
	case rpc:
		if s.calls == nil {
			s.calls = new(calls)
		}
		s.calls.add(e)
	case exact:
		s.exact = file(s.exact, e.path, e)
	case prefix:
		s.prefixes = file(s.prefixes, e.path, e)
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

// finish is called when all entries have been added.
func (s *site) finish(p *pace.Pacer) {
	if s.calls != nil {
		s.calls.finish(p)
	}
	finishAll(s.exact, p)
	finishAll(s.prefixes, p)
	if s.templates != nil {
		s.templates.finish(p)
	}
}

// find returns the nearest entry that matches.
func (s *site) find(q *lookup) *entry {
	if s.calls != nil && isCall(q.Request) {
		if e := s.calls.find(q); e != nil {
			return e
		}
	}
	if e := s.exact[q.path].find(q, nil); e != nil {
		return e
	}
	if s.templates != nil {
		if e := s.templates.find(q, q.path[1:], nil); e != nil {
			return e
		}
	}
	if e := s.findPrefix(q); e != nil {
		return e
	}
	if e := nearest(s.expressions, q, nil); e != nil {
		return e
	}
	return s.prefixes[""].find(q, nil)
}

// findPrefix looks up ever shorter cuts of the path, but for the root. It begins
// at the longest prefix there is: to hash every cut of a long path would be
// quadratic.
func (s *site) findPrefix(q *lookup) *entry {
	if s.longest <= 0 {
		return nil
	}
	path := q.path
	if len(path) > s.longest {
		path = path[:s.longest+1]
		path = path[:strings.LastIndexByte(path, '/')]
	}
	for path != "" {
		if e := s.prefixes[path].find(q, nil); e != nil {
			return e
		}
		path = path[:strings.LastIndexByte(path, '/')]
	}
	return nil
}

// node is one segment in the tree of templates.
type node struct {
	literal map[string]*node
	param   *node
	nearest int   // best rank in this subtree
	leaves  shelf // templates that end here
}

func (n *node) add(e *entry) {
	for _, segment := range e.segments {
		n = n.child(segment, e.rank)
	}
	n.leaves.add(e)
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

func (n *node) finish(p *pace.Pacer) {
	p.Step()
	n.leaves.finish(p)
	if n.param != nil {
		n.param.finish(p)
	}
	for _, next := range n.literal {
		next.finish(p)
	}
}

// find returns the nearest entry of the subtree that matches and is nearer than
// best; best if there is none. rest is the part of the path that is yet to be
// walked; a request visits only nodes that the rules made.
func (n *node) find(q *lookup, rest string, best *entry) *entry {
	segment, rest, more := strings.Cut(rest, "/")
	if next := n.literal[segment]; next != nil {
		best = next.enter(q, rest, more, best)
	}
	if n.param != nil && isValue(segment) {
		best = n.param.enter(q, rest, more, best)
	}
	return best
}

func (n *node) enter(q *lookup, rest string, more bool, best *entry) *entry {
	switch {
	case best != nil && best.rank < n.nearest:
		return best
	case more:
		return n.find(q, rest, best)
	default:
		return n.leaves.find(q, best)
	}
}
