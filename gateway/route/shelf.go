package route

// shelf holds the entries that stand at one place of the index, in order of
// precedence.
type shelf struct {
	entries []*entry
	headers *headerIndex // nil unless there are many entries
}

// headerIndex finds entries by the exact value of a header. Without it a path
// with a thousand tenants would be tried a thousand times.
type headerIndex struct {
	name   string
	values map[string][]*entry
}

// indexFrom is the number of entries from which a look-up is faster than trying
// them one by one.
const indexFrom = 8

func (s *shelf) add(e *entry) { s.entries = append(s.entries, e) }

// finish moves the entries that want an exact value of the header which most of
// them want into an index.
func (s *shelf) finish() {
	if len(s.entries) < indexFrom {
		return
	}
	counts := make(map[string]int)
	most := ""
	for _, e := range s.entries {
		for _, c := range e.headers {
			if c.op != equal {
				continue
			}
			if counts[c.name]++; counts[c.name] > counts[most] {
				most = c.name
			}
		}
	}
	if counts[most] < indexFrom {
		return
	}
	s.headers = &headerIndex{name: most, values: make(map[string][]*entry)}
	var rest []*entry
	for _, e := range s.entries {
		if value, ok := e.wants(most); ok {
			s.headers.values[value] = append(s.headers.values[value], e)
		} else {
			rest = append(rest, e)
		}
	}
	s.entries = rest
}

// wants is the exact value that the entry demands of a header.
func (e *entry) wants(name string) (value string, ok bool) {
	for _, c := range e.headers {
		if c.name == name && c.op == equal {
			return c.value, true
		}
	}
	return "", false
}

// find returns the nearest entry that matches and is nearer than best; best if
// there is none.
func (s shelf) find(q *lookup, best *entry) *entry {
	best = nearest(s.entries, q, best)
	if s.headers != nil {
		for _, value := range q.Header[s.headers.name] {
			best = nearest(s.headers.values[value], q, best)
		}
	}
	return best
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

func finishAll(m map[string]shelf) {
	for key, s := range m {
		s.finish()
		m[key] = s
	}
}
