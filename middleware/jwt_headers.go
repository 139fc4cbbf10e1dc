package middleware

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// JWTHeader is what a header tells of a claim.
type JWTHeader struct {
	// Claim is the name of the claim; a dot leads into an object. Required.
	Claim string `yaml:"claim"`
	// As is how it is written. `text` takes texts, numbers and truth values as they are, and of lists the
	// elements with commas between; percent signs, commas, spaces and whatever is not
	// printable ASCII are percent-encoded, so that no value can look like another one.
	// `json` is JSON in ASCII, `base64` JSON in base64url without padding. Tokens whose claim does
	// not fit, such as an object as text, or takes more than 4 KiB, are refused. Default: text.
	As string `yaml:"as"`
}

const (
	asText       = "text"
	asJSON       = "json"
	asBase64     = "base64"
	maxJWTHeader = 4 << 10
)

// SetDefaults is called before decoding.
func (h *JWTHeader) SetDefaults() { h.As = asText }

// UnmarshalText reads the short form, which is the claim alone.
func (h *JWTHeader) UnmarshalText(text []byte) error {
	*h = JWTHeader{Claim: string(text), As: asText}
	return nil
}

// MarshalText writes the claim.
func (h JWTHeader) MarshalText() ([]byte, error) { return []byte(h.Claim), nil }

// Validate checks the encoding.
func (h JWTHeader) Validate() error {
	switch {
	case h.Claim == "":
		return kind.At("", "names no claim")
	case h.As != asText && h.As != asJSON && h.As != asBase64:
		return kind.At("as", "%q is no way to write a claim; write text, json or base64", h.As)
	}
	return nil
}

// claimHeader is a header with its canonical name.
type claimHeader struct {
	JWTHeader
	name string
}

// newClaimHeaders are the headers in a fixed order.
func newClaimHeaders(c map[string]JWTHeader) (all []claimHeader, names []string) {
	for _, name := range sortedKeys(c) {
		all = append(all, claimHeader{c[name], http.CanonicalHeaderKey(name)})
		names = append(names, http.CanonicalHeaderKey(name))
	}
	return all, names
}

// provenHeader is what a token has a header say.
type provenHeader struct{ name, value string }

// valuesOf are the headers for these claims. It fails when one of them cannot be
// written.
func valuesOf(headers []claimHeader, claims map[string]any) (all []provenHeader, err error) {
	for _, h := range headers {
		v, ok := claimAt(claims, h.Claim)
		if !ok {
			continue
		}
		value, err := h.write(v)
		if err != nil || len(value) > maxJWTHeader {
			return nil, fmt.Errorf("the claim for %s cannot be written as %s within 4 KiB", h.name, h.As)
		}
		all = append(all, provenHeader{h.name, value})
	}
	return all, nil
}

func (h claimHeader) write(v any) (string, error) {
	switch h.As {
	case asJSON:
		text, err := asciiJSON(v)
		return string(text), err
	case asBase64:
		text, err := asciiJSON(v)
		return base64.RawURLEncoding.EncodeToString(text), err
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	parts := make([]string, len(list))
	for i, one := range list {
		text, ok := plain(one)
		if !ok {
			return "", fmt.Errorf("%T is no text", one)
		}
		parts[i] = percentEncode(text)
	}
	return strings.Join(parts, ","), nil
}

const upperHex = "0123456789ABCDEF"

func percentEncode(s string) string {
	bad := func(c byte) bool { return c <= ' ' || c > '~' || c == '%' || c == ',' }
	n := 0
	for i := range len(s) {
		if bad(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; bad(c) {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			out = append(out, c)
		}
	}
	return string(out)
}

// asciiJSON writes what is beyond ASCII as \uXXXX.
func asciiJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, r := range strings.TrimSuffix(buf.String(), "\n") {
		switch {
		case r == 0x7f || r > 0x7f && r <= 0xffff:
			fmt.Fprintf(&out, `\u%04x`, r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out.WriteRune(r)
		}
	}
	return out.Bytes(), nil
}
