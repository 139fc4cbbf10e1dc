package canon

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/pithead/pithead/gateway"
)

// Encoded is a set of characters that may stand percent-encoded in a path
// although decoders disagree about them.
type Encoded uint8

// The characters that a route can allow.
const (
	Slash     Encoded = 1 << iota // %2F
	Percent                       // %25; only for upstreams that decode once
	Semicolon                     // %3B, and ; itself

	// AnyEncoded is all of them.
	AnyEncoded = Slash | Percent | Semicolon
)

var encodedNames = [...]struct {
	name string
	bit  Encoded
}{{"slash", Slash}, {"percent", Percent}, {"semicolon", Semicolon}}

// ParseEncoded reads the names that configuration files use: slash, percent
// and semicolon.
func ParseEncoded(names []string) (Encoded, error) {
	var set Encoded
next:
	for _, name := range names {
		for _, known := range encodedNames {
			if name == known.name {
				set |= known.bit
				continue next
			}
		}
		return 0, fmt.Errorf("unknown character %q; it can be slash, percent or semicolon", name)
	}
	return set, nil
}

// Check refuses what was used but is not in the set. Request runs before the
// match and lets pass whatever any route allows; this is the route's own word.
func (e Encoded) Check(used Encoded) error {
	for _, known := range encodedNames {
		if used&^e&known.bit != 0 {
			return gateway.BadRequest("path_encoded", "the path holds an encoded "+known.name)
		}
	}
	return nil
}

// What a byte may do in a path.
const (
	pathRaw        uint8 = 1 << iota // stands as itself in a canonical path
	pathURL                          // net/url leaves it as it is by default, too
	pathUnreserved                   // is the same with and without percent-encoding (RFC 3986, 2.3)
	pathNever                        // in no form
)

var pathBytes = func() (t [256]uint8) {
	for c := range 0x20 {
		t[c] = pathNever
	}
	for _, c := range []byte("\\?#\x7f") {
		t[c] = pathNever
	}
	for c := range 256 {
		if isAlphaNum(byte(c)) {
			t[c] = pathRaw | pathURL | pathUnreserved
		}
	}
	for _, c := range []byte("-._~") {
		t[c] = pathRaw | pathURL | pathUnreserved
	}
	for _, c := range []byte("/$&+,=:@") {
		t[c] = pathRaw | pathURL
	}
	for _, c := range []byte("!'()*") {
		t[c] = pathRaw
	}
	return t
}()

func isAlphaNum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Path makes the canonical form of an escaped path, which is escaped again, and
// says which of the allowed encodings occur in it. Unreserved characters are
// decoded, all other escapes get upper-case digits, bytes that may not stand in
// a URL are escaped, and runs of slashes become one.
//
// Refused are characters on whose encoding or meaning servers disagree, unless
// allowed; encoded control characters; what is not UTF-8; and dot segments, plain,
// encoded, or hidden before a path parameter. Dot segments are not resolved: clients resolve
// them before they send (RFC 3986, 5.2.4), so one that arrives was put there to be read differently
// by two readers (CVE-2025-32431, CVE-2025-47952).
func Path(escaped string, allow Encoded) (path string, used Encoded, err error) {
	if plainPath(escaped, pathRaw) {
		return escaped, 0, nil
	}
	if escaped == "" || escaped[0] != '/' {
		return "", 0, badPath("the path does not begin with a slash")
	}
	w := pathWriter{allow: allow, out: make([]byte, 0, len(escaped)+16)}
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		switch {
		case c != '%':
			err = w.raw(c)
		case i+2 >= len(escaped) || !isHex(escaped[i+1]) || !isHex(escaped[i+2]):
			err = badPath("the path holds a percent sign that is not followed by two hexadecimal digits")
		default:
			err = w.encoded(unhex(escaped[i+1])<<4 | unhex(escaped[i+2]))
			i += 2
		}
		if err != nil {
			return "", 0, err
		}
	}
	if err := w.end(); err != nil {
		return "", 0, err
	}
	return string(w.out), w.used, nil
}

// plainPath says whether s is canonical and without any escapes. All its bytes
// must be of the given sort.
func plainPath(s string, sort uint8) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	all, afterSlash := sort, false
	for i := range len(s) {
		c := s[i]
		all &= pathBytes[c]
		if afterSlash && (c == '/' || c == '.' && startsWithDots(s[i:])) {
			return false
		}
		afterSlash = c == '/'
	}
	return all != 0
}

// startsWithDots says whether the first segment of s is a dot segment.
func startsWithDots(s string) bool {
	segment, _, _ := strings.Cut(s, "/")
	return segment == "." || segment == ".."
}

// pathWriter builds a canonical path from left to right.
type pathWriter struct {
	allow, used Encoded
	out         []byte
	segment     int  // where the last segment begins in out
	unicode     bool // bytes above ASCII have been written
}

// raw takes a byte that stood in the path as itself.
func (w *pathWriter) raw(c byte) error {
	switch {
	case c == '/':
		if len(w.out) > 0 && w.out[len(w.out)-1] == '/' {
			return nil // not a dot segment and nothing to end
		}
		return w.slash("/")
	case c == ';':
		return w.semicolon(";")
	case pathBytes[c]&pathNever != 0:
		return badPath("the path holds a control character, a backslash, a number sign or a query")
	case pathBytes[c]&pathRaw != 0:
		w.out = append(w.out, c)
	default:
		w.escape(c)
	}
	return nil
}

// encoded takes a byte that stood in the path percent-encoded.
func (w *pathWriter) encoded(c byte) error {
	switch {
	case c == '/':
		if err := w.use(Slash); err != nil {
			return err
		}
		return w.slash("%2F")
	case c == ';':
		return w.semicolon("%3B")
	case c == '%':
		if err := w.use(Percent); err != nil {
			return err
		}
		w.escape(c)
	case pathBytes[c]&pathNever != 0:
		return badPath("the path holds an encoded control character, backslash, question mark or number sign")
	case pathBytes[c]&pathUnreserved != 0:
		w.out = append(w.out, c)
	default:
		w.escape(c)
	}
	return nil
}

func (w *pathWriter) escape(c byte) {
	const digits = "0123456789ABCDEF"
	w.out = append(w.out, '%', digits[c>>4], digits[c&15])
	w.unicode = w.unicode || c >= utf8.RuneSelf
}

// slash ends a segment. Next to an encoded slash, an empty segment cannot be
// merged away without changing what the encoded one says.
func (w *pathWriter) slash(s string) error {
	if err := w.endSegment(); err != nil {
		return err
	}
	if len(w.out) > 0 && w.segment == len(w.out) {
		return badPath("the path holds an empty segment beside an encoded slash")
	}
	w.out = append(w.out, s...)
	w.segment = len(w.out)
	return nil
}

// semicolon begins path parameters. Servers that take parameters off a segment
// see a dot segment in "..;x".
func (w *pathWriter) semicolon(s string) error {
	if err := w.use(Semicolon); err != nil {
		return err
	}
	w.out = append(w.out, s...)
	return w.endSegmentAt(len(w.out) - len(s))
}

func (w *pathWriter) use(e Encoded) error {
	w.used |= e
	return w.allow.Check(e)
}

func (w *pathWriter) endSegment() error { return w.endSegmentAt(len(w.out)) }

func (w *pathWriter) endSegmentAt(end int) error {
	n := end - w.segment
	if n > 0 && n <= 2 && w.out[w.segment] == '.' && w.out[end-1] == '.' {
		return gateway.BadRequest("path_dots", "the path holds a dot segment")
	}
	return nil
}

func (w *pathWriter) end() error {
	if err := w.endSegment(); err != nil {
		return err
	}
	if w.unicode {
		decoded, err := url.PathUnescape(string(w.out))
		if err != nil || !utf8.ValidString(decoded) {
			return badPath("the path is not valid UTF-8")
		}
	}
	return nil
}

func badPath(msg string) error { return gateway.BadRequest("bad_path", msg) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c >= 'A' {
		return c&^0x20 - 'A' + 10
	}
	return c - '0'
}
