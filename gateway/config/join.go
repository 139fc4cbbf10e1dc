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

// join makes one tree of the process file and the route files. Values keep the
// file they stand in.
func join(trees []*node) (root *node, errs Errors) {
	first := *trees[0]
	root = &first
	if root.kind != mappingNode {
		return root, nil // the decoder says so
	}
	root.entries = slices.Clone(root.entries)
	for _, tree := range trees[1:] {
		if tree.kind != mappingNode {
			errs = append(errs, tree.errorf("want a map of settings, not %s", tree.what()))
			continue
		}
		for i := range tree.entries {
			errs = append(errs, root.adopt(&tree.entries[i])...)
		}
	}
	return root, errs
}

// adopt adds one entry of a route file to the tree of the process file.
func (n *node) adopt(e *entry) Errors {
	if !slices.Contains(routeFileKeys, e.key) {
		hint := Suggest(e.key, routeFileKeys)
		if _, known := fieldsOf(rootType).byName(e.key); known {
			hint = "; it belongs into the process file"
		}
		return Errors{e.value.file.errorAt(e.at, "a route file holds only upstreams, middleware and routes, not %q%s", e.key, hint)}
	}
	mine := n.entry(e.key)
	switch {
	case mine == nil:
		n.entries = append(n.entries, *e)
		return nil
	case mine.value.kind == e.value.kind && e.value.kind == sequenceNode:
		both := *mine.value
		both.items = slices.Concat(both.items, e.value.items)
		mine.value = &both
		return nil
	case mine.value.kind == e.value.kind && e.value.kind == mappingNode:
		return mine.adoptNames(e)
	}
	want := "map"
	if e.key == "routes" {
		want = "list"
	}
	return Errors{slot{e.value, e}.errorf("%s: want a %s, not %s", e.key, want, e.value.what())}
}

func (e *entry) adoptNames(more *entry) (errs Errors) {
	both := *e.value
	both.entries = slices.Clone(both.entries)
	for i := range more.value.entries {
		add := &more.value.entries[i]
		if first := both.entry(add.key); first != nil {
			errs = append(errs, add.value.file.errorAt(add.at, "%s %q is defined a second time; the first is at %s",
				strings.TrimSuffix(e.key, "s"), add.key, Pos{first.value.file.name, first.at.line, first.at.column}))
			continue
		}
		both.entries = append(both.entries, *add)
	}
	e.value = &both
	return errs
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
