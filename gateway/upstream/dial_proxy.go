package upstream

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/pithead/pithead/gateway"
)

// introduce begins a connection with the header of the PROXY protocol: for whom
// it is opened, and where that client came in. One that is opened for nobody,
// such as a check's, says so.
func introduce(ctx context.Context, conn net.Conn, version uint8) error {
	client, local := parties(ctx)
	header := proxyproto.HeaderProxyFromAddrs(version, client, local)
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetWriteDeadline(deadline); err != nil {
			return fmt.Errorf("proxy protocol: %w", err)
		}
	}
	text, err := header.Format()
	if err == nil {
		_, err = conn.Write(text) // in one piece, as receivers expect it
	}
	if err != nil {
		return fmt.Errorf("proxy protocol: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("proxy protocol: %w", err)
	}
	return nil
}

// parties are the client of an exchange and the address where it came in; nil
// for a connection that no client has caused. The port of a client behind a
// trusted proxy is not known and becomes 0.
func parties(ctx context.Context) (client, local net.Addr) {
	x := gateway.ExchangeIn(ctx)
	if x == nil || !x.Client.IsValid() {
		return nil, nil
	}
	port := uint16(0)
	if x.Request != nil {
		peer, err := netip.ParseAddrPort(x.Request.RemoteAddr)
		if err == nil && peer.Addr().Unmap().WithZone("") == x.Client {
			port = peer.Port()
		}
	}
	from := netip.AddrPortFrom(x.Client, port)
	to := netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	if x.Client.Is4() {
		to = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	if tcp, ok := ctx.Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		to = tcp.AddrPort()
	}
	return net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)
}
