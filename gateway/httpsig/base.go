package httpsig

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/dunglas/httpsfv"
)

// ErrComponent says that a covered component is not there, or that what it is
// cannot be told without doubt.
var ErrComponent = errors.New("a covered component cannot be computed")

// Message is what a client has asked for, as it is to be understood: behind a
// proxy that is trusted, scheme and authority are those that the client used.
type Message struct {
	Method    string
	Scheme    string // in lower case
	Authority string // in lower case; a port that is the default one of the scheme does not matter
	Path      string // as it is sent, in its canonical form
	Query     string // without the question mark
	Header    http.Header
}

// Base is the signature base of s over m, RFC 9421, 2.5.
func (s *Signature) Base(m *Message) ([]byte, error) {
	base := make([]byte, 0, 256+2*len(s.params))
	for i := range s.Components {
		c := &s.Components[i]
		base = append(base, c.id...)
		base = append(base, ": "...)
		from := len(base)
		var err error
		if base, err = c.append(base, m); err != nil {
			return nil, err
		}
		if !plain(base[from:]) {
			return nil, ErrComponent
		}
		base = append(base, '\n')
	}
	base = append(base, `"@signature-params": `...)
	return append(base, s.params...), nil
}

// plain says whether a value is printable ASCII in one line, so that it cannot
// be taken for the next component (RFC 9421, 7.5.6).
func plain(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}

func (c *Component) append(to []byte, m *Message) ([]byte, error) {
	if c.Name[0] != '@' {
		return c.appendField(to, m.Header)
	}
	path := m.Path
	if path == "" {
		path = "/"
	}
	switch c.Name {
	case "@method":
		return append(to, m.Method...), nil
	case "@scheme":
		return append(to, m.Scheme...), nil
	case "@authority":
		return append(to, m.authority()...), nil
	case "@path":
		return append(to, path...), nil
	case "@query":
		return append(append(to, '?'), m.Query...), nil
	case "@target-uri":
		to = append(append(append(to, m.Scheme...), "://"...), m.authority()...)
		return m.appendTarget(to, path), nil
	case "@request-target":
		return m.appendTarget(to, path), nil
	case "@query-param":
		return c.appendParam(to, m.Query)
	}
	return to, ErrComponent // such as @status, which requests have none of
}

func (m *Message) appendTarget(to []byte, path string) []byte {
	to = append(to, path...)
	if m.Query != "" {
		to = append(append(to, '?'), m.Query...)
	}
	return to
}

func (m *Message) authority() string {
	switch m.Scheme {
	case "https":
		return strings.TrimSuffix(m.Authority, ":443")
	case "http":
		return strings.TrimSuffix(m.Authority, ":80")
	}
	return m.Authority
}

// appendParam writes the value of a query parameter, decoded and encoded again as
// RFC 9421, 2.2.8 wants it. One that is there twice must not be used.
func (c *Component) appendParam(to []byte, query string) ([]byte, error) {
	found := false
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(name)
		value, valueErr := url.QueryUnescape(value)
		if nameErr != nil || escaped(name) != c.Param {
			continue
		}
		if found || valueErr != nil {
			return to, ErrComponent
		}
		found = true
		to = append(to, escaped(value)...)
	}
	if !found {
		return to, ErrComponent
	}
	return to, nil
}

// escaped encodes all but the unreserved characters of the URL standard's set for
// forms, a space as %20.
func escaped(s string) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	return strings.ReplaceAll(strings.ReplaceAll(s, "%2A", "*"), "~", "%7E")
}

func (c *Component) appendField(to []byte, h http.Header) ([]byte, error) {
	lines := h[http.CanonicalHeaderKey(c.Name)]
	if len(lines) == 0 {
		return to, ErrComponent
	}
	if c.Key != "" || c.Strict {
		return c.appendStructured(to, lines)
	}
	for i, line := range lines {
		if i > 0 {
			to = append(to, ", "...)
		}
		line = strings.Trim(line, " \t")
		if !c.Binary {
			to = append(to, line...)
			continue
		}
		to = append(to, ':')
		to = base64.StdEncoding.AppendEncode(to, []byte(line))
		to = append(to, ':')
	}
	return to, nil
}

// appendStructured writes a member of a dictionary, or the canonical form of a
// field whose type is known.
func (c *Component) appendStructured(to []byte, lines []string) ([]byte, error) {
	var value httpsfv.StructuredFieldValue
	var err error
	switch sort := structured[c.Name]; {
	case c.Key != "":
		var d *httpsfv.Dictionary
		if d, err = dictionary(lines); err != nil {
			return to, ErrComponent
		}
		member, there := d.Get(c.Key)
		if !there {
			return to, ErrComponent
		}
		value = member
	case sort == isDictionary:
		value, err = dictionary(lines)
	case sort == isList:
		value, err = httpsfv.UnmarshalList(lines)
	case sort == isItem:
		value, err = httpsfv.UnmarshalItem(lines)
	default:
		return to, ErrComponent
	}
	if err != nil {
		return to, ErrComponent
	}
	text, err := httpsfv.Marshal(value)
	if err != nil {
		return to, ErrComponent
	}
	return append(to, text...), nil
}

const (
	isDictionary = 1 + iota
	isList
	isItem
)

// structured are the request fields whose type RFC 9651 calls by name, so that a
// signature can ask for their canonical form.
var structured = map[string]int{
	"accept-signature": isDictionary, "content-digest": isDictionary, "priority": isDictionary, "repr-digest": isDictionary,
	"signature": isDictionary, "signature-input": isDictionary, "want-content-digest": isDictionary, "want-repr-digest": isDictionary,
	"client-cert-chain": isList, "client-cert": isItem, "idempotency-key": isItem,
}
