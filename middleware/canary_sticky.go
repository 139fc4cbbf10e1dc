package middleware

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
)

// StickyKey says what a sticky decision is drawn from.
type StickyKey struct {
	From string // "", "subject", "client", "header" or "cookie"
	Name string // of the header or the cookie
}

const (
	stickySubject = "subject"
	stickyClient  = "client"
	stickyHeader  = "header"
	stickyCookie  = "cookie"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *StickyKey) UnmarshalText(text []byte) error {
	from, name, named := strings.Cut(string(text), ":")
	switch from {
	case stickySubject, stickyClient:
		if named {
			return fmt.Errorf("%q takes no name; write %s", text, from)
		}
	case stickyHeader, stickyCookie:
		if !grammar.IsToken(name) {
			return fmt.Errorf("%q names no %s; write for example %s:x-user", text, from, from)
		}
	default:
		return fmt.Errorf("%q is nothing to be sticky by; write subject, client, header:NAME or cookie:NAME", text)
	}
	if from == stickyHeader {
		name = http.CanonicalHeaderKey(name)
	}
	*k = StickyKey{From: from, Name: name}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (k StickyKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k StickyKey) String() string {
	if k.Name == "" {
		return k.From
	}
	return k.From + ":" + k.Name
}

// draw is the arm that s draws for the sticky value of a request, nil when it has
// no value, or two of which an upstream may believe the other one.
func (k StickyKey) draw(s *split, r *http.Request, x *gateway.Exchange) *canaryArm {
	value := ""
	switch k.From {
	case stickySubject:
		value = x.Subject
	case stickyHeader:
		if values := r.Header[k.Name]; len(values) == 1 {
			value = values[0]
		}
	case stickyCookie:
		value, _ = onlyCookie(r.Header, k.Name)
	case stickyClient:
		if x.Client.IsValid() {
			block, n := clientBlock(x.Client)
			return s.sticky(string(block[:n]))
		}
	}
	if value == "" {
		return nil
	}
	return s.sticky(value)
}

// clientBlock is an IPv4 address, or the /64 of an IPv6 address, because privacy
// addresses change within it.
func clientBlock(addr netip.Addr) (block [8]byte, n int) {
	if addr.Is4() {
		b := addr.As4()
		n = copy(block[:], b[:])
	} else {
		b := addr.As16()
		n = copy(block[:], b[:])
	}
	return block, n
}
