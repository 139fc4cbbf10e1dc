package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "respond", RespondConfig{Status: http.StatusOK}, newRespond)
}

// RespondConfig answers every request by itself, without asking the upstream: a
// page for the time of maintenance, a robots.txt, a path that is no more.
//
//	respond:
//	  status: 503
//	  body: "We are back at noon.\n"
//	  retry_after: 30m
//
// To HEAD it gives the same head. gRPC clients make of the status what their
// table of HTTP statuses says.
type RespondConfig struct {
	// Status of the answer, 200 to 599. Default: 200.
	Status int `yaml:"status"`
	// Body is the text of the answer. Default: none.
	Body string `yaml:"body"`
	// File holds the body. It is read when the configuration is loaded, and again
	// with every reload; relative paths start at the file that names it. At most
	// 1MiB. Default: none.
	File kind.Path `yaml:"file"`
	// ContentType of the body. Default: by the ending of the file, html, json, xml, css,
	// js or svg, else `text/plain; charset=utf-8`.
	ContentType string `yaml:"content_type"`
	// Headers are further headers of the answer. Default: none.
	Headers map[string]string `yaml:"headers"`
	// RetryAfter tells clients when to come again, in whole seconds. Default: they are not told.
	RetryAfter time.Duration `yaml:"retry_after"`
}

// maxRespondFile keeps what every configuration holds in memory small.
const maxRespondFile = 1 << 20

// Validate checks everything but the file.
func (c RespondConfig) Validate() error {
	errs := []error{validateHeaderLines("headers", c.Headers)}
	for _, name := range sortedKeys(c.Headers) {
		switch http.CanonicalHeaderKey(name) {
		case "Content-Type":
			errs = append(errs, kind.At("headers."+name, "has a setting of its own, content_type"))
		case "Retry-After":
			if c.RetryAfter != 0 {
				errs = append(errs, kind.At("headers."+name, "is given by retry_after already"))
			}
		}
	}
	none := c.Body == "" && c.File == ""
	switch {
	case c.Status < 200 || c.Status > 599:
		errs = append(errs, kind.At("status", "%d is not from 200 to 599", c.Status))
	case !none && !bodyAllowed(c.Status):
		errs = append(errs, kind.At("status", "an answer with status %d has no body", c.Status))
	}
	switch {
	case c.Body != "" && c.File != "":
		errs = append(errs, kind.At("file", "body and file exclude each other"))
	case none && c.ContentType != "":
		errs = append(errs, kind.At("content_type", "is of no use without a body or a file"))
	case !isHeaderValue(c.ContentType):
		errs = append(errs, kind.At("content_type", "the value begins or ends with a space, or holds a control character"))
	}
	return errors.Join(errs...)
}

// bodyAllowed says whether an answer may have a body (RFC 9110, 15.3.5, 15.3.6 and 15.4.5).
func bodyAllowed(status int) bool {
	return status != http.StatusNoContent && status != http.StatusResetContent && status != http.StatusNotModified
}

// respond is the running middleware. All answers share its lists.
type respond struct {
	status int
	header []headerLine
	body   []byte
}

func newRespond(c RespondConfig, env Env) (gateway.Step, error) {
	m := &respond{status: c.Status, body: []byte(c.Body), header: headerLines(c.Headers)}
	if c.File != "" {
		var err error
		if m.body, err = readSmall(string(c.File)); err != nil {
			return gateway.Step{}, kind.At("file", "%w", err)
		}
	}
	say := func(name, value string) { m.header = append(m.header, headerLine{name, []string{value}}) }
	if bodyAllowed(c.Status) {
		say("Content-Length", strconv.Itoa(len(m.body)))
	}
	if len(m.body) > 0 {
		say("X-Content-Type-Options", "nosniff")
		if c.ContentType == "" {
			c.ContentType = contentTypeOf(string(c.File))
		}
		say("Content-Type", c.ContentType)
	}
	if c.RetryAfter > 0 {
		say("Retry-After", strconv.FormatInt(int64((c.RetryAfter+time.Second-1)/time.Second), 10))
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, Answers: true}, nil
}

// readSmall reads a file that must say something.
func readSmall(path string) ([]byte, error) {
	body, err := kind.ReadFile(path, maxRespondFile)
	if err == nil && len(body) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return body, err
}

// contentTypeOf does not ask the tables of the system, which differ.
func contentTypeOf(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".html", ".htm":
		return "text/html; charset=utf-8"
	case ".json":
		return "application/json"
	case ".xml":
		return "application/xml"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}

func (m *respond) wrap(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		goesNowhere(gateway.ExchangeOf(r))
		h := w.Header()
		for _, line := range m.header {
			h[line.name] = line.values
		}
		w.WriteHeader(m.status)
		if r.Method != http.MethodHead && len(m.body) > 0 {
			_, _ = w.Write(m.body) // a client that left is noticed by the server
		}
	})
}

// goesNowhere enters in x that the gateway answers by itself, so that logs and
// metrics name no upstream that was not asked.
func goesNowhere(x *gateway.Exchange) {
	x.Cluster, x.Upstream, x.Arm, x.ArmBy, x.Subset = nil, "", "", "", ""
}

func (m *respond) explain(_ *http.Request, x *gateway.Exchange) string {
	goesNowhere(x)
	x.Status = m.status
	return fmt.Sprintf("answers %d with %d bytes", m.status, len(m.body))
}
