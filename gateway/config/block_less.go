package config

import (
	"cmp"
	"slices"
	"strings"
)

// gone is a setting that a block is judged without.
type gone struct {
	key string // of the setting, or of the list that it stood in
	in  *node  // the map or list that it stood in, before; of nested lists the outermost
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
// Without mistakes it is the block without the entries of lists that have lost
// something already. It is false when there is nothing to leave out.
func (b *Block) Less(mistakes Errors) (*Block, bool) {
	c := cutter{mistakes: mistakes}
	less := *b
	less.slot.node = c.cut(b.slot.node, "", nil)
	found := len(c.gone) > 0
	if found {
		c.around = append(c.around, b.slot.spot())
	}
	if b.base != nil {
		if base, ok := b.base.Less(mistakes); ok {
			less.base, found = base, true
			c.gone, c.around = append(c.gone, base.gone...), append(c.around, base.around...)
		}
	}
	less.gone, less.around = slices.Concat(b.gone, c.gone, c.less), slices.Concat(b.around, c.around)
	return &less, found
}

// cutter copies a tree without the settings that mistakes are about.
type cutter struct {
	mistakes Errors
	gone     []gone
	less     []gone // of which only something is gone
	around   []spot // of the maps and lists that something is gone from
}

// cut is n without them; key is that of n, list the outermost list around it.
func (c *cutter) cut(n *node, key string, list *node) *node {
	out, before := *n, len(c.gone)
	out.entries, out.items = nil, nil
	for i := range n.entries {
		e := n.entries[i]
		inside := len(c.gone)
		if !c.blamed(slot{e.value, &e}) && (e.value.kind != scalarNode || !c.blamedAt(spot{e.value.file, e.at})) {
			e.value = c.cut(e.value, e.key, list)
			if len(c.gone) == inside || len(e.value.entries)+len(e.value.items) > 0 {
				if len(c.gone) > inside {
					c.around = append(c.around, spot{e.value.file, e.at})
					c.less = append(c.less, gone{e.key, cmp.Or(list, n)})
				}
				out.entries = append(out.entries, e)
				continue
			} // an empty list or map may mean something else
		}
		c.gone, out.less = append(c.gone, gone{e.key, cmp.Or(list, n)}), append(slices.Clone(out.less), e.key)
	}
	list = cmp.Or(list, n)
	for _, item := range n.items {
		inside := len(c.gone)
		less := c.cut(item, key, list)
		if len(c.gone) == inside && (c.blamed(slot{node: item}) || len(c.mistakes) == 0 && item.cut) {
			c.gone = append(c.gone, gone{key, list})
			continue
		}
		out.items = append(out.items, less)
	}
	if len(c.gone) == before {
		return n
	}
	out.cut = true
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
