package config

import (
	"crypto/sha256"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pithead/pithead/gateway/pace"
)

// sourceFile is one file and what is known of its text. Configurations share it
// for as long as the file stays the same, so its text never changes, and a reload
// parses only the files that did. What one configuration makes of it, such as
// which parts are secret, is in its document.
type sourceFile struct {
	name string
	data []byte
	sum  func() [sha256.Size]byte // of data, once

	split sync.Once
	clean string
	lines []int // byte offset of each line in clean

	parsed sync.Once
	tree   *node // with ${...} as it is written; nil for a file that holds nothing
	errs   Errors

	offered atomic.Pointer[part] // what a configuration in use has made of it
}

// text is the file as the lexer shall see it: no byte order mark, lines that end
// with a line feed alone.
func (s *sourceFile) text() string {
	s.split.Do(s.readLines)
	return s.clean
}

func (s *sourceFile) lineStarts() []int {
	s.split.Do(s.readLines)
	return s.lines
}

func (s *sourceFile) readLines() {
	s.clean = strings.ReplaceAll(strings.TrimPrefix(string(s.data), "\uFEFF"), "\r\n", "\n")
	s.lines = []int{0}
	for i := range len(s.clean) {
		if s.clean[i] == '\n' && i+1 < len(s.clean) {
			s.lines = append(s.lines, i+1)
		}
	}
}

func (s *sourceFile) lineCount() int { return len(s.lineStarts()) }

// line is the text of a line, which may not exist.
func (s *sourceFile) line(n int) string {
	starts := s.lineStarts()
	if n < 1 || n > len(starts) {
		return ""
	}
	rest := s.text()[starts[n-1]:]
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// dir is the folder that relative paths in the file start from.
func (s *sourceFile) dir() string { return filepath.Dir(s.name) }

// parse makes the tree of the file, once.
func (s *sourceFile) parse(p *pace.Pacer) { s.parsed.Do(func() { s.tree, s.errs = s.read(p) }) }

// resolve is the tree with each ${...} expanded as it is now. Parts without any
// are those of the file itself and shared with other configurations.
func (s *sourceFile) resolve(expand expander) (*node, Errors) {
	s.parse(nil)
	errs := s.errs.clone()
	if s.tree == nil || !strings.Contains(s.text(), "$") {
		return s.tree, errs
	}
	r := resolver{expand: expand, copies: make(map[*node]*node), errs: errs}
	tree := r.node(s.tree)
	return tree, r.errs
}

// resolver copies what the expansion of scalars changes, and nothing else. What
// aliases share stays shared.
type resolver struct {
	expand expander
	copies map[*node]*node
	errs   Errors
}

func (r *resolver) node(n *node) *node {
	if known, ok := r.copies[n]; ok {
		return known
	}
	out := n
	switch {
	case n.kind == scalarNode && strings.Contains(n.raw, "$"):
		out = r.scalar(n)
	case n.kind == mappingNode:
		for i, e := range n.entries {
			value := r.node(e.value)
			if value == e.value {
				continue
			}
			if out == n {
				out = n.copied()
			}
			out.entries[i].value = value
		}
	case n.kind == sequenceNode:
		for i, item := range n.items {
			value := r.node(item)
			if value == item {
				continue
			}
			if out == n {
				out = n.copied()
			}
			out.items[i] = value
		}
	}
	if n.kind != scalarNode || out != n { // the others are cheaper looked at twice
		r.copies[n] = out
	}
	return out
}

func (r *resolver) scalar(n *node) *node {
	out := *n
	out.resolved = true
	if err := r.expand(&out); err != nil {
		out.kind, out.lost = nullNode, out.errorf("%v", err)
		r.errs = append(r.errs, out.lost)
	}
	return &out
}
