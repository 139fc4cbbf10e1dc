// Package grammar is what RFC 9110 section 5 says that the pieces of a header are
// made of: tokens, field values, and lists of elements with commas in between.
//
//	grammar.IsToken("X-Canary")
//	for name := range grammar.Elements(h["Vary"]) { ... }
//	grammar.HasToken(h["Connection"], "close")
package grammar

import (
	"iter"
	"strings"
)

// What a byte may be part of.
const (
	inToken = 1 << iota
	inValue
	inTarget
)

var classes = func() (t [256]byte) {
	for c := range t {
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[c] |= inValue
		}
		if c > ' ' && c < 0x7f {
			t[c] |= inTarget
		}
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0 {
			t[c] |= inToken
		}
	}
	return t
}()

type text interface{ ~string | ~[]byte }

// consists says whether all bytes of s are of a class.
func consists[T text](s T, class byte) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken says whether s is a token (section 5.6.2), such as the name of a field or
// of a method.
func IsToken[T text](s T) bool { return len(s) > 0 && consists(s, inToken) }

// IsValue says whether s may be the value of a field (section 5.5): no control byte
// but the tab.
func IsValue[T text](s T) bool { return consists(s, inValue) }

// IsTarget says whether s has nothing in it but printable ASCII without spaces, as
// the target of a request and its Host have.
func IsTarget[T text](s T) bool { return consists(s, inTarget) }

// Trim takes the optional whitespace around s away (section 5.6.3).
func Trim(s string) string { return strings.Trim(s, " \t") }

// Elements are those of a field's lists (section 5.6.1), without the empty ones and
// the space around them. Commas in quoted strings divide, too.
func Elements(lists []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, list := range lists {
			for element := range strings.SplitSeq(list, ",") {
				if element = Trim(element); element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// HasToken says whether lists hold token, in any case.
func HasToken(lists []string, token string) bool {
	for element := range Elements(lists) {
		if strings.EqualFold(element, token) {
			return true
		}
	}
	return false
}
