package obs

import "strings"

const redacted = "[redacted]"

// secretKeys are query parameters whose values are never logged, in lower case
// and without punctuation. Values under keys that end in one of secretEnds are
// not logged either.
var secretKeys = map[string]bool{
	"apikey": true, "assertion": true, "auth": true, "authorization": true, "clientassertion": true,
	"code": true, "credential": true, "credentials": true, "jwt": true, "key": true, "otp": true,
	"passwd": true, "pwd": true, "pass": true, "samlresponse": true, "session": true, "sessionid": true,
	"sid": true, "sig": true, "state": true, "ticket": true, "xamzcredential": true, "xgoogcredential": true,
}

var secretEnds = [...]string{"token", "password", "passphrase", "secret", "signature", "apikey", "accesskey"}

// maxKey is longer than any key that a person wrote.
const maxKey = 64

// Redacts says whether the value of a query parameter of this name is never logged.
func Redacts(name string) bool { return secretKey(name) }

// secretKey judges a key as it stands in a query, percent-encoding included.
func secretKey(key string) bool {
	var buf [maxKey]byte
	b := buf[:0]
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c == '%' && i+2 < len(key) && isHex(key[i+1]) && isHex(key[i+2]) {
			c = unhex(key[i+1])<<4 | unhex(key[i+2])
			i += 2
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c < 'a' || c > 'z' {
			if c < '0' || c > '9' {
				continue
			}
		}
		if len(b) == maxKey {
			return true
		}
		b = append(b, c)
	}
	if secretKeys[string(b)] {
		return true
	}
	for _, end := range secretEnds {
		if len(b) >= len(end) && string(b[len(b)-len(end):]) == end {
			return true
		}
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&0xdf - 'A' + 10
}

// secretAt finds the value of the first secret in a part of a query between two
// ampersands: its index, or -1. A semicolon may begin another key (some servers
// read it as an ampersand), but it never ends a secret.
func secretAt(part string) int {
	for from := 0; from < len(part); {
		piece := part[from:]
		end := strings.IndexByte(piece, ';')
		if end >= 0 {
			piece = piece[:end]
		}
		if eq := strings.IndexByte(piece, '='); eq >= 0 && secretKey(piece[:eq]) {
			return from + eq + 1
		}
		if end < 0 {
			break
		}
		from += end + 1
	}
	return -1
}

// appendQuery appends a raw query without its secrets. quote is appendEscaped
// or appendWord.
func appendQuery(b []byte, query string, quote func([]byte, string) []byte) []byte {
	start, from := len(b), 0
	for i := 0; i < len(query); {
		if len(b)-start > maxField {
			return append(b, ellipsis...) // the rest has not been looked at
		}
		end := strings.IndexByte(query[i:], '&')
		if end < 0 {
			end = len(query)
		} else {
			end += i
		}
		if at := secretAt(query[i:end]); at >= 0 {
			b = quote(b, query[from:i+at])
			b = append(b, redacted...)
			from = end
		}
		i = end + 1
	}
	if from < len(query) {
		b = quote(b, query[from:])
	}
	return b
}

// appendErrorText appends text without the secrets in the queries of the addresses in it: errors of HTTP clients
// quote whole URLs.
func appendErrorText(b []byte, text string, quote func([]byte, string) []byte) []byte {
	text = text[:min(len(text), maxField)]
	for {
		mark := strings.IndexByte(text, '?')
		if mark < 0 {
			return quote(b, text)
		}
		end := strings.IndexAny(text[mark:], " \t\r\n\"'`<>")
		if end < 0 {
			end = len(text)
		} else {
			end += mark
		}
		b = quote(b, text[:mark+1])
		b = appendQuery(b, text[mark+1:end], quote)
		text = text[end:]
		if text == "" {
			return b
		}
	}
}

// refererWithoutSecrets cuts query, fragment and user information off.
func refererWithoutSecrets(ref string) string {
	if i := strings.IndexAny(ref, "?#"); i >= 0 {
		ref = ref[:i]
	}
	if _, after, ok := strings.Cut(ref, "//"); ok {
		host, _, _ := strings.Cut(after, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			return after[i+1:] // the scheme goes too: putting the halves together would allocate
		}
	}
	return ref
}
