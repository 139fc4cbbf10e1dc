package balance

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/siphash"
)

// HashKey says what of a request consistent_hash looks at.
type HashKey struct {
	From string // "subject", "client", "header", "cookie" or "query"
	Name string // of the header, the cookie or the query parameter
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *HashKey) UnmarshalText(text []byte) error {
	from, name, named := strings.Cut(string(text), ":")
	switch from {
	case "subject", "client":
		if named {
			return fmt.Errorf("%q takes no name; write %s", text, from)
		}
	case "header", "cookie", "query":
		if name == "" || strings.ContainsAny(name, " \t\r\n:;,=&\"") {
			return fmt.Errorf("%q names no %s; write for example %s:user", text, from, from)
		}
	default:
		return fmt.Errorf("%q is nothing to hash; write subject, client, header:NAME, cookie:NAME or query:NAME", text)
	}
	if from == "header" {
		name = http.CanonicalHeaderKey(name)
	}
	*k = HashKey{From: from, Name: name}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (k HashKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k HashKey) String() string {
	if k.Name == "" {
		return k.From
	}
	return k.From + ":" + k.Name
}

// sum is the hash of the key of x; ok is false when x has none, or two, of which
// an upstream may believe the other one.
func (k HashKey) sum(hash siphash.Key, x *gateway.Exchange) (sum uint64, ok bool) {
	if x == nil {
		return 0, false
	}
	value := ""
	switch k.From {
	case "subject":
		value = x.Subject
	case "client":
		return clientSum(hash, x)
	default:
		if x.Request == nil {
			return 0, false
		}
		value = k.of(x.Request)
	}
	return hash.Sum(value), value != ""
}

func (k HashKey) of(r *http.Request) string {
	switch k.From {
	case "header":
		if values := r.Header[k.Name]; len(values) == 1 {
			return values[0]
		}
	case "cookie":
		return onlyCookie(r.Header, k.Name)
	case "query":
		return onlyParameter(r.URL.RawQuery, k.Name)
	}
	return ""
}

// clientSum hashes an IPv4 address, or the /64 of an IPv6 address, because
// privacy addresses change within it.
func clientSum(hash siphash.Key, x *gateway.Exchange) (sum uint64, ok bool) {
	if !x.Client.IsValid() {
		return 0, false
	}
	b, from, to := x.Client.As16(), 0, 8
	if x.Client.Is4() {
		from, to = 12, 16
	}
	return hash.Sum(string(b[from:to])), true
}

// onlyCookie is the value of a cookie that is there once, else "".
func onlyCookie(h http.Header, name string) (value string) {
	seen := false
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			key, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(key, " \t") != name {
				continue
			}
			if seen {
				return ""
			}
			value, seen = v, true
		}
	}
	return value
}

// onlyParameter is the value of a query parameter that is there once, else "".
// Only one with escapes costs an allocation.
func onlyParameter(query, name string) (value string) {
	seen := false
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if unescaped(key) != name {
			continue
		}
		if seen {
			return ""
		}
		value, seen = unescaped(v), true
	}
	return value
}

func unescaped(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
