package middleware

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formKind is a media type with the escaping that belongs to it.
type formKind uint8

const (
	jsonForm formKind = iota
	htmlForm
	textForm
)

var formTypes = [...]string{jsonForm: "application/json", htmlForm: "text/html; charset=utf-8", textForm: "text/plain; charset=utf-8"}

// pageForm is a page in one form, taken apart at its fields.
type pageForm struct {
	kind      formKind
	mediaType string
	size      int // of all texts
	parts     []pagePart
}

// pagePart is a text and the field that comes after it.
type pagePart struct {
	text  string
	field string // "" is none
}

// The fields of a page.
const (
	fieldStatus    = "{status}"
	fieldTitle     = "{title}"
	fieldReason    = "{reason}"
	fieldRequestID = "{request_id}"
)

// fieldLike is what an operator may have meant for a field.
var fieldLike = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\}`)

func newPageForm(k formKind, text string) (*pageForm, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the page is not UTF-8")
	}
	f := &pageForm{kind: k, mediaType: formTypes[k]}
	rest := 0
	for _, at := range fieldLike.FindAllStringIndex(text, -1) {
		field := text[at[0]:at[1]]
		switch field {
		case fieldStatus, fieldTitle, fieldReason, fieldRequestID:
		default:
			return nil, fmt.Errorf("%s is no field of a page; known are %s, %s, %s and %s, and a word that is to stay in its braces gets a space before it",
				field, fieldStatus, fieldTitle, fieldReason, fieldRequestID)
		}
		f.add(text[rest:at[0]], field)
		rest = at[1]
	}
	f.add(text[rest:], "")
	if k == jsonForm && !json.Valid(f.fill(http.StatusNotFound, `a "reason"`, `an "id"`)) {
		return nil, fmt.Errorf("the page is no JSON when its fields are filled in; those but %s belong into quotes", fieldStatus)
	}
	return f, nil
}

func (f *pageForm) add(text, field string) {
	f.parts = append(f.parts, pagePart{text, field})
	f.size += len(text)
}

// fill makes the body of an answer.
func (f *pageForm) fill(status int, reason, id string) []byte {
	const room = 64 // for the fields; append makes more
	body := make([]byte, 0, f.size+room)
	for _, part := range f.parts {
		body = append(body, part.text...)
		switch part.field {
		case fieldStatus:
			body = strconv.AppendInt(body, int64(status), 10)
		case fieldTitle:
			body = append(body, f.escape(titleOf(status))...)
		case fieldReason:
			body = append(body, f.escape(reason)...)
		case fieldRequestID:
			body = append(body, f.escape(id)...)
		}
	}
	return body
}

// titleOf is the name of a status; not all have one.
func titleOf(status int) string {
	if title := http.StatusText(status); title != "" {
		return title
	}
	return "Error"
}

// escape keeps a value from ending what it stands in.
func (f *pageForm) escape(value string) string {
	switch f.kind {
	case htmlForm:
		return html.EscapeString(value)
	case jsonForm:
		quoted, err := json.Marshal(value)
		if err != nil {
			return "" // no string fails
		}
		return strings.TrimSuffix(strings.TrimPrefix(string(quoted), `"`), `"`)
	}
	return value
}

// pageForms are the forms of one page; nil is one that it has not.
type pageForms struct{ json, html, text *pageForm }

// choose is the form that a client with these lines of Accept prefers; nil is
// what there would be without the page (RFC 9110, 12.5.1).
func (p *pageForms) choose(accept []string) *pageForm {
	var best preference
	var form *pageForm
	offer := func(f *pageForm, is preference) {
		if is.over(best) {
			form, best = f, is
		}
	}
	problem := preferenceFor(accept, "application", "problem+json")
	if p.json != nil {
		offer(p.json, preferenceFor(accept, "application", "json"))
	} else if plain := preferenceFor(accept, "application", "json"); plain.over(problem) {
		problem = plain
	}
	offer(nil, problem)
	if p.text != nil {
		offer(p.text, preferenceFor(accept, "text", "plain"))
	}
	if p.html != nil {
		offer(p.html, preferenceFor(accept, "text", "html"))
	}
	return form
}
