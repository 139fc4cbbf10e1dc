package canon

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// maxHops is how many proxies in a row are followed back to the client.
const maxHops = 32

// client finds out who the client is and how it came: from the connection, or
// from what a trusted peer forwards.
func (p *Policy) client(r *http.Request, x *gateway.Exchange) error {
	if !x.Client.IsValid() { // the server knows it from the connection already
		x.Client = peer(r.RemoteAddr)
	}
	x.Scheme = "http"
	if r.TLS != nil {
		x.Scheme = "https"
	}
	x.Trusted = p.trusts(x.Client)
	if !x.Trusted {
		return nil
	}
	p.forwardedFor(r.Header, x)
	forwardedProto(r.Header, x)
	return forwardedHost(r.Header, x.Scheme)
}

// peer is the address of the other end of the connection; the zero Addr when
// the connection has none, as on Unix sockets.
func peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func (p *Policy) trusts(addr netip.Addr) bool {
	for _, prefix := range p.trusted {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// unmapPrefix makes ::ffff:10.0.0.0/104 the 10.0.0.0/8 that it means.
func unmapPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p
}

// forwardedFor walks X-Forwarded-For from right to left, as far as hops are
// trusted, and takes the first one that is not for the client, or the outermost one.
// What stands to the left of it is the client's own claim and is cut off. A chain that
// leads nowhere, because a trusted hop is no address or there are too many,
// counts as absent: then the client is the peer.
func (p *Policy) forwardedFor(h http.Header, x *gateway.Exchange) {
	lines := h["X-Forwarded-For"]
	if len(lines) == 0 {
		return
	}
	chain := lines[0]
	if len(lines) > 1 {
		chain = strings.Join(lines, ", ")
	}
	begin := len(chain) + 1 // where the known part begins; one past the comma to its left
	for range maxHops {
		start := strings.LastIndexByte(chain[:begin-1], ',') + 1
		addr, ok := hopAddr(chain[start : begin-1])
		if !ok {
			break
		}
		if begin = start; begin == 0 || !p.trusts(addr) {
			x.Client = addr
			h["X-Forwarded-For"] = []string{strings.Trim(chain[begin:], " \t")}
			return
		}
	}
	delete(h, "X-Forwarded-For")
}

// hopAddr reads one element of X-Forwarded-For: an address, perhaps in quotes
// or brackets, with a port or a zone.
func hopAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = ap.Addr()
	}
	return addr.Unmap().WithZone(""), true
}

// forwardedProto takes over the scheme. Anything but one known scheme counts as
// absent. The header itself goes: the proxy core writes it from x.Scheme.
func forwardedProto(h http.Header, x *gateway.Exchange) {
	values := h["X-Forwarded-Proto"]
	if len(values) == 1 {
		switch strings.ToLower(values[0]) {
		case "http", "ws":
			x.Scheme = "http"
		case "https", "wss":
			x.Scheme = "https"
		}
	}
	delete(h, "X-Forwarded-Proto")
}

// forwardedHost makes X-Forwarded-Host canonical. It is for the upstream only;
// routes are matched by Host.
func forwardedHost(h http.Header, scheme string) error {
	values := h["X-Forwarded-Host"]
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return badHost("the request has two lines of X-Forwarded-Host")
	}
	name, port, err := Host(values[0])
	if err != nil {
		return err
	}
	h["X-Forwarded-Host"] = []string{joinHost(values[0], name, port, scheme)}
	return nil
}
