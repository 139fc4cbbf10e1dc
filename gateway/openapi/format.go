package openapi

import (
	"encoding/base64"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// format is a value of `format` that is checked; all others only tell people
// something.
type format struct {
	name   string
	text   func(string) bool
	number func(string) bool // of how the number is written
	sample any
}

var formats = map[string]*format{}

func init() {
	for _, f := range []*format{
		{name: "date-time", text: isTime(time.RFC3339Nano), sample: "2026-01-02T03:04:05Z"},
		{name: "date", text: isTime(time.DateOnly), sample: "2026-01-02"},
		{name: "uuid", text: isUUID, sample: "3fa85f64-5717-4562-b3fc-2c963f66afa6"},
		{name: "email", text: isEmail, sample: "someone@example.com"},
		{name: "ipv4", text: func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is4() }, sample: "192.0.2.1"},
		{name: "ipv6", text: func(s string) bool { a, err := netip.ParseAddr(s); return err == nil && a.Is6() && a.Zone() == "" }, sample: "2001:db8::1"},
		{name: "uri", text: func(s string) bool { u, err := url.Parse(s); return err == nil && u.IsAbs() }, sample: "https://example.com/"},
		{name: "byte", text: isBase64, sample: "aGVsbG8="},
		{name: "int32", number: isInt(32), sample: 1},
		{name: "int64", number: isInt(64), text: isInt(64), sample: "1"},
		{name: "uint32", number: isUint(32), sample: 1},
		{name: "uint64", number: isUint(64), text: isUint(64), sample: "1"},
	} {
		formats[f.name] = f
	}
}

func isTime(layout string) func(string) bool {
	return func(s string) bool {
		_, err := time.Parse(layout, s)
		return err == nil
	}
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

func isEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}

func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// isInt takes what is written as an integer of this size; 1e3 and 1.0 are integers
// too and small enough to be told by their float.
func isInt(bits int) func(string) bool {
	return func(s string) bool {
		_, err := strconv.ParseInt(canonicalNumber(s), 10, bits)
		return err == nil
	}
}

func isUint(bits int) func(string) bool {
	return func(s string) bool {
		_, err := strconv.ParseUint(canonicalNumber(s), 10, bits)
		return err == nil
	}
}
