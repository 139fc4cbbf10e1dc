package http1

import "strings"

// What a byte may be part of.
const (
	inToken  = 1 << iota // RFC 9110 section 5.6.2
	inValue              // a field value: anything but control bytes, with tab
	inTarget             // a request target or Host: printable ASCII without space
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

// consists says whether all bytes of s are of a class.
func consists[T ~string | ~[]byte](s T, class byte) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func isToken[T ~string | ~[]byte](s T) bool { return len(s) > 0 && consists(s, inToken) }

// hasToken says whether comma-separated lists hold token, in any case.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(trim(item), token) {
				return true
			}
		}
	}
	return false
}

// trim takes the optional whitespace of RFC 9110 section 5.6.3 away.
func trim(s string) string { return strings.Trim(s, " \t") }
