package openapi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxSegments bounds the segments of a path that is matched.
const maxSegments = 64

// part is one segment of a path template.
type part struct {
	prefix, name, suffix string // of a parameter: {name} with text around it
	literal              string // of all others, decoded
}

// node is a place in the tree of all templates.
type node struct {
	literals map[string]*node
	params   []paramNode // those with more text around them first
	leaf     map[string]*Operation
}

type paramNode struct {
	part
	*node
}

// parsePath reads a path template. A parameter may have text around it, but no
// segment has two: what belongs to which would be a guess.
func parsePath(text string) ([]part, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("the path %q does not begin with a slash", text)
	}
	var parts []part
	for segment := range strings.SplitSeq(text[1:], "/") {
		before, rest, has := strings.Cut(segment, "{")
		if !has {
			literal, err := url.PathUnescape(segment)
			if err != nil {
				return nil, fmt.Errorf("the path %q: %w", text, err)
			}
			parts = append(parts, part{literal: literal})
			continue
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" || strings.ContainsAny(after, "{}") {
			return nil, fmt.Errorf("the path %q has the segment %q, which is not one parameter with text around it", text, segment)
		}
		parts = append(parts, part{prefix: before, name: name, suffix: after})
	}
	if len(parts) > maxSegments {
		return nil, fmt.Errorf("the path %q has more than %d segments", text, maxSegments)
	}
	return parts, nil
}

// add enters an operation, and returns the one that has its place already.
func (n *node) add(parts []part, method string, op *Operation) *Operation {
	for _, p := range parts {
		n = n.child(p)
	}
	if n.leaf == nil {
		n.leaf = make(map[string]*Operation)
	}
	if taken := n.leaf[method]; taken != nil {
		return taken
	}
	n.leaf[method] = op
	return nil
}

func (n *node) child(p part) *node {
	if p.name == "" {
		if n.literals == nil {
			n.literals = make(map[string]*node)
		}
		if n.literals[p.literal] == nil {
			n.literals[p.literal] = &node{}
		}
		return n.literals[p.literal]
	}
	for _, known := range n.params {
		if known.prefix == p.prefix && known.suffix == p.suffix {
			return known.node
		}
	}
	child := paramNode{part: p, node: &node{}}
	n.params = append(n.params, child)
	slices.SortStableFunc(n.params, func(a, b paramNode) int {
		return len(b.prefix) + len(b.suffix) - len(a.prefix) - len(a.suffix)
	})
	return child.node
}

// value is what a segment has for the parameter.
func (p *part) value(segment string) (string, bool) {
	rest, ok := strings.CutPrefix(segment, p.prefix)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, p.suffix)
	return rest, ok && rest != ""
}

// find walks the tree: literals before parameters, as OpenAPI wants it. vars are in
// the order of the path.
func (n *node) find(path, vars []string, method string, allow map[string]bool) (*Operation, []string) {
	if len(path) == 0 {
		for m, op := range n.leaf {
			if m == method {
				return op, vars
			}
			allow[m] = true
		}
		return nil, nil
	}
	if child := n.literals[path[0]]; child != nil {
		if op, found := child.find(path[1:], vars, method, allow); op != nil {
			return op, found
		}
	}
	for _, p := range n.params {
		if v, ok := p.value(path[0]); ok {
			if op, found := p.find(path[1:], append(vars, v), method, allow); op != nil {
				return op, found
			}
		}
	}
	return nil, nil
}

// segments are those of an escaped path, decoded. An encoded slash stays within its
// segment.
func segments(escaped string) ([]string, bool) {
	if strings.Count(escaped, "/") > maxSegments || !strings.HasPrefix(escaped, "/") {
		return nil, false
	}
	path := strings.Split(escaped[1:], "/")
	for i, s := range path {
		text, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		path[i] = text
	}
	return path, true
}
