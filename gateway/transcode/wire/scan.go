package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// scanner reads the tokens of one JSON text (RFC 8259). It keeps no stack: the
// caller knows what it has opened, and depth only counts.
type scanner struct {
	in    []byte
	pos   int
	depth int
	max   int
	text  []byte // the last string that had escapes, without them
}

func (s *scanner) fail(msg string) *Error {
	return &Error{Offset: s.pos, Msg: msg}
}

// peek goes to the next token and tells its first byte, 0 at the end of the text.
func (s *scanner) peek() byte {
	for s.pos < len(s.in) {
		switch c := s.in[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// unexpected is the error for a token that may not stand here.
func (s *scanner) unexpected(want string) *Error {
	if s.pos >= len(s.in) {
		return s.fail("unexpected end of JSON")
	}
	return s.fail("expected " + want)
}

// open reads the bracket that begins an object or an array.
func (s *scanner) open(bracket byte) *Error {
	if s.peek() != bracket {
		if bracket == '{' {
			return s.unexpected("an object")
		}
		return s.unexpected("an array")
	}
	if s.depth++; s.depth > s.max {
		return s.fail("nested too deep")
	}
	s.pos++
	return nil
}

// more goes to the next member or element, or over the bracket that ends them.
func (s *scanner) more(bracket byte, first bool) (bool, *Error) {
	c := s.peek()
	if c == bracket {
		s.pos++
		s.depth--
		return false, nil
	}
	if first {
		return true, nil
	}
	if c != ',' {
		return false, s.unexpected("a comma or the closing bracket")
	}
	s.pos++
	if s.peek() == bracket {
		return false, s.fail("expected a value after the comma")
	}
	return true, nil
}

// name reads the name of a member and the colon. It stays valid until the next
// string is read.
func (s *scanner) name() ([]byte, *Error) {
	if s.peek() != '"' {
		return nil, s.unexpected("a name in quotes")
	}
	name, err := s.string()
	if err != nil {
		return nil, err
	}
	return name, s.colon()
}

func (s *scanner) colon() *Error {
	if s.peek() != ':' {
		return s.unexpected("a colon")
	}
	s.pos++
	return nil
}

// literal reads null, true or false.
func (s *scanner) literal(word string) *Error {
	if end := s.pos + len(word); end > len(s.in) || string(s.in[s.pos:end]) != word {
		return s.unexpected("a value")
	}
	s.pos += len(word)
	return nil
}

// end makes sure that nothing follows.
func (s *scanner) end() *Error {
	if s.peek(); s.pos < len(s.in) {
		return s.fail("something follows the JSON value")
	}
	return nil
}

// string reads a string and takes its escapes out. The result stays valid
// until the next string is read.
func (s *scanner) string() ([]byte, *Error) {
	raw, escaped, err := s.quoted()
	if err != nil || !escaped {
		return raw, err
	}
	s.text, err = s.unescape(s.text[:0], raw)
	return s.text, err
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// quoted reads a string up to its closing quote and tells whether it has
// escapes. Eight bytes at a time: a byte below 0x20, a quote or a backslash
// leaves its high bit in hit, and only bits above the first true one may lie.
func (s *scanner) quoted() (raw []byte, escaped bool, err *Error) {
	in, start := s.in, s.pos+1
	i := start
	var high uint64
	for {
		if i+8 <= len(in) {
			x := binary.LittleEndian.Uint64(in[i:])
			quote, slash := x^(ones*'"'), x^(ones*'\\')
			hit := ((x-ones*0x20)&^x | (quote-ones)&^quote | (slash-ones)&^slash) & highs
			if hit == 0 {
				high |= x & highs
				i += 8
				continue
			}
			high |= x & highs & (hit&-hit - 1)
			i += bits.TrailingZeros64(hit) / 8
		}
		if i >= len(in) {
			s.pos = len(in)
			return nil, false, s.fail("unexpected end of JSON")
		}
		switch c := in[i]; {
		case c == '"':
			raw = in[start:i]
			if high != 0 && !utf8.Valid(raw) {
				return nil, false, s.fail("invalid UTF-8")
			}
			s.pos = i + 1
			return raw, escaped, nil
		case c == '\\':
			escaped = true
			i += 2
		case c < ' ':
			s.pos = i
			return nil, false, s.fail("a control character in a string")
		default:
			high |= uint64(c) & 0x80
			i++
		}
	}
}

// escapes maps the byte after a backslash to what both mean.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape appends the string that has just been read without its escapes.
func (s *scanner) unescape(dst, raw []byte) ([]byte, *Error) {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		if c = raw[i+1]; c != 'u' {
			if escapes[c] == 0 {
				return dst, s.fail("an unknown escape in a string")
			}
			dst = append(dst, escapes[c])
			i += 2
			continue
		}
		r, n := codePoint(raw[i:])
		if n == 0 {
			return dst, s.fail("an invalid \\u escape in a string")
		}
		dst = utf8.AppendRune(dst, r)
		i += n
	}
	return dst, nil
}

// codePoint reads one \u escape, or two that are a surrogate pair. A surrogate
// alone is refused: there is no UTF-8 for it.
func codePoint(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if r < 0xd800 || r > 0xdfff {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok || r > 0xdbff || low < 0xdc00 || low > 0xdfff {
		return 0, 0
	}
	return (r-0xd800)<<10 | (low - 0xdc00) + 0x10000, 12
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip reads a value that nobody wants.
func (s *scanner) skip() *Error {
	switch s.peek() {
	case '{':
		return s.skipAll('{', '}')
	case '[':
		return s.skipAll('[', ']')
	case '"':
		_, err := s.string()
		return err
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	default:
		_, err := s.number()
		return err
	}
}

func (s *scanner) skipAll(from, to byte) *Error {
	if err := s.open(from); err != nil {
		return err
	}
	for first := true; ; first = false {
		more, err := s.more(to, first)
		if err != nil || !more {
			return err
		}
		if from == '{' {
			if _, err := s.name(); err != nil {
				return err
			}
		}
		if err := s.skip(); err != nil {
			return err
		}
	}
}
