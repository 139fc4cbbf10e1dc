package jwks

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth of JSON values is more than any claim has.
const maxDepth = 32

var (
	errSyntax    = errors.New("is no JSON")
	errDuplicate = errors.New("has a member twice")
	errDepth     = errors.New("is nested too deeply")
	errNoObject  = errors.New("is no JSON object")
)

// ParseObject reads text that is one JSON object and nothing else. Unlike
// encoding/json it refuses a member that is there twice, of which two readers may
// believe different ones, and what is no Unicode text. Values are nil, bool,
// string, json.Number, []any and map[string]any.
func ParseObject(text string) (map[string]any, error) {
	p := parser{in: text}
	p.space()
	if p.peek() != '{' {
		if _, err := p.value(0); err != nil {
			return nil, err
		}
		return nil, errNoObject
	}
	object, err := p.object(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at != len(p.in) {
		return nil, errSyntax
	}
	return object, nil
}

// parser reads JSON. Texts without escapes are parts of the input, so that they
// cost no memory of their own.
type parser struct {
	in string
	at int
}

// peek is the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.in) {
		return p.in[p.at]
	}
	return 0
}

func (p *parser) space() {
	for p.at < len(p.in) && (p.in[p.at] == ' ' || p.in[p.at] == '\n' || p.in[p.at] == '\t' || p.in[p.at] == '\r') {
		p.at++
	}
}

// next takes c away if it is what follows, after spaces.
func (p *parser) next(c byte) bool {
	p.space()
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	p.space()
	switch p.peek() {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		return p.text()
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	}
	return p.number()
}

func (p *parser) word(word string) error {
	if !strings.HasPrefix(p.in[p.at:], word) {
		return errSyntax
	}
	p.at += len(word)
	return nil
}

func (p *parser) object(depth int) (map[string]any, error) {
	p.at++ // the brace
	object := make(map[string]any, 8)
	if p.next('}') {
		return object, nil
	}
	for {
		p.space()
		name, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, errDuplicate
		}
		if !p.next(':') {
			return nil, errSyntax
		}
		if object[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		switch {
		case p.next(','):
		case p.next('}'):
			return object, nil
		default:
			return nil, errSyntax
		}
	}
}

func (p *parser) array(depth int) ([]any, error) {
	p.at++ // the bracket
	list := []any{}
	if p.next(']') {
		return list, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		switch {
		case p.next(','):
		case p.next(']'):
			return list, nil
		default:
			return nil, errSyntax
		}
	}
}

func (p *parser) text() (string, error) {
	if p.peek() != '"' {
		return "", errSyntax
	}
	p.at++
	begin := p.at
	for ; p.at < len(p.in); p.at++ {
		switch c := p.in[p.at]; {
		case c == '"':
			text := p.in[begin:p.at]
			p.at++
			if !utf8.ValidString(text) {
				return "", errSyntax
			}
			return text, nil
		case c == '\\':
			return p.escaped(begin)
		case c < ' ':
			return "", errSyntax
		}
	}
	return "", errSyntax
}

// escapes are the characters that stand for another one behind a backslash.
var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escaped reads the rest of a text with escapes, which began at begin.
func (p *parser) escaped(begin int) (string, error) {
	var out strings.Builder
	out.WriteString(p.in[begin:p.at])
	for p.at < len(p.in) {
		c := p.in[p.at]
		p.at++
		switch {
		case c == '"':
			if !utf8.ValidString(out.String()) {
				return "", errSyntax
			}
			return out.String(), nil
		case c < ' ':
			return "", errSyntax
		case c != '\\':
			out.WriteByte(c)
			continue
		}
		if p.peek() == 'u' {
			r, ok := p.unicode()
			if !ok {
				return "", errSyntax
			}
			out.WriteRune(r)
			continue
		}
		plain, ok := escapes[p.peek()]
		if !ok {
			return "", errSyntax
		}
		p.at++
		out.WriteByte(plain)
	}
	return "", errSyntax
}

// unicode reads what follows the backslash of \uXXXX, and the second half of a
// pair of surrogates. Half a pair is no character.
func (p *parser) unicode() (rune, bool) {
	first, ok := p.hex4()
	if !ok || !utf16.IsSurrogate(first) {
		return first, ok
	}
	if p.peek() != '\\' {
		return 0, false
	}
	p.at++
	second, ok := p.hex4()
	r := utf16.DecodeRune(first, second)
	return r, ok && r != utf8.RuneError
}

func (p *parser) hex4() (rune, bool) {
	if len(p.in)-p.at < 5 || p.in[p.at] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(p.in[p.at+1:p.at+5], 16, 16)
	p.at += 5
	return rune(n), err == nil
}

func (p *parser) number() (any, error) {
	begin := p.at
	if p.peek() == '-' {
		p.at++
	}
	if p.peek() == '0' {
		p.at++
	} else if !p.digits() {
		return nil, errSyntax
	}
	if p.peek() == '.' {
		p.at++
		if !p.digits() {
			return nil, errSyntax
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if !p.digits() {
			return nil, errSyntax
		}
	}
	return json.Number(p.in[begin:p.at]), nil
}

func (p *parser) digits() bool {
	begin := p.at
	for p.at < len(p.in) && p.in[p.at] >= '0' && p.in[p.at] <= '9' {
		p.at++
	}
	return p.at > begin
}
