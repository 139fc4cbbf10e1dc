package config

import (
	"strconv"
	"strings"

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
		e := found.errorf("%s", d.scrub(found.node, msg))
		e.Err = se.Err
		all = append(all, e)
	}
	return all
}
