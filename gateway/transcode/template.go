package transcode

import (
	"fmt"
	"net/url"
	"strings"
)

// maxSegments bounds the segments of a path that is matched.
const maxSegments = 64

// segment is one part of a template between slashes.
type segment struct {
	text string // of a literal, decoded
	star bool   // any one segment
	deep bool   // any number of segments; only the last one
}

// variable is a part of the path that has a name.
type variable struct {
	name     string
	from, to int  // segments, to excluded
	deep     bool // it goes to the end of the path
}

// template is a path with variables: that of OpenAPI ({id}) and that of
// google.api.http ({name=shelves/*}, **, :verb) in one.
type template struct {
	text     string
	segments []segment
	vars     []variable
	verb     string
}

// parseTemplate reads a template behind base, which is a plain path.
func parseTemplate(base, text string) (*template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("the path %q does not begin with a slash", text)
	}
	t := &template{text: strings.TrimSuffix(base, "/") + text}
	p := templateParser{t: t}
	for part := range strings.SplitSeq(strings.Trim(base, "/"), "/") {
		if part != "" {
			if err := p.literal(part); err != nil {
				return nil, err
			}
		}
	}
	rest := text[1:]
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexAny(rest, "/}") {
		t.verb, rest = rest[i+1:], rest[:i]
	}
	if err := p.parse(rest); err != nil {
		return nil, fmt.Errorf("the path %q %w", text, err)
	}
	if len(t.segments) > maxSegments {
		return nil, fmt.Errorf("the path %q has more than %d segments", text, maxSegments)
	}
	return t, nil
}

type templateParser struct{ t *template }

func (p *templateParser) parse(rest string) error {
	for first := true; first || rest != ""; first = false {
		var part string
		if strings.HasPrefix(rest, "{") {
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return fmt.Errorf("has no } for its {")
			}
			if err := p.variable(rest[1:end]); err != nil {
				return err
			}
			rest = rest[end+1:]
			if rest != "" && rest[0] != '/' {
				return fmt.Errorf("has %q beside a parameter; a parameter is a whole segment", rest)
			}
			if rest == "/" {
				return p.segment("")
			}
			rest = strings.TrimPrefix(rest, "/")
			continue
		}
		part, rest = cutSegment(rest)
		if err := p.segment(part); err != nil {
			return err
		}
	}
	return nil
}

// cutSegment takes the first segment. A slash at the end of the path leaves an
// empty segment, which is one of its own.
func cutSegment(s string) (segment, rest string) {
	segment, rest, found := strings.Cut(s, "/")
	if found && rest == "" {
		return s, ""
	}
	return segment, rest
}

func (p *templateParser) variable(inner string) error {
	name, pattern, has := strings.Cut(inner, "=")
	if name == "" {
		return fmt.Errorf("has a parameter without a name")
	}
	for _, v := range p.t.vars {
		if v.name == name {
			return fmt.Errorf("has the parameter %q twice", name)
		}
	}
	if !has {
		pattern = "*"
	}
	from := len(p.t.segments)
	for part := range strings.SplitSeq(pattern, "/") {
		if err := p.segment(part); err != nil {
			return err
		}
	}
	to := len(p.t.segments)
	p.t.vars = append(p.t.vars, variable{name: name, from: from, to: to, deep: p.t.segments[to-1].deep})
	return nil
}

func (p *templateParser) segment(part string) error {
	if n := len(p.t.segments); n > 0 && p.t.segments[n-1].deep {
		return fmt.Errorf("goes on after **, which is the end of a path")
	}
	switch {
	case part == "*":
		p.t.segments = append(p.t.segments, segment{star: true})
	case part == "**":
		p.t.segments = append(p.t.segments, segment{deep: true})
	case strings.ContainsAny(part, "{}*"):
		return fmt.Errorf("has %q; a parameter is a whole segment", part)
	default:
		return p.literal(part)
	}
	return nil
}

func (p *templateParser) literal(part string) error {
	if trimmed, slash := strings.CutSuffix(part, "/"); slash {
		if err := p.literal(trimmed); err != nil {
			return err
		}
		part = ""
	}
	text, err := url.PathUnescape(part)
	if err != nil {
		return fmt.Errorf("has %q: %w", part, err)
	}
	p.t.segments = append(p.t.segments, segment{text: text})
	return nil
}

// shape is the template without the names of its variables: two with the same
// shape match the same paths.
func (t *template) shape() string {
	var b strings.Builder
	for _, s := range t.segments {
		b.WriteByte('/')
		switch {
		case s.deep:
			b.WriteString("**")
		case s.star:
			b.WriteByte('*')
		default:
			b.WriteString(url.PathEscape(s.text))
		}
	}
	if t.verb != "" {
		b.WriteString(":" + t.verb)
	}
	return b.String()
}

// values are the values of the variables in the segments of a path. In a value of
// several segments an encoded slash stays encoded, as google.api.http wants it:
// it is data and no border.
func (t *template) values(dst, path []string) []string {
	for _, v := range t.vars {
		to := v.to
		if v.deep {
			to = len(path)
		}
		if !v.deep && to == v.from+1 {
			dst = append(dst, path[v.from])
			continue
		}
		parts := make([]string, 0, to-v.from)
		for _, part := range path[v.from:to] {
			parts = append(parts, strings.ReplaceAll(part, "/", "%2F"))
		}
		dst = append(dst, strings.Join(parts, "/"))
	}
	return dst
}
