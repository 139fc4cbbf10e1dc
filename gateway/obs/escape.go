package obs

import "unicode/utf8"

// maxField bounds what one field may add to a line: with longer ones, a client
// could fill the ring with a few requests and so hide what it does next.
const maxField = 2048

const ellipsis = "…"

// plain are the bytes that mean only themselves in a JSON string.
var plain = func() (t [utf8.RuneSelf]bool) {
	for c := byte(' '); c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// disguised says that a rune could start a line, steer a terminal or turn the
// direction of what follows: C1 controls, line and paragraph separators, bidi
// marks. JSON allows them; readers of logs get them escaped all the same.
func disguised(c rune) bool {
	return c >= 0x80 && c <= 0x9f || c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069 ||
		c == 0x61c || c == 0x200e || c == 0x200f
}

// appendEscaped appends s as the inside of a JSON string, on one line and
// without anything that a terminal would act upon.
func appendEscaped(b []byte, s string) []byte { return escape(b, s, true) }

// appendWord is appendEscaped for the text format, where a space separates columns.
func appendWord(b []byte, s string) []byte { return escape(b, s, false) }

func escape(b []byte, s string, spaces bool) []byte {
	cut := len(s) > maxField
	if cut {
		s = s[:maxField]
	}
	start, from := len(b), 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf && plain[c] && (spaces || c != ' ') {
			i++
			continue
		}
		c, size := utf8.DecodeRuneInString(s[i:])
		invalid := c == utf8.RuneError && size == 1
		if c >= utf8.RuneSelf && !invalid && !disguised(c) {
			i += size
			continue
		}
		b = append(b, s[from:i]...)
		b = appendRune(b, c)
		i += size
		from = i
		if len(b)-start > maxField {
			return append(b, ellipsis...)
		}
	}
	b = append(b, s[from:]...)
	if cut {
		b = append(b, ellipsis...)
	}
	return b
}

func appendRune(b []byte, c rune) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', byte(c))
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(b, '\\', 'u', hex[c>>12&0xf], hex[c>>8&0xf], hex[c>>4&0xf], hex[c&0xf])
}
