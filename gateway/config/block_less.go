package config

import (
	"slices"
	"strings"
)

// gone is a setting that a block is judged without.
type gone struct {
	key string // of the setting, or of the list that it stood in
	in  *node  // the map or list that it stood in, before
}

// spot is a place in one of several files.
type spot struct {
	file *sourceFile
	at   place
}

func (e *Error) spot() spot { return spot{e.source, place{e.Line, e.Column}} }

func (s slot) spot() spot { return spot{s.node.file, s.at()} }

// Less is the block without the settings that mistakes are about, so that others
// can be found behind them. Errors of it leaves out what only follows from that.
// It is false when none of the mistakes is about a setting that can be left out.
func (b *Block) Less(mistakes Errors) (*Block, bool) {
	c := cutter{mistakes: mistakes}
	less := *b
	less.slot.node = c.cut(b.slot.node, "")
	if len(c.gone) > 0 {
		c.around = append(c.around, b.slot.spot())
	}
	found := len(c.gone) > 0
	less.gone, less.around = slices.Concat(b.gone, c.gone), slices.Concat(b.around, c.around)
	if b.base != nil {
		if base, ok := b.base.Less(mistakes); ok {
			less.base, found = base, true
			less.gone, less.around = slices.Concat(less.gone, base.gone), slices.Concat(less.around, base.around, []spot{b.slot.spot()})
		}
	}
	return &less, found
}

// cutter copies a tree without the settings that mistakes are about.
type cutter struct {
	mistakes Errors
	gone     []gone
	around   []spot // of the maps and lists that something is gone from
}

// cut is n without them; key is that of n.
func (c *cutter) cut(n *node, key string) *node {
	out, before := *n, len(c.gone)
	out.entries, out.items = nil, nil
	for i := range n.entries {
		e := n.entries[i]
		if c.blamed(slot{e.value, &e}) || e.value.kind == scalarNode && c.blamedAt(spot{e.value.file, e.at}) {
			c.gone = append(c.gone, gone{e.key, n})
			continue
		}
		inside := len(c.gone)
		e.value = c.cut(e.value, e.key)
		if len(c.gone) > inside {
			c.around = append(c.around, spot{e.value.file, e.at})
		}
		out.entries = append(out.entries, e)
	}
	for _, item := range n.items {
		inside := len(c.gone)
		less := c.cut(item, key)
		if len(c.gone) == inside && c.blamed(slot{node: item}) {
			c.gone = append(c.gone, gone{key, n})
			continue
		}
		out.items = append(out.items, less)
	}
	if len(c.gone) == before {
		return n
	}
	c.around = append(c.around, spot{n.file, n.at})
	return &out
}

func (c *cutter) blamed(s slot) bool {
	return slices.ContainsFunc(c.mistakes, func(e *Error) bool { return e.about(s) })
}

func (c *cutter) blamedAt(at spot) bool {
	return slices.ContainsFunc(c.mistakes, func(e *Error) bool { return e.spot() == at })
}

// about says whether an error points at a value, or into a text.
func (e *Error) about(s slot) bool {
	if e.source != s.node.file {
		return false
	}
	at, from := place{e.Line, e.Column}, s.at()
	if s.node.kind != scalarNode || at == from {
		return at == from
	}
	return from.before(at) && s.node.end != place{} && at.before(s.node.end)
}

func (p place) before(q place) bool {
	return p.line < q.line || p.line == q.line && p.column < q.column
}

// follows says whether a mistake in what is left of the block may come of what is
// gone: it is about something that has lost a setting, or names one that stood
// beside it.
func (b *Block) follows(e *Error) bool {
	if slices.Contains(b.around, e.spot()) {
		return true
	}
	return slices.ContainsFunc(b.gone, func(g gone) bool { return names(e.Msg, g.key) && g.in.holds(e) })
}

// names says whether a message has a key among its words. Shorter ones are English.
func names(msg, key string) bool {
	if len(key) <= 2 {
		return false
	}
	for word := range strings.FieldsFuncSeq(msg, notInKey) {
		if word == key {
			return true
		}
	}
	return false
}

func notInKey(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// holds says whether an error points at something in the subtree.
func (n *node) holds(e *Error) bool {
	return slices.ContainsFunc(n.entries, func(in entry) bool {
		return e.about(slot{in.value, &in}) || in.value.holds(e)
	}) || slices.ContainsFunc(n.items, func(in *node) bool { return e.about(slot{node: in}) || in.holds(e) })
}
