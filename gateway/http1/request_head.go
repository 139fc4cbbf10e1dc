package http1

import (
	"bytes"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/grammar"
)

// ClientError is what makes a request invalid.
type ClientError struct {
	Status int    // of the answer, 400 and more
	Reason string // one of a few words
	Msg    string // for the client
}

func (e *ClientError) Error() string { return "the request is invalid: " + e.Msg }

func badRequest(reason, msg string) error { return &ClientError{http.StatusBadRequest, reason, msg} }

// What is wrong with a request, in a word.
const (
	badLine     = "bad_request_line"
	badTarget   = "bad_target"
	badHeader   = "bad_header"
	badHost     = "bad_host"
	badFraming  = "bad_framing"
	badVersion  = "bad_version"
	badMethod   = "bad_method"
	headTooLong = "head_too_large"
)

// errPreface is the beginning of HTTP/2.
var errPreface = errors.New("HTTP/2")

// requestHead is the beginning of a request.
type requestHead struct {
	http.Request // without context, body and address

	minor   int // of HTTP/1.x
	chunked bool
}

// hasHead says whether a whole head is buffered.
func (r *reader) hasHead() bool { return bytes.Contains(r.buffered(), []byte("\r\n\r\n")) }

// begins waits until it is known whether what comes next is text, which it does not take.
func (r *reader) begins(text string) bool {
	for {
		b := r.buffered()
		if n := min(len(b), len(text)); string(b[:n]) != text[:n] || n == len(text) {
			return n == len(text) && string(b[:n]) == text
		}
		if r.fill() != nil {
			return false
		}
	}
}

// push puts a byte behind those that are buffered.
func (r *reader) push(c byte) {
	r.room()
	r.buf[r.w] = c
	r.w++
}

// discard gives the buffer back with all that is in it.
func (r *reader) discard() {
	r.r = r.w
	r.release()
}

// readRequestHead reads up to and including the empty line. Every line ends in CRLF,
// because a reader in front of us may take nothing else for the end of one.
func (r *reader) readRequestHead(most int) (h requestHead, err error) {
	text, err := r.requestBlock(most)
	if err != nil {
		return h, err
	}
	line, rest, _ := strings.Cut(text, "\r\n")
	target, err := h.requestLine(line)
	if err != nil {
		return h, err
	}
	if h.Header, err = requestFields(rest); err != nil {
		return h, err
	}
	if err := h.aim(target); err != nil {
		return h, err
	}
	return h, h.frame()
}

// requestBlock returns the lines of a head without the empty one.
func (r *reader) requestBlock(most int) (string, error) {
	for from, before := 0, true; ; {
		if before && bytes.HasPrefix(r.buffered(), crlf) { // RFC 9112 section 2.2
			r.r += len(crlf)
			before = false
		}
		b := r.buffered()
		if len(b) > 0 && !grammar.IsToken(b[:1]) && (!before || len(b) > 1 || b[0] != '\r') {
			return "", badRequest(badLine, "it does not begin with a method")
		}
		if n := bytes.Index(b[from:], []byte("\r\n\r\n")); n >= 0 && from+n+4 <= most {
			text := string(b[:from+n+2])
			if strings.HasPrefix(preface, text) {
				return "", errPreface
			}
			r.r += from + n + len("\r\n\r\n")
			return text, nil
		} else if n >= 0 || len(b) >= most {
			return "", &ClientError{http.StatusRequestHeaderFieldsTooLarge, headTooLong, "its head is too large"}
		}
		if i := bytes.IndexByte(b[from:], '\n'); i >= 0 && bareLF(b, from) {
			return "", badRequest(badHeader, "a line does not end in CRLF")
		}
		from = max(len(b)-3, 0)
		if err := r.fill(); err != nil {
			return "", err
		}
	}
}

// bareLF says whether there is an LF without a CR from there on. It is looked for
// while the head is not whole, because that may be how it ends.
func bareLF(b []byte, from int) bool {
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			return false
		}
		if from += i; from == 0 || b[from-1] != '\r' {
			return true
		}
		from++
	}
}

// requestLine reads "GET /path HTTP/1.1" (RFC 9112 section 3), with one space in each
// place.
func (h *requestHead) requestLine(line string) (target string, err error) {
	method, rest, _ := strings.Cut(line, " ")
	target, proto, found := strings.Cut(rest, " ")
	if !found || !grammar.IsToken(method) || target == "" || !grammar.IsValue(target) || strings.Contains(target, "\t") {
		return "", badRequest(badLine, "bad request line")
	}
	h.Method, h.RequestURI, h.Proto, h.ProtoMajor = method, target, proto, 1
	switch {
	case proto == "HTTP/1.0":
	case len(proto) != len("HTTP/x.y") || proto[:5] != "HTTP/" || proto[6] != '.' || !digit(proto[5]) || !digit(proto[7]):
		return "", badRequest(badLine, "bad request line")
	case proto[5] != '1':
		return "", &ClientError{http.StatusHTTPVersionNotSupported, badVersion, "its version of HTTP is not supported"}
	case proto[7] != '0':
		h.minor, h.ProtoMinor = 1, int(proto[7]-'0')
	}
	return target, nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// requestFields reads header lines, each with its CRLF. All strings of the result are
// parts of text.
func requestFields(text string) (http.Header, error) {
	n := strings.Count(text, "\n")
	if n > maxLines {
		return nil, &ClientError{http.StatusRequestHeaderFieldsTooLarge, headTooLong, "it has too many header lines"}
	}
	t := newTable(n)
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\r\n")
		name, value, found := strings.Cut(line, ":")
		if !found || !grammar.IsToken(name) { // a folded line, too, has no name
			return nil, badRequest(badHeader, "bad header line")
		}
		value = grammar.Trim(value)
		if !grammar.IsValue(value) {
			return nil, badRequest(badHeader, "a control byte in a header")
		}
		t.add(name, value)
	}
	return t.fields, nil
}

// aim finds out what the request is for: RFC 9112 sections 3.2 and 3.3.
func (h *requestHead) aim(target string) error {
	hosts := h.Header["Host"]
	delete(h.Header, "Host")
	if len(hosts) > 1 || len(hosts) == 0 && h.minor == 1 {
		return badRequest(badHost, "it needs one Host")
	}
	if len(hosts) == 1 {
		h.Host = hosts[0]
	}
	if !grammar.IsTarget(h.Host) {
		return badRequest(badHost, "bad Host")
	}
	if h.Method == http.MethodConnect && target[0] != '/' {
		target = "http://" + target // the host alone
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return badRequest(badTarget, "bad request target")
	}
	if h.Method == http.MethodConnect && h.RequestURI[0] != '/' {
		u.Scheme = ""
	}
	h.URL = u
	if u.Host != "" { // RFC 9112 section 3.2.2: whatever Host says
		h.Host = u.Host
	}
	return nil
}

// frame finds out where the body ends (RFC 9112 section 6.3), and refuses all that
// two readers could disagree about.
func (h *requestHead) frame() error {
	lengths, codings := h.Header["Content-Length"], h.Header["Transfer-Encoding"]
	h.Close = closes(h.minor, h.Header)
	switch {
	case codings != nil && (len(codings) != 1 || !strings.EqualFold(codings[0], "chunked")):
		return &ClientError{http.StatusNotImplemented, badFraming, "its transfer coding is not supported"}
	case codings != nil && h.minor == 0:
		return badRequest(badFraming, "a transfer coding in HTTP/1.0")
	case codings != nil && lengths != nil:
		return badRequest(badFraming, "a length and a transfer coding")
	case codings != nil:
		delete(h.Header, "Transfer-Encoding")
		h.TransferEncoding, h.ContentLength, h.chunked = []string{"chunked"}, lengthUnknown, true
		return h.announced()
	case len(lengths) > 1:
		return badRequest(badFraming, "several lengths")
	case lengths != nil:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil {
			return badRequest(badFraming, "bad length")
		}
		h.ContentLength = int64(n)
	}
	h.Body = http.NoBody
	return nil
}

// closes says whether a sender ends the connection after its message (RFC 9112
// section 9.3).
func closes(minor int, fields http.Header) bool {
	connection := fields["Connection"]
	if minor == 0 {
		return !grammar.HasToken(connection, "keep-alive") || grammar.HasToken(connection, "close")
	}
	return grammar.HasToken(connection, "close")
}

// announced are the names of the trailers that are to come.
func (h *requestHead) announced() error {
	lists, ok := h.Header["Trailer"]
	if !ok {
		return nil
	}
	delete(h.Header, "Trailer")
	h.Trailer = make(http.Header)
	for name := range grammar.Elements(lists) {
		if !grammar.IsToken(name) || isFraming(name) {
			return badRequest(badHeader, "bad trailer")
		}
		h.Trailer[textproto.CanonicalMIMEHeaderKey(name)] = nil
	}
	return nil
}

// expectsContinue says whether the client waits for a word before it sends its body
// (RFC 9110 section 10.1.1).
func expectsContinue(fields http.Header) bool {
	expect := fields["Expect"]
	return len(expect) == 1 && strings.EqualFold(expect[0], "100-continue")
}
