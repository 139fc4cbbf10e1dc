package middleware

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
)

const (
	keyClient  = "client"
	keySubject = "subject"
	keyRoute   = "route"
	keyHost    = "host"
	keyAll     = "all"
	keyHeader  = "header"
	keyCookie  = "cookie"
	keyQuery   = "query"

	missingSkip   = "skip"
	missingReject = "reject"
)

// RateLimitKey says what of a request a limit goes by: one word, or the name of one of these.
// `header:NAME` is short for `{header: NAME}`.
type RateLimitKey struct {
	// Header is a request header.
	Header string `yaml:"header"`
	// Cookie is a cookie.
	Cookie string `yaml:"cookie"`
	// Query is a query parameter.
	Query string `yaml:"query"`

	word string // client, subject, route, host or all
}

// UnmarshalText reads the short forms.
func (k *RateLimitKey) UnmarshalText(text []byte) error {
	from, name, named := strings.Cut(string(text), ":")
	switch from {
	case keyClient, keySubject, keyRoute, keyHost, keyAll:
		if named {
			return fmt.Errorf("%q takes no name; write %s", text, from)
		}
		*k = RateLimitKey{word: from}
	case keyHeader:
		*k = RateLimitKey{Header: name}
	case keyCookie:
		*k = RateLimitKey{Cookie: name}
	case keyQuery:
		*k = RateLimitKey{Query: name}
	default:
		return fmt.Errorf("%q is nothing to limit by; write client, subject, route, host, all, header:NAME, cookie:NAME or query:NAME", text)
	}
	if k.word == "" && name == "" {
		return fmt.Errorf("%q names no %s; write for example %s:user", text, from, from)
	}
	return nil
}

// MarshalText writes the short form.
func (k RateLimitKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k RateLimitKey) String() string {
	from, name := k.source()
	if name == "" {
		return from
	}
	return from + ":" + name
}

// source is the word and the name.
func (k RateLimitKey) source() (from, name string) {
	switch {
	case k.Header != "":
		return keyHeader, http.CanonicalHeaderKey(k.Header)
	case k.Cookie != "":
		return keyCookie, k.Cookie
	case k.Query != "":
		return keyQuery, k.Query
	}
	return k.word, ""
}

// Validate checks what can be checked of a single part.
func (k RateLimitKey) Validate() error {
	named := 0
	for _, name := range []string{k.Header, k.Cookie, k.Query} {
		if name != "" {
			named++
		}
	}
	from, name := k.source()
	switch {
	case named > 1:
		return kind.At("", "give one of header, cookie and query; a list combines several")
	case from == "":
		return kind.At("", "is empty; write for example client")
	case named == 1 && !isToken(name):
		return kind.At("", "%q is no name of a %s", name, from)
	case from == keyHeader:
		if word, ok := insteadOf[name]; ok {
			return kind.At("", "anybody can send another %s with each request; write %s", name, word)
		}
		return readable("", name)
	}
	return nil
}

// insteadOf says what to write for headers that only seem to tell callers apart:
// each request may have another one, and nobody has looked at it.
var insteadOf = map[string]string{
	"Authorization": keySubject, "Proxy-Authorization": keySubject, "Cookie": keySubject,
	"X-Api-Key": keySubject, "Api-Key": keySubject, "Apikey": keySubject,
	"X-Forwarded-For": keyClient, "Forwarded": keyClient, "X-Real-Ip": keyClient,
	"True-Client-Ip": keyClient, "Cf-Connecting-Ip": keyClient, "X-Client-Ip": keyClient,
}

// keyPart is one part of a key.
type keyPart struct {
	from, name string
	tag        uint64 // so that equal values of different parts differ
}

// rateKey makes keys of requests.
type rateKey struct {
	parts      []keyPart
	client     uint64 // the tag of an address in the place of a part
	route      uint64
	ipv4, ipv6 int // bits of addresses
	table      *limiter.Table
}

func newRateKey(c RateLimitConfig, route string, t *limiter.Table) rateKey {
	k := rateKey{
		client: t.Hash(keyClient), route: t.Hash(route), ipv4: c.IPv4Prefix, ipv6: c.IPv6Prefix, table: t,
	}
	for _, part := range c.Key {
		from, name := part.source()
		k.parts = append(k.parts, keyPart{from, name, t.Hash(part.String())})
	}
	return k
}

func (k *rateKey) String() string {
	var words []string
	for _, part := range k.parts {
		words = append(words, strings.TrimSuffix(part.from+":"+part.name, ":"))
	}
	return strings.Join(words, " and ")
}

// of is the key of a request. whole is false if a part is missing, in whose place
// the client's address is.
func (k *rateKey) of(r *http.Request, x *gateway.Exchange) (key uint64, whole bool) {
	whole = true
	for _, part := range k.parts {
		hash, ok := k.value(part, r, x)
		tag := part.tag
		if !ok {
			hash, tag, whole = k.address(x.Client), k.client, false
		}
		key = k.table.Join(key^tag, hash)
	}
	return key, whole
}

func (k *rateKey) value(part keyPart, r *http.Request, x *gateway.Exchange) (hash uint64, ok bool) {
	switch part.from {
	case keyClient:
		return k.address(x.Client), true
	case keySubject:
		return k.table.Hash(x.Subject), x.Subject != ""
	case keyRoute:
		return k.route, true
	case keyHost:
		name, _, err := canon.Host(r.Host)
		return k.table.Hash(name), err == nil
	case keyHeader:
		if values := r.Header[part.name]; len(values) == 1 {
			return k.text(values[0])
		}
	case keyCookie:
		if value, once := onlyCookie(r.Header, part.name); once {
			return k.text(value)
		}
	case keyQuery:
		if value, once := onlyParameter(r.URL.RawQuery, part.name); once {
			return k.text(value)
		}
	}
	return 0, part.from == keyAll
}

// address is the network that a client is in. One host has a whole /64 of IPv6 to
// choose from. Clients without an address, on Unix sockets, are one.
func (k *rateKey) address(client netip.Addr) uint64 {
	bits := k.ipv6
	if client.Is4() {
		bits = k.ipv4
	}
	network, err := client.Prefix(bits)
	if err != nil {
		return 0
	}
	b := network.Addr().As16()
	return k.table.Hash(string(b[:]))
}

// text takes what the client may choose. A service may read a value with other
// capitals or more spaces as the same one, so they are the same here; characters
// beyond ASCII have too many forms for that, and values with one count as missing.
func (k *rateKey) text(s string) (hash uint64, ok bool) {
	plain := s != ""
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x7f || c < ' ' && c != '\t':
			return 0, false
		case 'A' <= c && c <= 'Z', c == ' ', c == '\t':
			plain = false
		}
	}
	if plain {
		return k.table.Hash(s), true
	}
	room := make([]byte, 0, 256) // stays on the stack; longer ones cost an allocation
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ', c == '\t':
		case 'A' <= c && c <= 'Z':
			room = append(room, c+'a'-'A')
		default:
			room = append(room, c)
		}
	}
	return k.table.HashBytes(room), len(room) > 0
}

// onlyParameter is the value of a query parameter; ok is false when there is none,
// or more than one. Only one with escapes costs an allocation.
func onlyParameter(query, name string) (value string, ok bool) {
	for pair := range strings.SplitSeq(query, "&") {
		key, v, _ := strings.Cut(pair, "=")
		if unescapedQuery(key) != name {
			continue
		}
		if ok {
			return "", false
		}
		value, ok = unescapedQuery(v), true
	}
	return value, ok
}

func unescapedQuery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}
