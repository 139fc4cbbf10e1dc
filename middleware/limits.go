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
	kind.Add(Kinds, "limits", LimitsConfig{}, newLimits)
}

// LimitsConfig holds the requests of a route to tighter bounds than the `limits` of the listener,
// which come first. What is not given is not bounded here.
//
//	limits: {header_bytes: 4KiB, query_params: 20, content_types: [application/json]}
//
// The size of bodies is bounded by `body_limit` of the route, and its methods by `methods` of the match.
type LimitsConfig struct {
	// HeaderBytes bounds all names and values of header fields together, 4 bytes added for
	// each line; more is a 431. Default: that of the listener.
	HeaderBytes kind.Size `yaml:"header_bytes"`
	// HeaderFields bounds the number of header lines; more is a 431. Default: that of the listener.
	HeaderFields int `yaml:"header_fields"`
	// HeaderValue bounds the value of each line; more is a 431. Default: none.
	HeaderValue kind.Size `yaml:"header_value"`
	// Cookies bounds the number of cookies; more is a 431. Default: that of the listener.
	Cookies int `yaml:"cookies"`
	// Path bounds the length of the path as it was sent; more is a 414. Default: none.
	Path kind.Size `yaml:"path"`
	// Segments bounds the number of segments of the path: `/v1/orders` has 2; more is a 414. Default: none.
	Segments int `yaml:"segments"`
	// Query bounds the length of the query; more is a 414. Default: none.
	Query kind.Size `yaml:"query"`
	// QueryParams bounds the number of query parameters; more is a 400. Default: that of the listener.
	QueryParams int `yaml:"query_params"`
	// UniqueParams refuses queries that have a parameter twice, of which two readers may
	// believe different ones: 400. Default: false.
	UniqueParams bool `yaml:"unique_params"`
	// ContentTypes are the media types that a body may have: `application/json`, or `image/*`.
	// Parameters such as charset do not matter. Others, and a body without one, are a 415. Default: all.
	ContentTypes []string `yaml:"content_types"`
}

// Validate refuses bounds that bound nothing.
func (c LimitsConfig) Validate() error {
	var errs []error
	given := c.UniqueParams || len(c.ContentTypes) > 0
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"header_bytes", int64(c.HeaderBytes)},
		{"header_fields", int64(c.HeaderFields)},
		{"header_value", int64(c.HeaderValue)},
		{"cookies", int64(c.Cookies)},
		{"path", int64(c.Path)},
		{"segments", int64(c.Segments)},
		{"query", int64(c.Query)},
		{"query_params", int64(c.QueryParams)},
	} {
		given = given || n.value > 0
		if n.value < 0 {
			errs = append(errs, kind.At(n.name, "must not be negative"))
		}
	}
	if !given && len(errs) == 0 {
		errs = append(errs, kind.At("", "bounds nothing; name at least one bound"))
	}
	_, err := newMediaTypes("content_types", c.ContentTypes)
	return errors.Join(append(errs, err)...)
}

// limitRefusals are made once: who is refused is not to cost memory.
var (
	errManyBytes   = tooLarge("limit_header_bytes", "the header is larger than this route allows")
	errManyFields  = tooLarge("limit_header_fields", "the header has more lines than this route allows")
	errLongValue   = tooLarge("limit_header_value", "a header line is longer than this route allows")
	errManyCookies = tooLarge("limit_cookies", "the request has more cookies than this route allows")
	errLongPath    = overLimit(http.StatusRequestURITooLong, "limit_path", "the path is longer than this route allows")
	errSegments    = overLimit(http.StatusRequestURITooLong, "limit_segments", "the path has more segments than this route allows")
	errLongQuery   = overLimit(http.StatusRequestURITooLong, "limit_query", "the query is longer than this route allows")
	errManyParams  = overLimit(http.StatusBadRequest, "limit_query_params", "the query has more parameters than this route allows")
	errTwiceParam  = overLimit(http.StatusBadRequest, "limit_unique_params", "the query has a parameter twice")
	errContentType = overLimit(http.StatusUnsupportedMediaType, "limit_content_type", "this route does not take bodies of this type")
)

func overLimit(status int, reason, msg string) *gateway.Error {
	return &gateway.Error{Status: status, Reason: reason, Msg: msg, Cause: gateway.CauseClient}
}

func tooLarge(reason, msg string) *gateway.Error {
	return overLimit(http.StatusRequestHeaderFieldsTooLarge, reason, msg)
}

// limits is the running middleware.
type limits struct {
	LimitsConfig
	types mediaTypes
}

func newLimits(c LimitsConfig, _ Env) (gateway.Step, error) {
	m := &limits{LimitsConfig: c}
	var err error
	if m.types, err = newMediaTypes("content_types", c.ContentTypes); err != nil {
		return gateway.Step{}, err
	}
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if e := m.judge(r); e != nil {
					gateway.Fail(w, r, e)
					return
				}
				next.ServeHTTP(w, r)
			})
		},
		Explain: func(r *http.Request, x *gateway.Exchange) string {
			e := m.judge(r)
			if e == nil {
				return "is within the limits"
			}
			x.Status = e.Status
			return fmt.Sprintf("answers %d (%s): %s", e.Status, e.Reason, e.Msg)
		},
	}, nil
}

// over says whether there is a bound, and n is beyond it.
func over[N int | kind.Size](n int, bound N) bool { return bound > 0 && n > int(bound) }

func (m *limits) judge(r *http.Request) *gateway.Error {
	if e := m.judgeHeader(r); e != nil {
		return e
	}
	path := r.URL.EscapedPath()
	switch {
	case over(len(path), m.Path):
		return errLongPath
	case over(segmentsOf(path), m.Segments):
		return errSegments
	case over(len(r.URL.RawQuery), m.Query):
		return errLongQuery
	}
	if e := m.judgeQuery(r.URL.RawQuery); e != nil {
		return e
	}
	if m.types != nil && r.ContentLength != 0 {
		values := r.Header["Content-Type"]
		if len(values) != 1 || !m.types.has(values[0]) {
			return errContentType
		}
	}
	return nil
}

func (m *limits) judgeHeader(r *http.Request) *gateway.Error {
	fields, bytes, longest := 0, 0, 0
	for name, values := range r.Header {
		fields += len(values)
		for _, v := range values {
			bytes += len(name) + len(v) + len(": \r\n")
			longest = max(longest, len(v))
		}
	}
	switch {
	case over(fields, m.HeaderFields):
		return errManyFields
	case over(bytes, m.HeaderBytes):
		return errManyBytes
	case over(longest, m.HeaderValue):
		return errLongValue
	case m.Cookies > 0 && over(cookiesOf(r.Header), m.Cookies):
		return errManyCookies
	}
	return nil
}

func cookiesOf(h http.Header) (n int) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			if strings.Trim(pair, " \t") != "" {
				n++
			}
		}
	}
	return n
}

func segmentsOf(path string) int {
	path = strings.Trim(path, "/")
	if path == "" {
		return 0
	}
	return strings.Count(path, "/") + 1
}

// judgeQuery counts and compares as an upstream does. Semicolons and wrong escapes, which some
// read differently, have been refused by the canonical view (CVE-2026-39825).
func (m *limits) judgeQuery(query string) *gateway.Error {
	if m.QueryParams == 0 && !m.UniqueParams || query == "" {
		return nil
	}
	if over(strings.Count(query, "&")+1, m.QueryParams) {
		return errManyParams
	}
	if !m.UniqueParams {
		return nil
	}
	seen := make(map[string]bool)
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		name = paramName(name)
		if seen[name] {
			return errTwiceParam
		}
		seen[name] = pair != ""
	}
	return nil
}
