package config

import (
	"errors"
	"slices"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/pithead/pithead/gateway/pace"
)

type nodeKind uint8

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
	nullNode
)

// node is a value of a file as the decoder wants it: aliases are followed,
// merges done, ${...} expanded. An alias shares the node of its anchor.
type node struct {
	kind   nodeKind
	quoted bool // a scalar in quotes or a block scalar: never a number or a bool
	file   *sourceFile
	at     place
	end    place // where the next token begins; {} is the end of the file
	size   int   // nodes in this subtree, with those that aliases stand for

	text     string // of a scalar, expanded
	raw      string // of a scalar, with ${...}
	expanded bool
	exposed  string // a file that everybody can read and that text comes from

	fromFiles []hidden // the parts of text that stand in files of their own, or are sealed
	sealed    bool     // some of text was sealed
	resolved  bool     // a copy, made for one configuration, with something expanded in it
	lost      *Error   // why something of it could not be read, which has been told
	cut       bool     // Less has left out something of it,
	less      []string // namely these keys, if it is a map

	entries []entry
	items   []*node
}

type entry struct {
	key    string
	at     place
	value  *node
	merged bool // by <<, so that a later key may replace it
}

// copied is n with lists of its own.
func (n *node) copied() *node {
	out := *n
	out.resolved = true
	out.entries, out.items = slices.Clone(n.entries), slices.Clone(n.items)
	return &out
}

func (n *node) get(key string) *node {
	if e := n.entry(key); e != nil {
		return e.value
	}
	return nil
}

func (n *node) entry(key string) *entry {
	if n == nil || n.kind != mappingNode {
		return nil
	}
	for i := range n.entries {
		if n.entries[i].key == key {
			return &n.entries[i]
		}
	}
	return nil
}

// list are the items of a list; a value that is not there has none.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

func (n *node) errorf(format string, args ...any) *Error {
	return n.file.errorAt(n.at, format, args...)
}

// what names the form of a value in messages.
func (n *node) what() string {
	switch n.kind {
	case mappingNode:
		return "a map"
	case sequenceNode:
		return "a list"
	case nullNode:
		return "nothing"
	}
	return "text"
}

// expander replaces the ${...} of a scalar.
type expander func(n *node) error

// read makes the tree of a file: guards, the YAML library, our own nodes.
func (s *sourceFile) read(p *pace.Pacer) (root *node, errs Errors) {
	if e := s.guardBytes(); e != nil {
		return nil, Errors{e}
	}
	defer func() {
		if r := recover(); r != nil {
			root, errs = nil, Errors{s.errorAt(place{1, 1}, "the YAML parser cannot cope with this file: %v", r)}
		}
	}()
	p.Step()
	tokens := lexer.Tokenize(s.text())
	p.Step()
	if e := s.guardTokens(tokens); e != nil {
		return nil, Errors{e}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, Errors{s.parserError(err)}
	}
	p.Step()
	b := treeBuilder{file: s, anchors: make(map[string]*node)}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			root = b.build(doc.Body, 0)
		}
	}
	switch {
	case b.aliased > maxAliased:
		return nil, b.errs // nobody meant what would be found wrong in it
	case root == nil:
		b.fail(s.errorAt(place{1, 1}, "the file holds nothing"))
	}
	return root, b.errs
}

func (s *sourceFile) parserError(err error) *Error {
	var syntax interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &syntax) {
		return s.syntaxError(syntax.GetToken(), syntax.GetMessage())
	}
	return s.syntaxError(nil, err.Error())
}

type treeBuilder struct {
	file    *sourceFile
	anchors map[string]*node
	aliased int
	errs    Errors
}

func (b *treeBuilder) fail(e *Error) { b.errs = append(b.errs, e) }

func (b *treeBuilder) build(n ast.Node, depth int) *node {
	if depth > maxDepth {
		b.fail(b.file.errorAt(at(n.GetToken()), "nested deeper than %d levels", maxDepth))
		return b.lost(n)
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		return b.mapping(v, v.Values, depth)
	case *ast.MappingValueNode:
		return b.mapping(v, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		out := b.leaf(n, sequenceNode)
		out.items = make([]*node, 0, len(v.Values))
		for _, value := range v.Values {
			item := b.build(value, depth+1)
			out.items = append(out.items, item)
			out.size += item.size
		}
		return out
	case *ast.AnchorNode:
		out := b.build(v.Value, depth+1)
		b.anchors[v.Name.GetToken().Value] = out
		return out
	case *ast.AliasNode:
		return b.alias(v)
	case *ast.NullNode:
		return b.leaf(n, nullNode)
	case *ast.LiteralNode:
		out := b.leaf(n, scalarNode)
		out.quoted, out.raw = true, v.Value.Value
		out.endAfter(v.Value.GetToken())
		out.text = out.raw
		return out
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out := b.leaf(n, scalarNode)
		tk := n.GetToken()
		out.raw = tk.Value
		out.quoted = tk.Type == token.DoubleQuoteType || tk.Type == token.SingleQuoteType
		out.text = out.raw
		return out
	}
	b.fail(b.file.errorAt(at(n.GetToken()), "%s has no use here", n.Type()))
	return b.lost(n)
}

// lost stands for a value that has just been complained of.
func (b *treeBuilder) lost(n ast.Node) *node {
	out := b.leaf(n, nullNode)
	out.lost = b.errs[len(b.errs)-1]
	return out
}

func (b *treeBuilder) leaf(n ast.Node, kind nodeKind) *node {
	tk := n.GetToken()
	out := &node{kind: kind, file: b.file, at: at(tk), size: 1}
	out.endAfter(tk)
	return out
}

func (n *node) endAfter(tk *token.Token) {
	if tk.Next != nil {
		n.end = at(tk.Next)
	}
}

func (b *treeBuilder) alias(v *ast.AliasNode) *node {
	name := v.Value.GetToken().Value
	target, ok := b.anchors[name]
	if !ok {
		b.fail(b.file.errorAt(at(v.GetToken()), "no anchor &%s stands before this alias%s", name, Suggest(name, keys(b.anchors))))
		return b.lost(v)
	}
	if !b.take(v, target.size) {
		return b.lost(v)
	}
	return target
}

// take counts what aliases stand for, by sizes known beforehand: an alias bomb
// is never expanded (CVE-2019-11254).
func (b *treeBuilder) take(v ast.Node, size int) bool {
	if b.aliased > maxAliased {
		return false // said before
	}
	if b.aliased += size; b.aliased > maxAliased {
		b.fail(b.file.errorAt(at(v.GetToken()), "the aliases up to here stand for more than %d values", maxAliased))
		return false
	}
	return true
}

func (b *treeBuilder) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) *node {
	out := b.leaf(n, mappingNode)
	if len(values) > 0 && n.GetToken().Type != token.MappingStartType {
		out.at = at(values[0].Key.GetToken()) // the library names the first colon
	}
	out.entries = make([]entry, 0, len(values))
	seen := make(map[string]int, len(values))
	for _, v := range values {
		value := b.build(v.Value, depth+1)
		out.size += value.size + 1
		if _, ok := v.Key.(*ast.MergeKeyNode); ok {
			b.merge(out, seen, v, value)
			continue
		}
		b.add(out, seen, v.Key, value)
	}
	return out
}

func (b *treeBuilder) add(out *node, seen map[string]int, key ast.MapKeyNode, value *node) {
	tk := key.GetToken()
	e := entry{key: tk.Value, at: at(tk), value: value}
	if _, ok := key.(ast.ScalarNode); !ok || tk.Type == token.AnchorType || tk.Type == token.AliasType {
		b.fail(b.file.errorAt(e.at, "a key must be plain text"))
		out.lost = b.errs[len(b.errs)-1]
		return
	}
	i, taken := seen[e.key]
	switch {
	case taken && !out.entries[i].merged:
		b.fail(b.file.errorAt(e.at, "the key %q stands here a second time; the first is in line %d", e.key, out.entries[i].at.line))
	case taken:
		out.entries[i] = e
	default:
		seen[e.key] = len(out.entries)
		out.entries = append(out.entries, e)
	}
}

// merge adds the entries of `<<: *anchor` or `<<: [*a, *b]` that the map does
// not have itself; of several the first wins.
func (b *treeBuilder) merge(out *node, seen map[string]int, v *ast.MappingValueNode, value *node) {
	from := []*node{value}
	if value.kind == sequenceNode {
		from = value.items
	}
	for _, m := range from {
		if m.kind != mappingNode {
			b.fail(b.file.errorAt(at(v.Key.GetToken()), "<< takes an alias of a map, or a list of such aliases"))
			out.lost = b.errs[len(b.errs)-1]
			return
		}
		for _, e := range m.entries {
			if _, taken := seen[e.key]; taken {
				continue
			}
			e.merged = true
			out.size += e.value.size
			seen[e.key] = len(out.entries)
			out.entries = append(out.entries, e)
		}
	}
}

// walk visits every node below n, those of aliases too.
func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, e := range n.entries {
		e.value.walk(visit)
	}
	for _, item := range n.items {
		item.walk(visit)
	}
}
