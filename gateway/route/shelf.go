package route

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pithead/pithead/gateway/pace"
)

// shelf holds the entries that stand at one place of the index, in order of
// precedence.
type shelf struct {
	entries []*entry // tried one by one
	values  *valueIndex
}

// indexFrom is the number of entries from which a look-up is faster than trying
// them one by one.
const indexFrom = 8

func (s *shelf) add(e *entry) { s.entries = append(s.entries, e) }

// finish moves entries that want exact values of the same subject into an index of
// it, below which there may be more. known are the subjects of the indexes above,
// whose values are settled.
func (s *shelf) finish(p *pace.Pacer, known ...subject) {
	if len(s.entries) < indexFrom {
		return
	}
	counts := make(map[subject]int)
	for _, e := range s.entries {
		p.Step()
		for by := range e.wanted {
			if !slices.Contains(known, by) {
				counts[by]++
			}
		}
	}
	moved := make(map[subject][]*entry)
	var rest []*entry
	for _, e := range s.entries {
		p.Step()
		if by := e.bestOf(counts); counts[by] >= indexFrom {
			moved[by] = append(moved[by], e)
		} else {
			rest = append(rest, e)
		}
	}
	// The indexes stand in an order of their own, not in that of a map, so that the same
	// rules always cost the same.
	for _, by := range slices.SortedFunc(maps.Keys(moved), subject.compare) {
		if few := moved[by]; len(few) < indexFrom { // others that want it are better found by something else
			rest = append(rest, few...)
			continue
		}
		s.values = newValueIndex(by, moved[by], s.values)
		finishAll(s.values.shelves, p, append(slices.Clip(known), by)...)
	}
	slices.SortFunc(rest, func(a, b *entry) int { return cmp.Compare(a.rank, b.rank) })
	s.entries = rest
}

// bestOf is the subject of the entry that most others have as well; if it has none,
// one that nobody has.
func (e *entry) bestOf(counts map[subject]int) (best subject) {
	for by := range e.wanted {
		if n := counts[by]; n > counts[best] || n == counts[best] && by.compare(best) < 0 {
			best = by
		}
	}
	return best
}

// find returns the nearest entry that matches and is nearer than best; best if
// there is none.
func (s shelf) find(q *lookup, best *entry) *entry {
	if s.values == nil {
		return nearest(s.entries, q, best)
	}
	return s.values.find(q, nearest(s.entries, q, best))
}

func nearest(entries []*entry, q *lookup, best *entry) *entry {
	for _, e := range entries {
		if best != nil && best.rank < e.rank {
			break
		}
		if e.accepts(q) {
			return e
		}
	}
	return best
}

// file makes the map when it gets its first entry: with one host for each
// route, most sites have one rule.
func file(m map[string]shelf, key string, e *entry) map[string]shelf {
	if m == nil {
		m = make(map[string]shelf)
	}
	s := m[key]
	s.add(e)
	m[key] = s
	return m
}

func finishAll(m map[string]shelf, p *pace.Pacer, known ...subject) {
	for key, s := range m {
		p.Step()
		s.finish(p, known...)
		m[key] = s
	}
}
