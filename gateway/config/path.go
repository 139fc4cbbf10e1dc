package config

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pithead/pithead/gateway/kind"
)

// slot is a value together with the entry of a map that holds it, if one does.
type slot struct {
	node *node
	key  *entry
}

// at is where an error about the value points: at a scalar itself, else at the
// key above, which is what a reader looks for.
func (s slot) at() place {
	if s.key != nil && s.node.kind != scalarNode {
		return s.key.at
	}
	return s.node.at
}

func (s slot) errorf(format string, args ...any) *Error {
	return s.node.file.errorAt(s.at(), format, args...)
}

// within is the place of a line and a column of a text, both from 1. It is the
// text's own where the file has it in another form, with escapes for example.
func (s slot) within(line, column int) place {
	at := s.at()
	lines := strings.Split(s.node.text, "\n")
	if s.node.kind != scalarNode || line < 1 || line > len(lines) || lines[line-1] == "" {
		return at
	}
	for _, below := range [...]int{line - 1, line} { // a block scalar begins on the next line
		p := place{at.line + below, 0}
		if p.line > s.node.file.lineCount() {
			break
		}
		before, _, found := strings.Cut(s.node.file.line(p.line), lines[line-1])
		if n := utf8.RuneCountInString(before); found && (below > 0 || n+1 >= at.column) {
			p.column = n + column
			return p
		}
	}
	return at
}

// find follows a path such as "split.canary" or "rules[2].cidr" as far as the
// tree goes. rest is what the tree does not have.
func (s slot) find(path string) (found slot, rest string) {
	for path != "" {
		next, rest := s.step(path)
		if next.node == nil {
			return s, path
		}
		s, path = next, strings.TrimPrefix(rest, ".")
	}
	return s, ""
}

func (s slot) step(path string) (next slot, rest string) {
	if inside, ok := strings.CutPrefix(path, "["); ok {
		digits, rest, _ := strings.Cut(inside, "]")
		if i, err := strconv.Atoi(digits); err == nil && i >= 0 && i < len(s.node.items) {
			return slot{node: s.node.items[i]}, rest
		}
		return slot{}, path
	}
	// Keys may have dots in them, so the longest one that fits is meant.
	for i := range s.node.entries {
		e := &s.node.entries[i]
		after, ok := strings.CutPrefix(path, e.key)
		if !ok || after != "" && after[0] != '.' && after[0] != '[' {
			continue
		}
		if next.node == nil || len(e.key) > len(next.key.key) {
			next, rest = slot{node: e.value, key: e}, after
		}
	}
	return next, rest
}

// settingErrors gives the mistakes that a Validate method or a build function
// found their places. find looks a path up.
func (d *document) settingErrors(find func(path string) (slot, string), err error) Errors {
	var all Errors
	for _, se := range kind.SettingErrors(err) {
		found, rest := find(strings.TrimPrefix(se.Path, "."))
		msg := se.Err.Error()
		if rest != "" {
			msg = rest + ": " + msg
		}
		e := found.node.file.errorAt(found.within(se.Line, se.Column), "%s", d.scrub(found.node, msg))
		e.Err = se.Err
		all = append(all, e)
	}
	return all
}
