package config

import (
	"bytes"
	"slices"
	"strings"
)

// Changes are what differs between two configurations, by name. What a setting
// says is left out: it may be secret, and both configurations are long.
type Changes struct {
	Routes, Upstreams, Middleware, Listeners, Files Change

	Settings []string // other keys of the process file
	Order    bool     // routes that are in both stand in another order
}

// Change names what was added, removed and changed among things of one sort,
// each list sorted.
type Change struct{ Added, Removed, Changed []string }

// Diff compares two configurations. Parts of files that both have are equal
// without being looked at.
func Diff(old, next *Config) Changes {
	c := Changes{
		Routes:     diffRoutes(old, next),
		Upstreams:  diffNodes(old.named("upstreams"), next.named("upstreams")),
		Middleware: diffNodes(old.named("middleware"), next.named("middleware")),
		Listeners:  diffNodes(old.named("listeners"), next.named("listeners")),
		Files:      diff(old.doc.byName(), next.doc.byName(), sameFile),
		Order:      reordered(old.Routes, next.Routes),
	}
	settings := diffNodes(old.settings(), next.settings())
	c.Settings = slices.Concat(settings.Added, settings.Removed, settings.Changed)
	slices.Sort(c.Settings)
	return c
}

// None says whether there is no difference.
func (c *Changes) None() bool {
	for _, one := range []Change{c.Routes, c.Upstreams, c.Middleware, c.Listeners, c.Files} {
		if len(one.Added)+len(one.Removed)+len(one.Changed) > 0 {
			return false
		}
	}
	return len(c.Settings) == 0 && !c.Order
}

// diffRoutes looks only at what lies between the routes at both ends that are the same:
// a change of one file is one piece of a long list.
func diffRoutes(old, next *Config) Change {
	was, is := old.root.node.get("routes").list(), next.root.node.get("routes").list()
	same := func(i, j int) bool { return was[i] == is[j] && old.Routes[i].Name == next.Routes[j].Name }
	from, to, till := 0, len(was), len(is)
	for from < min(to, till) && same(from, from) {
		from++
	}
	for min(to, till) > from && same(to-1, till-1) {
		to, till = to-1, till-1
	}
	return diffNodes(routeNodes(old.Routes[from:to], was[from:to]), routeNodes(next.Routes[from:till], is[from:till]))
}

func routeNodes(routes []*Route, nodes []*node) map[string]*node {
	all := make(map[string]*node, len(nodes))
	for i, n := range nodes {
		all[routes[i].Name] = n
	}
	return all
}

// named are the values of a map of the process file and the route files.
func (c *Config) named(key string) map[string]*node {
	all := make(map[string]*node)
	if n := c.root.node.get(key); n != nil {
		for _, e := range n.entries {
			all[e.key] = e.value
		}
	}
	return all
}

// settings are what has no names of its own.
func (c *Config) settings() map[string]*node {
	all := make(map[string]*node)
	for _, e := range c.root.node.entries {
		if e.key != "listeners" && !slices.Contains(routeFileKeys, e.key) {
			all[e.key] = e.value
		}
	}
	return all
}

func (d *document) byName() map[string]*sourceFile {
	all := make(map[string]*sourceFile, len(d.files))
	for _, s := range d.files {
		all[s.name] = s
	}
	return all
}

func sameFile(a, b *sourceFile) bool { return a == b || bytes.Equal(a.data, b.data) }

func diffNodes(old, next map[string]*node) Change { return diff(old, next, sameNode) }

// diff copies names: they are parts of files that need not stay in memory.
func diff[T any](old, next map[string]T, same func(a, b T) bool) (c Change) {
	for name, now := range next {
		before, known := old[name]
		switch {
		case !known:
			c.Added = append(c.Added, strings.Clone(name))
		case !same(before, now):
			c.Changed = append(c.Changed, strings.Clone(name))
		}
	}
	for name := range old {
		if _, stays := next[name]; !stays {
			c.Removed = append(c.Removed, strings.Clone(name))
		}
	}
	slices.Sort(c.Added)
	slices.Sort(c.Changed)
	slices.Sort(c.Removed)
	return c
}

// sameNode says whether two values mean the same: the order of the keys of a map
// is none, and where they stand matters only for relative paths.
func sameNode(a, b *node) bool {
	if a == b {
		return true
	}
	if a.kind != b.kind || a.file.dir() != b.file.dir() || len(a.entries) != len(b.entries) || len(a.items) != len(b.items) {
		return false
	}
	if a.kind == scalarNode {
		return a.text == b.text
	}
	for i := range a.items {
		if !sameNode(a.items[i], b.items[i]) {
			return false
		}
	}
	for _, e := range a.entries {
		other := b.get(e.key)
		if other == nil || !sameNode(e.value, other) {
			return false
		}
	}
	return true
}

func sameNames(a, b []*Route) bool {
	return slices.EqualFunc(a, b, func(a, b *Route) bool { return a.Name == b.Name })
}

// reordered says whether the routes that both have stand in another order, which
// decides between routes that match equally well.
func reordered(old, next []*Route) bool {
	if sameNames(old, next) {
		return false
	}
	place := make(map[string]int, len(old))
	for i, r := range old {
		place[r.Name] = i
	}
	last := -1
	for _, r := range next {
		i, known := place[r.Name]
		if !known {
			continue
		}
		if i < last {
			return true
		}
		last = i
	}
	return false
}
