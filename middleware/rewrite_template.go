package middleware

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// pathTarget is a new path made of parameters of the old one.
type pathTarget struct {
	from  []templateSegment
	parts []targetPart
	count int // of the parameters of from
}

// targetPart is a text, and the parameter that comes after it.
type targetPart struct {
	text  string
	param int // index among the parameters of the template; -1 is none
}

// templateSegment is one segment of the path of a route.
type templateSegment struct {
	literal string         // decoded; for a segment without parameters
	whole   bool           // the segment is one parameter, which takes anything
	re      *regexp.Regexp // on the decoded segment, a group for each parameter; nil otherwise
}

// encodedSlash stands for %2F while a segment is matched, as it does in the match of the route.
const encodedSlash = "\x00"

// braced is a parameter as a new path names it, or something that is none.
var braced = regexp.MustCompile(`\{[^{}]*\}`)

// validatePathTarget checks a new path that may hold parameters. "" is none.
func validatePathTarget(at, path string) error {
	for _, param := range braced.FindAllString(path, -1) {
		name := param[1 : len(param)-1]
		if before, _, pattern := strings.Cut(name, ":"); pattern {
			return kind.At(at, "%s: the pattern stands in the match; write {%s} here", param, before)
		}
		if name == "" {
			return kind.At(at, "{} names no parameter")
		}
	}
	filled := braced.ReplaceAllString(path, "x")
	if strings.ContainsAny(filled, "{}") {
		return kind.At(at, "%q: braces must come in pairs; %%7B and %%7D are literal ones", path)
	}
	return validateNewPath(at, filled)
}

// newPathTarget reads a new path with parameters of the route's path.
func newPathTarget(path string, env Env) (*pathTarget, error) {
	from, names := readPathTemplate(env.Match.Path)
	t := &pathTarget{from: from, count: len(names)}
	rest := 0
	for _, at := range braced.FindAllStringIndex(path, -1) {
		param := slices.Index(names, path[at[0]+1:at[1]-1])
		switch {
		case len(names) == 0:
			return nil, fmt.Errorf("%s: the match of route %q has no path with parameters", path[at[0]:at[1]], env.Route)
		case param < 0:
			return nil, fmt.Errorf("%s is no parameter of %s; it has {%s}", path[at[0]:at[1]], env.Match.Path, strings.Join(names, "}, {"))
		}
		t.parts = append(t.parts, targetPart{path[rest:at[0]], param})
		rest = at[1]
	}
	t.parts = append(t.parts, targetPart{path[rest:], -1})
	return t, nil
}

// readPathTemplate takes the path of a route apart. What is wrong with it the
// match tells the operator; here it only never matches.
func readPathTemplate(text string) (segments []templateSegment, names []string) {
	for segment := range strings.SplitSeq(strings.TrimPrefix(text, "/"), "/") {
		s, params := readTemplateSegment(segment)
		segments, names = append(segments, s), append(names, params...)
	}
	return segments, names
}

func readTemplateSegment(text string) (s templateSegment, names []string) {
	var pattern strings.Builder
	s.whole = strings.HasPrefix(text, "{")
	for text != "" {
		open := strings.IndexByte(text, '{')
		end := closingBrace(text, open)
		if open < 0 || end < 0 {
			s.whole = false
			open, end = len(text), len(text)-1
		}
		literal, err := url.PathUnescape(text[:open])
		if err != nil {
			literal = text[:open]
		}
		literal = strings.ReplaceAll(literal, "/", encodedSlash)
		s.literal += literal
		pattern.WriteString(regexp.QuoteMeta(literal))
		if open < end {
			name, of, given := strings.Cut(text[open+1:end], ":")
			if !given {
				of = ".+"
			}
			names = append(names, name)
			pattern.WriteString("(" + of + ")")
			s.whole = s.whole && !given && end == len(text)-1
		}
		text = text[end+1:]
	}
	if len(names) > 0 && !s.whole {
		if re, err := regexp.Compile(`\A` + pattern.String() + `\z`); err == nil && re.NumSubexp() == len(names) {
			s.re = re
		}
	}
	return s, names
}

// closingBrace finds the partner of the brace at open, -1 if there is none.
func closingBrace(s string, open int) int {
	level := 0
	for i := max(open, 0); i < len(s); i++ {
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

// fill is the new path for an escaped path. One that has not the form of the
// template, because an earlier rewrite has made it, stays as it is.
func (t *pathTarget) fill(path string) string {
	values := make([]string, 0, 8) // more than that is rare, and only costs an allocation
	rest, more := strings.TrimPrefix(path, "/"), true
	for i := range t.from {
		if !more {
			return path
		}
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		var ok bool
		if values, ok = t.from[i].values(values, segment); !ok {
			return path
		}
	}
	if more || len(values) != t.count {
		return path
	}
	var filled strings.Builder
	filled.Grow(t.size(values))
	for _, part := range t.parts {
		filled.WriteString(part.text)
		if part.param >= 0 {
			filled.WriteString(values[part.param])
		}
	}
	return filled.String()
}

func (t *pathTarget) size(values []string) (n int) {
	for _, part := range t.parts {
		n += len(part.text)
		if part.param >= 0 {
			n += len(values[part.param])
		}
	}
	return n
}

// values adds what the parameters have in an escaped segment, escaped as it is
// there; false for a segment that is not like the template.
func (s *templateSegment) values(to []string, segment string) ([]string, bool) {
	if s.whole {
		return append(to, segment), segment != ""
	}
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return to, false
	}
	decoded = strings.ReplaceAll(decoded, "/", encodedSlash)
	if s.re == nil {
		return to, decoded == s.literal
	}
	found := s.re.FindStringSubmatchIndex(decoded)
	if found == nil {
		return to, false
	}
	for i := 2; i < len(found); i += 2 {
		to = append(to, segment[escapedOffset(segment, found[i]):escapedOffset(segment, found[i+1])])
	}
	return to, true
}

// escapedOffset is where in an escaped text the decoded byte n begins.
func escapedOffset(escaped string, n int) int {
	at := 0
	for range n {
		if escaped[at] == '%' {
			at += 2
		}
		at++
	}
	return at
}
