package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Mock makes answers out of a contract. All of them are made when it is, so that a
// request only chooses.
type Mock struct {
	Contract *Contract
	// Warnings are examples that do not fit their schema, and schemas that no value was
	// found for, with their places.
	Warnings []string

	answers map[*Operation]map[string]*mockAnswer // by status, class or default
}

// mockAnswer is what a mock has for one status.
type mockAnswer struct {
	headers  http.Header
	contents []mockContent // JSON first
}

type mockContent struct {
	media    string
	byName   map[string][]byte
	fallback []byte // nil when there is no example and nothing could be made
}

// Sampled is an answer of a mock.
type Sampled struct {
	Status int
	Header http.Header // not for writing
	Media  string      // "" without a body
	Body   []byte
}

// Preference is what a client wishes by the header Prefer (RFC 7240).
type Preference struct {
	Code    int    // 0 is the first success
	Example string // "" is any
}

// ParsePreference reads `code=404, example=name`. Other preferences are for others.
func ParsePreference(lines []string) (p Preference, err error) {
	for _, line := range lines {
		for wish := range strings.FieldsFuncSeq(line, func(r rune) bool { return r == ',' || r == ';' }) {
			name, value, _ := strings.Cut(strings.TrimSpace(wish), "=")
			value = strings.Trim(strings.TrimSpace(value), `"`)
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "code":
				if p.Code, err = strconv.Atoi(value); err != nil || p.Code < 200 || p.Code > 599 {
					return p, fmt.Errorf("code=%s is no status from 200 to 599", clip(value, 20))
				}
			case "example":
				p.Example = value
			}
		}
	}
	return p, nil
}

// NewMock makes the answers of all operations.
func NewMock(c *Contract) *Mock {
	m := &Mock{Contract: c, answers: make(map[*Operation]map[string]*mockAnswer, len(c.Operations))}
	for _, op := range c.Operations {
		m.answers[op] = make(map[string]*mockAnswer, len(op.responses))
		for key, contents := range op.responses {
			answer := &mockAnswer{headers: m.headers(op.responseOf[key])}
			for i := range contents {
				answer.contents = append(answer.contents, m.content(op, key, &contents[i]))
			}
			slices.SortStableFunc(answer.contents, func(a, b mockContent) int {
				switch json := isJSON(a.media); {
				case json == isJSON(b.media):
					return 0
				case json:
					return -1
				}
				return 1
			})
			m.answers[op][key] = answer
		}
	}
	slices.Sort(m.Warnings)
	return m
}

func (m *Mock) warn(origin *openapi3.Origin, op *Operation, format string, args ...any) {
	pos := m.Contract.Document.Position(origin, op.Op.Origin)
	m.Warnings = append(m.Warnings, fmt.Sprintf("%s: %s %s: ", pos, op.Method, op.Path)+fmt.Sprintf(format, args...))
}

func (m *Mock) content(op *Operation, key string, c *content) mockContent {
	out := mockContent{media: c.media, byName: make(map[string][]byte)}
	for _, name := range slices.Sorted(maps.Keys(c.source.Examples)) {
		ref := c.source.Examples[name]
		if ref == nil || ref.Value == nil || ref.Value.Value == nil {
			continue // an address elsewhere, which nobody fetches
		}
		out.byName[name] = m.example(op, key, c, ref.Value.Value)
		if out.fallback == nil {
			out.fallback = out.byName[name]
		}
	}
	switch {
	case c.source.Example != nil:
		out.fallback = m.example(op, key, c, c.source.Example)
	case out.fallback == nil && c.schema != nil:
		v, fits := sample(c.schema)
		if !fits {
			m.warn(c.source.Origin, op, "no value was found that fits the schema of %s %s; give an example", strings.ToLower(key), c.media)
		}
		out.fallback = encode(c.media, v)
	}
	return out
}

// example is the text of an example, which should fit its schema.
func (m *Mock) example(op *Operation, key string, c *content, v any) []byte {
	if v, err := plain(v); err == nil && c.schema != nil && isJSON(c.media) {
		check := checker{answer: true, in: "body"}
		if check.check(c.schema, v); len(check.result()) > 0 {
			first := check.result()[0]
			m.warn(c.source.Origin, op, "an example of %s %s does not fit its schema: %s %s", strings.ToLower(key), c.media, first.Pointer, first.Detail)
		}
	}
	return encode(c.media, v)
}

// encode writes a value in a media type; nil if that cannot be done.
func encode(media string, v any) []byte {
	if text, ok := v.(string); ok && !isJSON(media) {
		return []byte(text)
	}
	if !isJSON(media) && media != "*/*" && media != "application/*" {
		return nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return nil
	}
	return b.Bytes()
}

// headers are those of a response that have an example or a schema.
func (m *Mock) headers(response *openapi3.Response) http.Header {
	h := make(http.Header)
	for name, ref := range response.Headers {
		if ref == nil || ref.Value == nil || http.CanonicalHeaderKey(name) == "Content-Type" {
			continue
		}
		v := ref.Value.Example
		if v == nil && ref.Value.Schema != nil {
			c := &compiler{known: make(map[*openapi3.Schema]*schema), place: func(...*openapi3.Origin) string { return m.Contract.Document.File }}
			if s := c.compile(ref.Value.Schema); s != nil && c.err() == nil {
				v, _ = sample(s)
			}
		}
		switch v.(type) {
		case nil, map[string]any, []any:
			continue
		}
		if text := fmt.Sprint(v); !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			h.Set(name, text)
		}
	}
	return h
}
