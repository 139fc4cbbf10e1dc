package canon

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// headers makes the header of r canonical. One pass over the map finds what
// needs a second look; most requests have little of that.
func (p *Policy) headers(r *http.Request, x *gateway.Exchange) error {
	h := r.Header
	lines, seen := 0, trait(0)
	for name, values := range h {
		lines += len(values)
		traits, found := p.names.find(name)
		if !found {
			if !canonicalName(name) {
				if err := p.oddName(h, name); err != nil {
					return err
				}
				continue
			}
			traits = ofFamily(name)
		}
		if traits == 0 {
			continue
		}
		seen |= traits
		if traits&single != 0 && len(values) > 1 && traits&strip == 0 {
			return gateway.BadRequest("duplicate_header", "the request has two lines of a header of which there is one")
		}
		if traits&strip != 0 && (traits&believed == 0 || !x.Trusted) {
			delete(h, name)
		}
	}
	if lines > p.headerFields {
		return tooManyFields("header_fields", "the request has too many header lines")
	}
	if len(r.Trailer) > 0 {
		if err := p.trailer(r.Trailer); err != nil {
			return err
		}
	}
	if seen&special == 0 {
		return nil
	}
	return p.specialHeaders(r, x, seen)
}

// specialHeaders applies the rules that single headers have. Connection comes
// first, because it takes others away.
func (p *Policy) specialHeaders(r *http.Request, x *gateway.Exchange, seen trait) error {
	if seen&never != 0 {
		return gateway.BadRequest("bad_framing", "the framing of the request is ambiguous")
	}
	if seen&length != 0 && !saysLength(r.Header.Get("Content-Length"), r.ContentLength) {
		return gateway.BadRequest("bad_framing", "the length of the request is no number")
	}
	if seen&hostLine != 0 {
		// HTTP/2 may carry a Host field beside :authority (RFC 9113, 8.3.1).
		if !strings.EqualFold(r.Header.Get("Host"), r.Host) {
			return gateway.BadRequest("host_mismatch", "the request names two hosts")
		}
		delete(r.Header, "Host")
	}
	if seen&(connection|upgrade) != 0 {
		if err := p.connection(r); err != nil {
			return err
		}
	}
	if seen&expect != 0 {
		if err := expectation(r); err != nil {
			return err
		}
	}
	if seen&te != 0 {
		acceptedTrailers(r.Header)
	}
	if seen&requestID != 0 {
		if ids := r.Header["X-Request-Id"]; len(ids) == 1 && RequestID(ids[0]) {
			x.ID = ids[0]
		} else {
			delete(r.Header, "X-Request-Id")
		}
	}
	if seen&trace != 0 {
		traceContext(r.Header)
	}
	if seen&cookie != 0 {
		return p.cookieLine(r.Header)
	}
	return nil
}

// saysLength says whether the value of Content-Length is the length that the
// server goes by. On HTTP/2, net/http takes a value that is no number for zero and
// lets a request go on without its body.
func saysLength(value string, length int64) bool {
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return false
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	return err == nil && n == length
}

// oddName deals with a name that has other characters than letters, digits and
// dashes, or a spelling that no parser of net/http leaves behind, and that the operator
// does not keep. When it can be taken for the name of a header that somebody
// decides on, the request is refused (CVE-2025-64484, CVE-2026-54763); else
// only the line goes.
func (p *Policy) oddName(h http.Header, name string) error {
	for i := range len(name) {
		if nameBytes[name[i]]&nameBad != 0 {
			return gateway.BadRequest("bad_header", "the name of a header is no token")
		}
	}
	if p.names.ofAlias(name)&known != 0 {
		return gateway.BadRequest("header_alias", "the name of a header can be taken for another one")
	}
	delete(h, name)
	return nil
}

// trailer refuses announcements of trailers that would count as a header if a
// server merged them (RFC 9110, 6.5.1).
func (p *Policy) trailer(announced http.Header) error {
	for name := range announced {
		if !canonicalName(name) || p.names.of(name)&known != 0 {
			return gateway.BadRequest("bad_trailer", "the request announces a trailer that must not be one")
		}
	}
	return nil
}

// cookieLine counts cookies and joins their lines as HTTP/2 has it
// (RFC 9113, 8.2.3): an HTTP/1 client sends one line, and of two, servers
// read the first, the last or both.
func (p *Policy) cookieLine(h http.Header) error {
	lines := h["Cookie"]
	if len(lines) > 1 {
		lines = []string{strings.Join(lines, "; ")}
		h["Cookie"] = lines
	}
	if len(lines) == 1 && strings.Count(lines[0], ";") >= p.cookies {
		return tooManyFields("cookies", "the request has too many cookies")
	}
	return nil
}

func tooManyFields(reason, msg string) error {
	e := gateway.BadRequest(reason, msg)
	e.Status = http.StatusRequestHeaderFieldsTooLarge
	return e
}

// maxRequestID is longer than any of the usual formats.
const maxRequestID = 128

// RequestID says whether s may serve as a request id: 1 to 128 letters, digits,
// dots, underscores and dashes, which is safe in every log and header.
func RequestID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphaNum(c) && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
