package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "headers", HeadersConfig{}, newHeaders)
}

// HeadersConfig changes headers of the request that goes upstream and of the
// answer. Of one block, the removals come first, then what is set, then what is
// added.
//
//	headers:
//	  request: {set: {X-Env: prod}, remove: [X-Debug]}
//	  response: {set: {X-Frame-Options: DENY}, add: {Vary: Accept-Language}, remove: [Server]}
//
// The values are fixed. Headers that belong to one connection, or that say where
// a message goes or ends, cannot be changed: Connection, Content-Length, Host,
// Transfer-Encoding and their like.
type HeadersConfig struct {
	// Request changes what the upstream gets, the headers that the gateway sends
	// by itself included. A client can neither forge nor take away what is set
	// here. Other middlewares, and the match, see the headers as the client sent them.
	Request HeaderEdits `yaml:"request"`
	// Response changes every answer that passes the block: those of the upstream, of
	// middlewares that come after it, and the gateway's own when the upstream
	// fails. Interim answers (1xx), the handshake of a WebSocket and trailers
	// stay as they are.
	Response HeaderEdits `yaml:"response"`
}

// HeaderEdits are changes of the headers of one message.
type HeaderEdits struct {
	// Set gives headers one value, instead of all that they had. Default: none.
	Set map[string]string `yaml:"set"`
	// Add gives headers a further value, in a line of its own. Default: none.
	Add map[string]string `yaml:"add"`
	// Remove takes headers away. Default: none.
	Remove []string `yaml:"remove"`
}

// Validate refuses a block that changes nothing.
func (c HeadersConfig) Validate() error {
	if c.Request.empty() && c.Response.empty() {
		return kind.At("", "changes nothing; give set, add or remove under request or response")
	}
	return nil
}

func (e HeaderEdits) empty() bool { return len(e.Set)+len(e.Add)+len(e.Remove) == 0 }

// Validate checks names and values, and that no edit makes another one useless.
func (e HeaderEdits) Validate() error {
	errs := []error{validateHeaderLines("set", e.Set), validateHeaderLines("add", e.Add)}
	for i, name := range e.Remove {
		path := fmt.Sprintf("remove[%d]", i)
		same := func(other string) bool { return strings.EqualFold(name, other) }
		switch {
		case slices.ContainsFunc(e.Remove[:i], same):
			errs = append(errs, kind.At(path, "%s stands here a second time", name))
		case slices.ContainsFunc(sortedKeys(e.Set), same):
			errs = append(errs, kind.At(path, "%s is set here too, which replaces all that it had", name))
		}
		errs = append(errs, validateHeaderName(path, name))
	}
	return errors.Join(errs...)
}

// validateHeaderLines checks headers with the value that each is to get. Names
// that differ only in case would be one header with a value that nobody can foretell.
func validateHeaderLines(path string, lines map[string]string) error {
	var errs []error
	seen := make(map[string]bool)
	for _, name := range sortedKeys(lines) {
		at := path + "." + name
		if seen[strings.ToLower(name)] {
			errs = append(errs, kind.At(at, "%s stands here a second time", name))
		}
		seen[strings.ToLower(name)] = true
		errs = append(errs, validateHeaderName(at, name))
		if lines[name] == "" {
			errs = append(errs, kind.At(at, "has no value; to take a header away, write it under remove"))
		} else if !isHeaderValue(lines[name]) {
			errs = append(errs, kind.At(at, "the value begins or ends with a space, or holds a control character"))
		}
	}
	return errors.Join(errs...)
}

func validateHeaderName(path, name string) error {
	switch {
	case !grammar.IsToken(name):
		return kind.At(path, "%q is no name of a header", name)
	case strings.EqualFold(name, "host"):
		return kind.At(path, "Host is no header that can be changed here; use rewrite: {host: ...}")
	case slices.Contains(untouchable, http.CanonicalHeaderKey(separators.Replace(name))):
		return kind.At(path, "%s belongs to the connection or frames the message, and is the gateway's own", name)
	}
	return nil
}

// untouchable are the headers of RFC 9110, section 7.6.1, those of before it, and
// those that say where a message ends and how its body comes.
var untouchable = []string{
	"Connection", "Content-Length", "Expect", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// separators make the names that many servers take for the same the same:
// Transfer_Encoding is Transfer-Encoding to them.
var separators = strings.NewReplacer("_", "-", ".", "-")

// isHeaderValue says whether s can be sent and arrives as it is (RFC 9110, 5.5).
func isHeaderValue(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

// headerEdits are edits ready to be made. They never change, and all messages
// share their lists.
type headerEdits struct {
	remove   []string // canonical
	set, add []headerLine
	edit     func(http.Header) // answer, made once so that no request has to
}

// headerLine is a header with its one value.
type headerLine struct {
	name   string // canonical
	values []string
}

func newHeaderEdits(c HeaderEdits) *headerEdits {
	e := &headerEdits{set: headerLines(c.Set), add: headerLines(c.Add)}
	for _, name := range c.Remove {
		e.remove = append(e.remove, http.CanonicalHeaderKey(name))
	}
	e.edit = e.answer
	return e
}

func headerLines(m map[string]string) (all []headerLine) {
	for _, name := range sortedKeys(m) {
		all = append(all, headerLine{http.CanonicalHeaderKey(name), []string{m[name]}})
	}
	return all
}

// upstream makes the edits in the request that goes upstream.
func (e *headerEdits) upstream(x *gateway.Exchange) {
	for _, name := range e.remove {
		x.DropUpstreamHeader(name)
	}
	for _, line := range e.set {
		x.SetUpstreamHeader(line.name, line.values[0])
	}
	for _, line := range e.add {
		x.AddUpstreamHeader(line.name, line.values[0])
	}
}

// answer makes the edits in the head of an answer. A header that is removed stays
// in h without a value, since net/http puts in a Date or a Content-Type that is
// not there at all.
func (e *headerEdits) answer(h http.Header) {
	for _, name := range e.remove {
		h[name] = nil
	}
	for _, line := range e.set {
		h[line.name] = line.values
	}
	for _, line := range e.add {
		h[line.name] = slices.Concat(h[line.name], line.values)
	}
}

// serve has next answer, and makes the edits in the head of what it says.
func (e *headerEdits) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	hw := &headWriter{ResponseWriter: w, edit: e.edit}
	next.ServeHTTP(hw, r)
	hw.finish() // nothing was written: net/http is going to send an empty answer
}

// String tells the edits. Values may be secrets.
func (e *headerEdits) String() string {
	if e == nil {
		return ""
	}
	var parts []string
	for _, name := range e.remove {
		parts = append(parts, "remove "+name)
	}
	for _, line := range e.set {
		parts = append(parts, "set "+line.name)
	}
	for _, line := range e.add {
		parts = append(parts, "add "+line.name)
	}
	return strings.Join(parts, ", ")
}

// editsOf tells the edits of request and answer; nil has none.
func editsOf(request, response *headerEdits) string {
	var does []string
	if text := request.String(); text != "" {
		does = append(does, "request: "+text)
	}
	if text := response.String(); text != "" {
		does = append(does, "response: "+text)
	}
	return strings.Join(does, "; ")
}

func newHeaders(c HeadersConfig, _ Env) (gateway.Step, error) {
	request, response := newHeaderEdits(c.Request), newHeaderEdits(c.Response)
	text, answers := editsOf(request, response), !c.Response.empty()
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				request.upstream(gateway.ExchangeOf(r))
				if !answers {
					next.ServeHTTP(w, r)
					return
				}
				response.serve(next, w, r)
			})
		},
		Explain: func(*http.Request, *gateway.Exchange) string { return text },
	}, nil
}
