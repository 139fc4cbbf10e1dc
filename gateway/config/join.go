package config

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// routeFileKeys are what a route file may hold.
var routeFileKeys = []string{"upstreams", "middleware", "routes"}

// joiner gathers what route files add to the process file.
type joiner struct {
	root  *node
	lists map[string]*joined // by the key of the process file; what no route file adds to is not in it
	lacks map[string]bool    // keys of which something could not be understood
	errs  Errors
}

// joined is a list or a map that stands in several files.
type joined struct {
	*node
	names map[string]bool // the keys of a map
}

// join makes one tree of the process file and the route files. Values keep the
// file they stand in.
func join(trees []*node) *joiner {
	first := *trees[0]
	j := &joiner{root: &first, lists: make(map[string]*joined), lacks: make(map[string]bool)}
	if first.kind != mappingNode {
		return j // the decoder says so
	}
	first.entries = slices.Clone(first.entries)
	for _, tree := range trees[1:] {
		if tree.kind != mappingNode {
			j.errs = append(j.errs, tree.errorf("want a map of settings, not %s", tree.what()))
			continue
		}
		for i := range tree.entries {
			j.adopt(&tree.entries[i])
		}
	}
	return j
}

// adopt adds one entry of a route file to the tree of the process file.
func (j *joiner) adopt(e *entry) {
	if !slices.Contains(routeFileKeys, e.key) {
		hint := Suggest(e.key, routeFileKeys)
		if _, known := fieldsOf(rootType).byName(e.key); known {
			hint = "; it belongs into the process file"
		}
		if meant := nearest(e.key, routeFileKeys); meant != "" {
			j.lacks[meant] = true
		}
		j.errs = append(j.errs, e.value.file.errorAt(e.at, "a route file holds only upstreams, middleware and routes, not %q%s", e.key, hint))
		return
	}
	mine := j.root.entry(e.key)
	switch {
	case mine == nil:
		j.root.entries = append(j.root.entries, *e)
	case mine.value.kind == e.value.kind && e.value.kind == sequenceNode:
		both := j.own(mine)
		both.items = append(both.items, e.value.items...)
	case mine.value.kind == e.value.kind && e.value.kind == mappingNode:
		j.adoptNames(j.own(mine), e)
	default:
		want := "map"
		if e.key == "routes" {
			want = "list"
		}
		j.lacks[e.key] = true
		j.errs = append(j.errs, slot{e.value, e}.errorf("%s: want a %s, not %s", e.key, want, e.value.what()))
	}
}

// own is the value of an entry of the root as a copy that can grow: that of the file
// belongs to other configurations too.
func (j *joiner) own(e *entry) *joined {
	if known, ok := j.lists[e.key]; ok {
		return known
	}
	out := &joined{node: e.value.copied(), names: make(map[string]bool, len(e.value.entries))}
	for _, one := range out.entries {
		out.names[one.key] = true
	}
	e.value, j.lists[e.key] = out.node, out
	return out
}

func (j *joiner) adoptNames(both *joined, more *entry) {
	for _, add := range more.value.entries {
		if both.names[add.key] {
			first := both.entry(add.key)
			j.errs = append(j.errs, add.value.file.errorAt(add.at, "%s %q is defined a second time; the first is at %s",
				strings.TrimSuffix(more.key, "s"), add.key, Pos{first.value.file.name, first.at.line, first.at.column}))
			continue
		}
		both.names[add.key] = true
		both.entries = append(both.entries, add)
	}
}

func sortedEntries(entries []entry) []entry {
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	return sorted
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

// writeYAML writes a tree in block style.
func writeYAML(out *bytes.Buffer, n *node, indent string, secrets map[*node]bool) {
	switch {
	case secrets[n] && (n.kind != scalarNode || !publicReference(n.raw)):
		out.WriteString(strconv.Quote(redacted) + "\n")
	case n.kind == mappingNode && len(n.entries) > 0:
		for i, e := range n.entries {
			if i > 0 {
				out.WriteString(indent)
			}
			key := e.key
			if !plainKey.MatchString(key) {
				key = strconv.Quote(key)
			}
			out.WriteString(key + ":")
			if len(e.value.entries)+len(e.value.items) > 0 && !secrets[e.value] {
				out.WriteString("\n" + indent + "  ")
			} else {
				out.WriteString(" ")
			}
			writeYAML(out, e.value, indent+"  ", secrets)
		}
	case n.kind == sequenceNode && len(n.items) > 0:
		for i, item := range n.items {
			if i > 0 {
				out.WriteString(indent)
			}
			out.WriteString("- ")
			writeYAML(out, item, indent+"  ", secrets)
		}
	case n.kind == mappingNode:
		out.WriteString("{}\n")
	case n.kind == sequenceNode:
		out.WriteString("[]\n")
	case n.quoted || strings.Contains(n.raw, "\n"):
		out.WriteString(strconv.Quote(n.raw) + "\n")
	default:
		out.WriteString(n.raw + "\n")
	}
}
