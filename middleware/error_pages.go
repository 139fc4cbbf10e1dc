package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "error_pages", ErrorPagesConfig{}, newErrorPages)
}

// ErrorPagesConfig says what error answers look like, by status and by the media
// type that the client prefers. At the top level of the configuration the
// same settings are for all routes, and for requests that no route takes.
//
//	error_pages:
//	  pages:
//	    - {statuses: [404], html: "<h1>Not here</h1><p>Request {request_id}"}
//	    - {statuses: [429, 500-599], json: '{"error": "{reason}", "id": "{request_id}"}', text: "{status} {title}\n"}
//
// The Accept header of the request chooses among the forms of a page and the
// problem document (RFC 9457) that there is without pages. That document counts as
// the JSON form of a page that has none. Of forms that are equally welcome, the one
// that the client names most exactly wins, then JSON before text before HTML; so
// programs that say nothing, or `*/*`, get JSON, and browsers HTML.
//
// Status and headers such as Retry-After, Allow or WWW-Authenticate stay. HEAD gets the
// same head without the page; gRPC answers stay as they are.
//
// A form is a text with fields, in the escaping of its media type: {status} is
// the number, {title} the name of the status, {reason} why the gateway refuses, as
// in the access log, and {request_id} the id by which the log finds the request.
// Other braces stay as they are, unless they hold one word.
//
// A block in `use` is for everything that comes after it, and falls back on the
// pages of the top level. What is refused before the chain begins, such as a body
// that is announced too large, has those of the top level.
type ErrorPagesConfig struct {
	// Pages by status. The first one that lists a status is the page for it. Required.
	Pages []ErrorPage `yaml:"pages,required"`
	// Upstream makes error answers of the upstream give way to the pages too, if
	// the client prefers a form that the page has; otherwise, and for event streams, they pass as
	// they are. The {reason} is `upstream_answer` then. Default: false.
	Upstream bool `yaml:"upstream"`
}

// ErrorPage is what answers with certain statuses say.
type ErrorPage struct {
	// Statuses of the answers: `404`, `500-503` or `5xx`, from 400 to 599. Default: all of them.
	Statuses []StatusRange `yaml:"statuses"`
	// JSON is the form for `application/json`. It must be JSON with its fields filled
	// in. Default: the problem document.
	JSON PageText `yaml:"json"`
	// HTML is the form for `text/html`. Default: none.
	HTML PageText `yaml:"html"`
	// Text is the form for `text/plain`. Default: none.
	Text PageText `yaml:"text"`
}

// PageText is the text itself, or `{file: page.html}`.
type PageText struct {
	// File holds the text. It is read when the configuration is loaded, and again
	// with every reload; relative paths start at the file that names it. At most
	// 1MiB. Required.
	File kind.Path `yaml:"file"`

	text string
}

// UnmarshalText reads the short form, which is the text alone.
func (p *PageText) UnmarshalText(text []byte) error {
	*p = PageText{text: string(text)}
	return nil
}

// Validate refuses a form that is there and says nothing.
func (p PageText) Validate() error {
	if !p.given() {
		return kind.At("", "is empty; write the text of the page, or {file: NAME}")
	}
	return nil
}

func (p PageText) given() bool { return p.text != "" || p.File != "" }

// Validate refuses pages that nobody ever sees.
func (c ErrorPagesConfig) Validate() error {
	if len(c.Pages) == 0 {
		return kind.At("pages", "names no page")
	}
	var errs []error
	var taken [maxErrorStatus + 1]bool
	for i, p := range c.Pages {
		path := fmt.Sprintf("pages[%d]", i)
		if !p.JSON.given() && !p.HTML.given() && !p.Text.given() {
			errs = append(errs, kind.At(path, "has no form; give json, html or text"))
		}
		news := false
		for _, s := range p.ranges() {
			for status := s.From; status <= s.To; status++ {
				news = news || !taken[status]
				taken[status] = true
			}
		}
		if !news {
			errs = append(errs, kind.At(path, "is never used: pages before it have all of its statuses"))
		}
	}
	return errors.Join(errs...)
}

func (p ErrorPage) ranges() []StatusRange {
	if len(p.Statuses) == 0 {
		return []StatusRange{{minErrorStatus, maxErrorStatus}}
	}
	return p.Statuses
}

// errorPages are pages at work. They never change.
type errorPages struct {
	byStatus [maxErrorStatus + 1]*pageForms
	upstream bool
	outer    gateway.Pages // for statuses without a page; nil: none
}

// NewErrorPages makes the pages of a whole configuration.
func NewErrorPages(c ErrorPagesConfig) (gateway.Pages, error) {
	m, err := readErrorPages(c)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func readErrorPages(c ErrorPagesConfig) (*errorPages, error) {
	m := &errorPages{upstream: c.Upstream}
	var errs []error
	for i, p := range c.Pages {
		forms, err := newPageForms(p, fmt.Sprintf("pages[%d]", i))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, s := range p.ranges() {
			for status := s.From; status <= s.To; status++ {
				if m.byStatus[status] == nil {
					m.byStatus[status] = forms
				}
			}
		}
	}
	return m, errors.Join(errs...)
}

func newErrorPages(c ErrorPagesConfig, env Env) (gateway.Step, error) {
	m, err := readErrorPages(c)
	if err != nil {
		return gateway.Step{}, err
	}
	m.outer = env.Pages
	text := "error answers have pages for " + statusesOf(c)
	if c.Upstream {
		text += ", those of the upstream too"
	}
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				gateway.ExchangeOf(r).Pages = m
				next.ServeHTTP(w, r)
			})
		},
		Explain: func(_ *http.Request, x *gateway.Exchange) string {
			x.Pages = m
			return text
		},
	}, nil
}

func statusesOf(c ErrorPagesConfig) string {
	var all []string
	for _, p := range c.Pages {
		for _, s := range p.ranges() {
			all = append(all, s.String())
		}
	}
	return strings.Join(all, ", ")
}

// upstreamAnswer is the reason of an error that the upstream has answered.
const upstreamAnswer = "upstream_answer"

// Page implements gateway.Pages.
func (m *errorPages) Page(r *http.Request, status int, reason string) gateway.Page {
	var forms *pageForms
	if status <= maxErrorStatus && (reason != "" || m.upstream) {
		forms = m.byStatus[status]
	}
	if forms == nil {
		if m.outer == nil {
			return gateway.Page{}
		}
		return m.outer.Page(r, status, reason)
	}
	page := gateway.Page{Vary: true}
	if form := forms.choose(r.Header["Accept"]); form != nil {
		if reason == "" {
			reason = upstreamAnswer
		}
		page.MediaType, page.Body = form.mediaType, form.fill(status, reason, gateway.ExchangeOf(r).ID)
	}
	return page
}

// newPageForms reads the texts of a page, which stands at path.
func newPageForms(p ErrorPage, path string) (*pageForms, error) {
	forms := &pageForms{}
	var errs []error
	for _, f := range []struct {
		name string
		text PageText
		kind formKind
		to   **pageForm
	}{
		{"json", p.JSON, jsonForm, &forms.json}, {"html", p.HTML, htmlForm, &forms.html}, {"text", p.Text, textForm, &forms.text},
	} {
		if !f.text.given() {
			continue
		}
		text, at := f.text.text, path+"."+f.name
		if f.text.File != "" {
			body, err := readSmall(string(f.text.File))
			if err != nil {
				errs = append(errs, kind.At(at+".file", "%w", err))
				continue
			}
			text, at = string(body), at+".file"
		}
		form, err := newPageForm(f.kind, text)
		if err != nil {
			errs = append(errs, kind.At(at, "%w", err))
			continue
		}
		*f.to = form
	}
	return forms, errors.Join(errs...)
}
