package route

import (
	"cmp"
	"slices"
	"strings"
)

// subject is what a condition is about: a header or a query parameter.
type subject struct {
	query bool
	name  string
}

func (s subject) compare(other subject) int {
	return cmp.Or(cmp.Compare(boolToInt(s.query), boolToInt(other.query)), strings.Compare(s.name, other.name))
}

// wanted yields the exact values by which the entry can be looked up.
func (e *entry) wanted(yield func(subject, string) bool) {
	for _, c := range e.headers {
		if c.op == equal && !yield(subject{name: c.name}, c.value) {
			return
		}
	}
	for _, c := range e.query {
		if c.op == equal && len(c.value) <= maxUnescaped && !yield(subject{query: true, name: c.name}, c.value) {
			return
		}
	}
}

// valueIndex finds entries by the exact value of one header or query parameter.
// Without it a path with a thousand tenants would be tried a thousand times.
type valueIndex struct {
	by      subject
	shelves map[string]shelf
	next    *valueIndex // of other entries of the same place, by another subject
}

// maxUnescaped is how long a value of a query parameter may be to be looked up when it
// is written with escapes: as much as there is room for without an allocation. Entries
// that want a longer one are tried one by one.
const maxUnescaped = 128

func newValueIndex(by subject, entries []*entry, next *valueIndex) *valueIndex {
	x := &valueIndex{by: by, shelves: make(map[string]shelf), next: next}
	for _, e := range entries {
		for subject, value := range e.wanted {
			if subject == by {
				file(x.shelves, value, e)
			}
		}
	}
	return x
}

// find looks into the index and those beside it.
func (x *valueIndex) find(q *lookup, best *entry) *entry {
	for ; x != nil; x = x.next {
		if x.by.query {
			best = x.ofParam(q).find(q, best)
			continue
		}
		lines := q.Header[x.by.name]
		for i, value := range lines {
			if i > 0 && slices.Contains(lines[:i], value) {
				continue // a hundred equal lines must not cost as much in each index below
			}
			best = x.shelves[value].find(q, best)
		}
	}
	return best
}

// ofParam looks up what the request has of the parameter.
func (x *valueIndex) ofParam(q *lookup) shelf {
	value, ok := q.param(x.by.name)
	if !ok {
		return shelf{}
	}
	if strings.IndexByte(value, '%') < 0 && strings.IndexByte(value, '+') < 0 {
		return x.shelves[value]
	}
	var room [maxUnescaped]byte
	plain, fits := appendUnescaped(room[:0], value)
	if !fits {
		return shelf{}
	}
	return x.shelves[string(plain)]
}
