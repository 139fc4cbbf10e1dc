package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// templateText is a template that has been read.
type templateText struct {
	text     string   // for mux: literals decoded, parameters as written
	skeleton string   // literals decoded, each parameter one byte
	params   []string // names
	plain    bool     // no parameter has a pattern
}

// readTemplate takes a path with {parameters} apart and checks what mux would
// not: it panics on capture groups, overwrites values of equal names and lets
// patterns run over slashes.
func readTemplate(text string) (templateText, error) {
	t := templateText{plain: true}
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			open = len(rest)
		}
		literal, err := canonical(rest[:open])
		if err != nil {
			return t, err
		}
		if strings.ContainsAny(literal, "{}") {
			return t, fmt.Errorf("%q: braces must come in pairs and cannot be literal", text)
		}
		t.text += literal
		t.skeleton += literal
		if rest = rest[open:]; rest == "" {
			break
		}
		end := closingBrace(rest)
		if end < 0 {
			return t, fmt.Errorf("%q: braces must come in pairs", text)
		}
		if err := t.addParam(rest[1:end]); err != nil {
			return t, err
		}
		rest = rest[end+1:]
	}
	return t, nil
}

// closingBrace finds the partner of the brace that s begins with.
func closingBrace(s string) int {
	level := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			level++
		case '}':
			if level--; level == 0 {
				return i
			}
		}
	}
	return -1
}

// addParam adds "name" or "name:pattern".
func (t *templateText) addParam(text string) error {
	name, pattern, given := strings.Cut(text, ":")
	switch {
	case name == "":
		return fmt.Errorf("{%s}: a parameter needs a name", text)
	case given && pattern == "":
		return fmt.Errorf("{%s}: the pattern is empty", text)
	case slices.Contains(t.params, name):
		return fmt.Errorf("{%s}: the name is used twice", text)
	case strings.Contains(pattern, "/"):
		return fmt.Errorf("{%s}: a parameter is one segment, its pattern holds no slash", text)
	case given:
		re, err := regexp.Compile(pattern)
		if err != nil {
			return fmt.Errorf("{%s}: %w", text, err)
		}
		if re.NumSubexp() > 0 {
			return fmt.Errorf("{%s}: write groups as (?:...)", text)
		}
		t.plain = false
	}
	t.params = append(t.params, name)
	t.text += "{" + text + "}"
	t.skeleton += parameter
	return nil
}
