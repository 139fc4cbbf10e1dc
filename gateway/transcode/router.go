package transcode

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// node is a place in the tree of all templates.
type node struct {
	literals map[string]*node
	star     *node
	deep     *node
	leaves   map[string]leaf // by verb
}

// leaf are the calls of one template, by HTTP method.
type leaf map[string]*Call

// router finds calls by path and method.
type router struct {
	root  node
	verbs map[string]bool
}

// add enters a call, and returns the one that has its place already.
func (r *router) add(c *Call) *Call {
	n := &r.root
	for _, s := range c.template.segments {
		next := &n.star
		switch {
		case s.deep:
			next = &n.deep
		case !s.star:
			if n.literals == nil {
				n.literals = make(map[string]*node)
			}
			child := n.literals[s.text]
			next = &child
			if child == nil {
				child = &node{}
				n.literals[s.text] = child
			}
		}
		if *next == nil {
			*next = &node{}
		}
		n = *next
	}
	if n.leaves == nil {
		n.leaves = make(map[string]leaf)
	}
	l := n.leaves[c.template.verb]
	if l == nil {
		l = make(leaf)
		n.leaves[c.template.verb] = l
	}
	if taken := l[c.HTTPMethod]; taken != nil {
		return taken
	}
	l[c.HTTPMethod] = c
	if c.template.verb != "" {
		if r.verbs == nil {
			r.verbs = make(map[string]bool)
		}
		r.verbs[c.template.verb] = true
	}
	return nil
}

// search is one search for a call.
type search struct {
	method string
	path   []string
	verb   string
	found  *Call
	allow  map[string]bool
}

// Match finds the call for a method and an escaped canonical path, with the
// values of the path's variables. Without one, allow lists the methods that the
// path takes; it is empty for a path that is not there.
func (t *Table) Match(method, path string) (c *Call, vars []string, allow []string) {
	var room [16]string
	segments, ok := splitPath(room[:0], path)
	if !ok {
		return nil, nil, nil
	}
	s := search{method: method, path: segments}
	last := segments[len(segments)-1]
	if i := strings.LastIndexByte(last, ':'); i >= 0 && t.router.verbs[last[i+1:]] {
		s.verb, segments[len(segments)-1] = last[i+1:], last[:i]
		s.walk(&t.router.root, 0)
	}
	if s.found == nil {
		if s.verb != "" {
			s.verb, segments[len(segments)-1] = "", last
		}
		s.walk(&t.router.root, 0)
	}
	if s.found == nil {
		return nil, nil, slices.Sorted(maps.Keys(s.allow))
	}
	if len(s.found.template.vars) == 0 {
		return s.found, nil, nil
	}
	return s.found, s.found.template.values(make([]string, 0, len(s.found.template.vars)), segments), nil
}

// splitPath takes a path apart and decodes each part: an encoded slash is data.
func splitPath(dst []string, path string) ([]string, bool) {
	if path == "" || path[0] != '/' {
		return nil, false
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if len(dst) == maxSegments {
			return nil, false
		}
		if strings.IndexByte(part, '%') >= 0 {
			plain, err := url.PathUnescape(part)
			if err != nil {
				return nil, false
			}
			part = plain
		}
		dst = append(dst, part)
	}
	return dst, true
}

// walk looks below n for the segments from i on, the more particular ways first.
func (s *search) walk(n *node, i int) {
	if i == len(s.path) {
		s.take(n)
		return
	}
	if child := n.literals[s.path[i]]; child != nil {
		s.walk(child, i+1)
	}
	if s.found == nil && n.star != nil && s.path[i] != "" {
		s.walk(n.star, i+1)
	}
	if s.found == nil && n.deep != nil {
		s.take(n.deep)
	}
}

// take looks among the calls of a template. A HEAD is a GET whose answer has no body.
func (s *search) take(n *node) {
	l := n.leaves[s.verb]
	if s.found = l[s.method]; s.found == nil && s.method == http.MethodHead {
		s.found = l[http.MethodGet]
	}
	if s.found == nil && len(l) > 0 {
		if s.allow == nil {
			s.allow = make(map[string]bool)
		}
		for method := range l {
			s.allow[method] = true
			if method == http.MethodGet {
				s.allow[http.MethodHead] = true
			}
		}
	}
}
