package proxy

import (
	"net"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// setForwarded tells the upstream who asked, and how. What the client itself
// sent under these names has been removed; only a trusted proxy may have
// something to add.
func setForwarded(h http.Header, in *http.Request, x *gateway.Exchange) {
	values := make([]string, 4) // one allocation for all four
	set := func(name, value string) {
		values[0] = value
		h[name] = values[:1:1]
		values = values[1:]
	}
	if chain := forwardedFor(in, x.Trusted); chain != "" {
		set("X-Forwarded-For", chain)
	}
	set("X-Forwarded-Proto", x.Scheme)
	host := in.Host
	if sent := in.Header["X-Forwarded-Host"]; x.Trusted && len(sent) == 1 {
		host = sent[0]
	}
	set("X-Forwarded-Host", host)
	if x.ID != "" {
		set("X-Request-Id", x.ID)
	}
}

// forwardedFor is the peer's address, after the chain that a trusted peer sent.
func forwardedFor(in *http.Request, trusted bool) string {
	peer, _, err := net.SplitHostPort(in.RemoteAddr)
	if err != nil {
		return "" // not from a socket: a test without an address
	}
	peer, _, _ = strings.Cut(peer, "%")
	if sent := in.Header["X-Forwarded-For"]; trusted && len(sent) > 0 {
		return strings.Join(sent, ", ") + ", " + peer
	}
	return peer
}
