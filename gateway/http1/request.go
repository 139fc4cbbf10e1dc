package http1

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pithead/pithead/gateway/grammar"
)

// lengthUnknown is the length of a body that goes in chunks.
const lengthUnknown = -1

// bodyLength is the length of a request's body, as net/http's fields say it.
func bodyLength(req *http.Request) int64 {
	switch {
	case !hasBody(req):
		return 0
	case req.ContentLength > 0:
		return req.ContentLength
	}
	return lengthUnknown
}

// draft is where a head is written. Drafts are pooled.
type draft struct {
	head []byte
	keys []string
}

var drafts = sync.Pool{New: func() any { return new(draft) }}

// maxDraft bounds what is kept for the next head.
const maxDraft = 64 << 10

func (d *draft) free() {
	if cap(d.head) <= maxDraft {
		clear(d.keys) // they belong to a request
		d.head, d.keys = d.head[:0], d.keys[:0]
		drafts.Put(d)
	}
}

// write drafts the head of a request. Fields go in the order of their names, after
// Host and framing, so that equal requests are equal bytes.
func (d *draft) write(req *http.Request, shut bool) error {
	method := req.Method
	if method == "" {
		method = http.MethodGet
	}
	if !grammar.IsToken(method) {
		return &RequestError{"bad method " + strconv.Quote(method)}
	}
	target := req.URL.RequestURI()
	if target[0] != '/' && target != "*" && req.URL.Opaque == "" {
		return &RequestError{"the target is no path: " + strconv.Quote(target)}
	}
	if !grammar.IsTarget(target) {
		return &RequestError{"a space or control byte in the target"}
	}
	host := req.Host
	if host == "" {
		host = req.URL.Host
	}
	if host = withoutZone(host); !grammar.IsTarget(host) {
		return &RequestError{"bad Host " + strconv.Quote(host)}
	}
	b := append(append(append(d.head, method...), ' '), target...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), host...), "\r\n"...)
	for name := range req.Trailer {
		if !grammar.IsToken(name) || isFraming(name) {
			return &RequestError{"bad trailer " + strconv.Quote(name)}
		}
	}
	b = appendFraming(b, req, method)
	if shut && !grammar.HasToken(req.Header["Connection"], "close") && req.Header["Upgrade"] == nil {
		b = append(b, "Connection: close\r\n"...)
	}
	d.head = b
	if err := d.fields(req.Header); err != nil {
		return err
	}
	d.head = append(d.head, "\r\n"...)
	return nil
}

// appendFraming says where the body ends. A method that usually has a body says so
// even if there is none (RFC 9110 section 8.6).
func appendFraming(b []byte, req *http.Request, method string) []byte {
	switch n := bodyLength(req); {
	case n > 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), n, 10), "\r\n"...)
	case n == lengthUnknown:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
		b = appendTrailerNames(b, req.Trailer)
	case method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch:
		b = append(b, "Content-Length: 0\r\n"...)
	}
	return b
}

func appendTrailerNames(b []byte, trailer http.Header) []byte {
	if len(trailer) == 0 {
		return b
	}
	names := slices.Sorted(maps.Keys(trailer))
	return append(append(append(b, "Trailer: "...), strings.Join(names, ", ")...), "\r\n"...)
}

// fields appends what is not written by itself. An empty User-Agent is how
// net/http's users say that they want none.
func (d *draft) fields(h http.Header) error {
	d.keys = d.keys[:0]
	for name := range h {
		if !isFraming(name) && !strings.EqualFold(name, "Host") {
			d.keys = append(d.keys, name)
		}
	}
	slices.Sort(d.keys)
	for _, name := range d.keys {
		if !grammar.IsToken(name) {
			return &RequestError{"bad field name " + strconv.Quote(name)}
		}
		for _, value := range h[name] {
			if !grammar.IsValue(value) {
				return &RequestError{"a control byte in " + name}
			}
			if value == "" && name == "User-Agent" {
				continue
			}
			d.head = append(append(append(append(d.head, name...), ": "...), grammar.Trim(value)...), "\r\n"...)
		}
	}
	return nil
}

// isFraming says whether a field says where a message ends, which nobody but its
// writer knows. The case counts for nothing: a server would not look at it either.
func isFraming(name string) bool {
	switch len(name) {
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer")
	case len("Content-Length"):
		return strings.EqualFold(name, "Content-Length")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

// withoutZone takes the zone of an IPv6 address away, which is this machine's own
// affair (RFC 6874 section 4).
func withoutZone(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.IndexByte(host, ']')
	zone := strings.IndexByte(host, '%')
	if zone < 0 || end < zone {
		return host
	}
	return host[:zone] + host[end:]
}
