package config

import (
	"cmp"
	"reflect"
	"slices"
	"sync/atomic"
)

// part is what one file says of routes and upstreams, decoded. While the file stays
// the same the next configuration takes it over: the same tree means the same
// values. A part never changes once it has been offered.
type part struct {
	elements map[elementKey]reflect.Value
	values   []value // as in document, but of these elements alone
	keys     map[*Match]string
	home     *home
}

// elementKey is a tree and the name that it stands under: an alias lets one tree be
// two upstreams.
type elementKey struct {
	node *node
	name string
}

// home leads from a block to the configuration that has it, or had it last. Blocks
// that are taken over move with it, so that they hold on to no older one.
type home struct{ doc atomic.Pointer[document] }

// Offer lets the next configuration that is read on top of the same files take over
// what is decoded here. It is called when every block has been decoded, because
// only then it is known what is secret: a file that holds a secret itself is not
// offered, since each configuration finds out by itself what it must hide.
func (c *Config) Offer() {
	c.doc.mu.Lock()
	defer c.doc.mu.Unlock()
	for file, p := range c.doc.parts {
		if len(c.doc.masks[file]) == 0 {
			file.offered.Store(p)
		}
	}
}

// take takes over what is offered of the files.
func (d *document) take() {
	for _, s := range d.files {
		if p := s.offered.Load(); p != nil {
			p.home.doc.Store(d)
			d.parts[s] = p
		}
	}
}

// element decodes a route or an upstream, or takes it over.
func (d *decoder) element(v reflect.Value, s slot) {
	d.doc.pace.Step()
	key := elementKey{node: s.node}
	if s.key != nil {
		key.name = s.key.key
		s.key = new(*s.key) // the list that it stands in is as large as the configuration
	}
	p, known := d.doc.parts[s.node.file]
	if known {
		if taken, ok := p.elements[key]; ok {
			v.Set(taken)
			return
		}
	}
	setDefaults(v)
	if !lasting(v.Type(), s.node) || known && p.home != d.doc.home {
		d.value(v, s)
		return
	}
	if !known {
		p = &part{elements: make(map[elementKey]reflect.Value), keys: make(map[*Match]string), home: d.doc.home}
		d.doc.parts[s.node.file] = p
	}
	failed := len(d.errs)
	d.doc.into = p
	d.value(v, s)
	d.doc.into = nil
	if len(d.errs) == failed {
		p.elements[key] = reflect.ValueOf(v.Interface())
	}
}

// lasting says whether a value means the same in the next configuration: nothing in
// it comes from the environment or from another file, and a route has a name of its
// own, since the names of others depend on all routes.
func lasting(t reflect.Type, n *node) bool {
	return !n.resolved && (t != reflect.TypeFor[*Route]() || n.entry("name") != nil)
}

// keyOf is the key of a match, which is worked out once for as long as its file stays
// the same.
func (d *document) keyOf(m *Match, file *sourceFile) string {
	p, shared := d.parts[file]
	if !shared {
		return m.key()
	}
	key, known := p.keys[m]
	if !known {
		key = m.key()
	}
	if !known && p.home == d.home {
		p.keys[m] = key
	}
	return key
}

// hasElements says whether the values in the list or map that is being decoded are
// elements of parts.
func (d *decoder) hasElements() bool {
	return d.from == nil && len(d.path) == 1 && (d.path[0] == "routes" || d.path[0] == "upstreams")
}

// search finds the value that lies around an address.
func search(values []value, at uintptr) (value, bool) {
	i, exact := slices.BinarySearchFunc(values, at, func(v value, at uintptr) int { return cmp.Compare(v.base, at) })
	if !exact {
		i--
	}
	if i < 0 || at-values[i].base >= values[i].typ.Size()*uintptr(values[i].n) {
		return value{}, false
	}
	return values[i], true
}

// search looks into all parts, of which each has its own addresses.
func (d *document) search(at uintptr) (value, bool) {
	if v, ok := search(d.values, at); ok {
		return v, true
	}
	for _, p := range d.parts {
		if v, ok := search(p.values, at); ok {
			return v, true
		}
	}
	return value{}, false
}
