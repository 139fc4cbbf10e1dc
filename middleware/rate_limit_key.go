package middleware

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
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
	keyClaim   = "claim"

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
	// Claim is a claim of the proven caller that is a text, a number or a truth value; dots
	// lead into objects: `org.tenant`.
	Claim string `yaml:"claim"`

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
	case keyClaim:
		*k = RateLimitKey{Claim: name}
	default:
		return fmt.Errorf("%q is nothing to limit by; write client, subject, route, host, all, header:NAME, cookie:NAME, query:NAME or claim:NAME", text)
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
	case k.Claim != "":
		return keyClaim, k.Claim
	}
	return k.word, ""
}

// Validate checks what can be checked of a single part.
func (k RateLimitKey) Validate() error {
	named := 0
	for _, name := range []string{k.Header, k.Cookie, k.Query, k.Claim} {
		if name != "" {
			named++
		}
	}
	from, name := k.source()
	switch {
	case named > 1:
		return kind.At("", "give one of header, cookie, query and claim; a list combines several")
	case from == "":
		return kind.At("", "is empty; write for example client")
	case from != keyClaim && named == 1 && !grammar.IsToken(name):
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

// proven says whether only a caller who is known has this part.
func (k RateLimitKey) proven() bool { return k.word == keySubject || k.Claim != "" }

// keyPart is one part of a key.
type keyPart struct{ from, name string }

// rateKey makes keys of requests: texts that differ if any part differs.
type rateKey struct {
	parts      []keyPart
	route      string
	ipv4, ipv6 int // bits of addresses
}

func newRateKey(c RateLimitConfig, route string) rateKey {
	k := rateKey{route: route, ipv4: c.IPv4Prefix, ipv6: c.IPv6Prefix}
	for _, part := range c.Key {
		from, name := part.source()
		k.parts = append(k.parts, keyPart{from, name})
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

// What a part of a key begins with; its length follows.
const (
	partValue  = 0
	partClient = 1 // the client's address is in the place of the part
	partHead   = 1 + 4
)

// append adds the key of a request to b. whole is false if a part is missing, in whose
// place the client's address is. With room in b it allocates nothing.
func (k *rateKey) append(b []byte, r *http.Request, x *gateway.Exchange) (key []byte, whole bool) {
	whole = true
	for _, part := range k.parts {
		head := len(b)
		b = append(b, partValue, 0, 0, 0, 0)
		var ok bool
		if b, ok = k.value(b, part, r, x); !ok {
			b = k.address(b[:head+partHead], x.Client)
			b[head], whole = partClient, false
		}
		binary.LittleEndian.PutUint32(b[head+1:], uint32(len(b)-head-partHead))
	}
	return b, whole
}

func (k *rateKey) value(b []byte, part keyPart, r *http.Request, x *gateway.Exchange) (key []byte, ok bool) {
	switch part.from {
	case keyClient:
		return k.address(b, x.Client), true
	case keySubject:
		return append(b, x.Subject...), x.Subject != ""
	case keyRoute:
		return append(b, k.route...), true
	case keyHost:
		name, _, err := canon.Host(r.Host)
		return append(b, name...), err == nil
	case keyHeader:
		if values := r.Header[part.name]; len(values) == 1 {
			return appendPlain(b, values[0])
		}
	case keyCookie:
		if value, once := onlyCookie(r.Header, part.name); once {
			return appendPlain(b, value)
		}
	case keyQuery:
		if value, once := onlyParameter(r.URL.RawQuery, part.name); once {
			return appendPlain(b, value)
		}
	case keyClaim:
		return appendClaim(b, x.Claims, part.name)
	}
	return b, part.from == keyAll
}

// appendClaim takes claims as they are: whoever has proven the caller has written them.
func appendClaim(b []byte, claims gateway.Claims, name string) (key []byte, ok bool) {
	switch v, _ := claimAt(claims, name); v := v.(type) {
	case string:
		return append(b, v...), v != ""
	case json.Number:
		return append(b, v...), true
	case bool:
		return strconv.AppendBool(b, v), true
	}
	return b, false
}

// address adds the network that a client is in. One host has a whole /64 of IPv6 to
// choose from. Clients without an address, on Unix sockets, are one.
func (k *rateKey) address(b []byte, client netip.Addr) []byte {
	bits := k.ipv6
	if client.Is4() {
		bits = k.ipv4
	}
	network, err := client.Prefix(bits)
	if err != nil {
		return b
	}
	bytes := network.Addr().As16()
	return append(b, bytes[:]...)
}

// appendPlain takes what the client may choose. A service may read a value with other
// capitals or more spaces as the same one, so they are the same here; characters
// beyond ASCII have too many forms for that, and values with one count as missing.
func appendPlain(b []byte, s string) (key []byte, ok bool) {
	from := len(b)
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 0x7f || c < ' ' && c != '\t':
			return b, false
		case c == ' ', c == '\t':
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return b, len(b) > from
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
