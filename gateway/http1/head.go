package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/grammar"
)

// version is how each answer begins.
const version = "HTTP/1."

// head is the beginning of an answer.
type head struct {
	minor  int // of HTTP/1.x
	status int
	text   string // status and reason
	fields http.Header
}

// readHead reads up to and including the empty line. started says that something
// has come.
func (r *reader) readHead(most int, started *bool) (head, error) {
	for len(r.buffered()) == 0 {
		if err := r.fill(); err != nil {
			return head{}, err
		}
	}
	*started = true
	// What is not HTTP is not waited for: it may have no lines at all.
	if b := r.buffered(); string(b[:min(len(b), len(version))]) != version[:min(len(b), len(version))] {
		return head{}, &AnswerError{"bad status line " + quote(string(b[:min(len(b), shown)]))}
	}
	text, err := r.block(most)
	if err != nil {
		return head{}, truncated(err)
	}
	line, rest := cutLine(text)
	h, err := statusLine(line)
	if err != nil {
		return head{}, err
	}
	h.fields, err = parseFields(rest)
	return h, err
}

// block returns lines up to an empty one, without that.
func (r *reader) block(most int) (string, error) {
	for from := 0; ; {
		b := r.buffered()
		text, whole, next := untilEmptyLine(b, from)
		if whole > 0 && whole <= most {
			r.r += whole
			return string(b[:text]), nil
		}
		if from = next; whole > 0 || len(b) >= most {
			return "", &AnswerError{"its head is too large"}
		}
		if err := r.fill(); err != nil {
			return "", err
		}
	}
}

// untilEmptyLine finds the end of the lines and of the empty line after them; 0 and
// 0 if it is not there yet, and then where to look next.
func untilEmptyLine(b []byte, from int) (text, whole, next int) {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0, 0, len(b)
		}
		i += n + 1
		switch {
		case i < len(b) && b[i] == '\n':
			return i, i + 1, 0
		case i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n':
			return i, i + 2, 0
		case i+1 >= len(b):
			return 0, 0, i - 1 // the line's end again: what follows it is not known
		}
	}
}

// cutLine takes the first line off, and its end.
func cutLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// statusLine reads "HTTP/1.1 200 OK"; the reason may be missing, with its space.
func statusLine(line string) (head, error) {
	if len(line) < len(version)+len("1 200") || line[:len(version)] != version || line[8] != ' ' ||
		line[7] != '0' && line[7] != '1' || len(line) > 12 && line[12] != ' ' {
		return head{}, &AnswerError{"bad status line " + quote(line)}
	}
	h := head{minor: int(line[7] - '0'), text: line[9:]}
	for _, c := range []byte(line[9:12]) {
		if c < '0' || c > '9' {
			return head{}, &AnswerError{"bad status line " + quote(line)}
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || !grammar.IsValue(h.text) {
		return head{}, &AnswerError{"bad status line " + quote(line)}
	}
	return h, nil
}

// maxLines bounds the lines of a head: the table of many short ones takes many times
// the memory of their text.
const maxLines = 1000

// parseFields reads header lines. All strings of the result are parts of text.
func parseFields(text string) (http.Header, error) {
	n := strings.Count(text, "\n")
	if n > maxLines {
		return nil, &AnswerError{"too many header lines"}
	}
	t := newTable(n)
	for text != "" {
		var line string
		line, text = cutLine(text)
		if goesOn(text) {
			line, text = unfold(line, text)
		}
		name, value, found := strings.Cut(line, ":")
		if !found || !grammar.IsToken(name) {
			return nil, &AnswerError{"bad header line " + quote(line)}
		}
		value = grammar.Trim(value)
		if !grammar.IsValue(value) {
			return nil, &AnswerError{"a control byte in " + name}
		}
		t.add(name, value)
	}
	return t.fields, nil
}

// table collects the fields of a head. The values of those that are there once share an
// array.
type table struct {
	fields http.Header
	values []string
}

// newTable has room for n lines.
func newTable(n int) table { return table{make(http.Header, n), make([]string, 0, n)} }

func (t *table) add(name, value string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	if former := t.fields[name]; former != nil {
		t.fields[name] = append(former, value)
		return
	}
	t.values = append(t.values, value)
	end := len(t.values)
	t.fields[name] = t.values[end-1 : end : end]
}

// goesOn says whether the line before text is folded (RFC 9112 section 5.2).
func goesOn(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

// unfold joins a line and those that continue it, all at once: one by one, many of
// them would be copied as often as there are.
func unfold(line, text string) (whole, rest string) {
	var b strings.Builder
	b.WriteString(strings.TrimRight(line, " \t"))
	for goesOn(text) {
		line, text = cutLine(text)
		b.WriteByte(' ')
		b.WriteString(grammar.Trim(line))
	}
	return b.String(), text
}

// quote shows what came, but not all of it.
func quote(s string) string { return strconv.Quote(s[:min(len(s), shown)]) }

// shown is how much of a bad line errors tell.
const shown = 64

// framing is where the body of an answer ends.
type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// frame says where the body ends, and how long it is; lengthUnknown is not known.
// It follows RFC 9112 section 6.3, and refuses what that lets a recipient refuse.
func (h *head) frame(method string) (framing, int64, error) {
	length, err := contentLength(h.fields)
	if err != nil {
		return noBody, 0, err
	}
	chunks := false
	if codings, ok := h.fields["Transfer-Encoding"]; ok {
		switch {
		case h.minor == 0:
			return noBody, 0, &AnswerError{"a transfer coding in HTTP/1.0"}
		case length != lengthUnknown:
			return noBody, 0, &AnswerError{"a length and a transfer coding"}
		case len(codings) != 1 || !strings.EqualFold(codings[0], "chunked"):
			return noBody, 0, &AnswerError{"transfer coding " + quote(strings.Join(codings, ", "))}
		}
		delete(h.fields, "Transfer-Encoding")
		chunks = true
	}
	switch {
	case method == http.MethodHead:
		return noBody, length, nil
	case h.status < 200, h.status == http.StatusNoContent, h.status == http.StatusNotModified, length == 0:
		return noBody, 0, nil
	case chunks:
		return byChunks, lengthUnknown, nil
	case length > 0:
		return byLength, length, nil
	}
	return byClose, lengthUnknown, nil
}

// contentLength is the value of the field; lengthUnknown if there is none. Equal
// values are one value (RFC 9112 section 6.3, 5).
func contentLength(fields http.Header) (int64, error) {
	values := fields["Content-Length"]
	if len(values) == 0 {
		return lengthUnknown, nil
	}
	for _, other := range values[1:] {
		if other != values[0] {
			return 0, &AnswerError{"lengths that differ"}
		}
	}
	if len(values) > 1 {
		fields["Content-Length"] = values[:1]
	}
	n, err := strconv.ParseUint(values[0], 10, 63)
	if err != nil {
		return 0, &AnswerError{"bad length " + quote(values[0])}
	}
	return int64(n), nil
}

// announced are the names of the trailers that are to come.
func (h *head) announced() (http.Header, error) {
	lists, ok := h.fields["Trailer"]
	if !ok {
		return nil, nil
	}
	trailer := make(http.Header)
	for name := range grammar.Elements(lists) {
		if !grammar.IsToken(name) || isFraming(name) {
			return nil, &AnswerError{"bad trailer " + quote(name)}
		}
		trailer[textproto.CanonicalMIMEHeaderKey(name)] = nil
	}
	delete(h.fields, "Trailer")
	return trailer, nil
}
