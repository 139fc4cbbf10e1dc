package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
)

// Config is a whole configuration that has no mistake which can be found without
// knowing the plug-ins.
type Config struct {
	Root

	// Warnings are what works but should not stay.
	Warnings []*Error

	doc  *document
	root slot

	failed map[string]bool // as in decoder
	places map[*Route]int  // in the files; only of a configuration with mistakes
	lacks  map[string]bool // keys of the top level that have been misspelt in a route file
	unread bool            // a file could not be read, so anything may be missing
}

// Load reads and parses a configuration.
func Load(path string) (*Config, error) {
	files, err := Read(path)
	if err != nil {
		return nil, err
	}
	return Parse(files)
}

// Parse decodes and checks a configuration. The error is an Errors with all
// mistakes that can be found without knowing the plug-ins; with it comes what
// could be understood, for those who know the plug-ins to find more, or nil. It
// takes the environment and the files of ${...} as they are now.
func Parse(f *Files) (*Config, error) {
	f.parse()
	return f.decode(nil, false)
}

// decode is what all ways of parsing have in common. closed says that open only makes
// what stands for sealed values.
func (f *Files) decode(open func(sealed string) (string, error), closed bool) (*Config, error) {
	doc := newDocument(f.files, f.pacer())
	doc.open, doc.standIns = open, closed
	errs, unread := f.bad.clone(), false
	for _, s := range f.files {
		tree, bad := s.resolve(doc.expand)
		if tree == nil { // the others are read all the same
			tree = &node{kind: mappingNode, file: s, at: place{1, 1}, size: 1, lost: bad[0]}
			unread = true
		}
		doc.trees = append(doc.trees, tree)
		errs = append(errs, bad...)
	}
	j := join(doc.trees)
	doc.take()
	d := decoder{doc: doc, errs: append(errs, j.errs...), failed: make(map[string]bool)}
	c := &Config{doc: doc, root: slot{node: j.root}, failed: d.failed, lacks: j.lacks, unread: unread || len(f.bad) > 0}
	c.decode(&d)
	d.errs = append(d.errs, c.check(d.failed)...)
	err := doc.finish(doc.certain(d.errs)).asError()
	if err != nil {
		c.prune()
	}
	c.complete()
	if err != nil {
		return c, err
	}
	if len(c.Routes) == 0 {
		doc.warnings = append(doc.warnings, c.Errorf(&c.Routes, "there are no routes, so every request is answered with 404"))
	}
	c.Warnings = doc.finish(slices.Concat(doc.warnings, f.idle.clone())).sorted()
	return c, nil
}

// Lost says whether something that others name, and that is not there, may only have
// been misspelt, or stand in a file that cannot be read. list is "upstreams",
// "middleware" or "listeners".
func (c *Config) Lost(list, name string) bool {
	return c.unread || c.Unsure("include") || c.lacks[list] || c.Unsure(list+"."+name)
}

// Unsure says whether a setting, something in it or what it stands in has been
// complained of. path is like "upstreams.app.arms".
func (c *Config) Unsure(path string) bool { return unsure(c.failed, path) }

// UnsureOf is Unsure for a setting of a route.
func (c *Config) UnsureOf(r *Route, key string) bool {
	i, known := c.places[r]
	return known && c.Unsure("routes["+strconv.Itoa(i)+"]."+key)
}

// unsure says whether the setting, or what it stands in, has been complained of.
func unsure(failed map[string]bool, path string) bool {
	if _, known := failed[path]; known {
		return true
	}
	for i, c := range path {
		if (c == '.' || c == '[') && failed[path[:i]] {
			return true
		}
	}
	return false
}

// Pos is where a setting stands. field points to it: &route.To, or route itself
// for the whole route. A setting that is not written stands where the one around
// it stands.
func (c *Config) Pos(field any) Pos {
	s := c.find(field)
	at := s.at()
	return Pos{File: s.node.file.name, Line: at.line, Column: at.column}
}

// Errorf makes an error about a setting; field is as for Pos. Secrets are taken
// out of it.
func (c *Config) Errorf(field any, format string, args ...any) *Error {
	s := c.find(field)
	under := fmt.Errorf(format, args...)
	e := s.errorf("%s", c.doc.scrub(s.node, under.Error()))
	e.Err = errors.Unwrap(under)
	return c.doc.finish(Errors{e})[0]
}

// Fingerprint is equal for settings that mean the same after the expansion of
// ${...}, wherever they stand in a folder and however they are written; field is
// as for Pos.
func (c *Config) Fingerprint(field any) string {
	h := sha256.New()
	if s, own := c.lookup(field); own {
		fmt.Fprintf(h, "%q\n", s.node.file.dir())
		s.node.hash(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (c *Config) find(field any) slot {
	s, _ := c.lookup(field)
	return s
}

// hash writes the meaning of a subtree. The order of the keys of a map is none.
func (n *node) hash(h hash.Hash) {
	_, _ = io.WriteString(h, strconv.Itoa(int(n.kind))) // a hash never fails to write
	switch n.kind {
	case scalarNode:
		_, _ = io.WriteString(h, strconv.Quote(n.text))
	case mappingNode:
		_, _ = io.WriteString(h, "{"+strconv.Itoa(len(n.entries)))
		for _, e := range sortedEntries(n.entries) {
			_, _ = io.WriteString(h, strconv.Quote(e.key))
			e.value.hash(h)
		}
	case sequenceNode:
		_, _ = io.WriteString(h, "["+strconv.Itoa(len(n.items)))
		for _, item := range n.items {
			item.hash(h)
		}
	}
}

// Redacted is the configuration as YAML, a file after the other, with ${...} as
// it was written and secrets masked. Comments are left out: they may hold
// anything.
func (c *Config) Redacted() []byte {
	var out bytes.Buffer
	c.doc.mu.Lock()
	defer c.doc.mu.Unlock()
	for i, s := range c.doc.files {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "# %s\n", strconv.Quote(s.name))
		writeYAML(&out, c.doc.trees[i], "", c.doc.secrets)
	}
	return out.Bytes()
}
