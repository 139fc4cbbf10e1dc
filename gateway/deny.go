package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// metadata are the services of clouds that hand out credentials to whoever asks
// from inside, where they are not link-local.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS over IPv6
	netip.MustParseAddr("fd20:ce::254"),    // Google over IPv6
	netip.MustParseAddr("100.100.100.200"), // Alibaba
}

// nat64 leads to the IPv4 address in its last four bytes, RFC 6052.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Denied says why an address that a registry or DNS has named must not be
// dialled, or "". Whoever may register a service must not be able to point the
// gateway at itself or at the metadata service of the cloud (CVE-2026-24470).
func Denied(ip netip.Addr, allowLoopback bool) string {
	ip = ip.Unmap()
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case ip.IsLoopback() && !allowLoopback:
		return "loopback"
	case ip.IsUnspecified():
		return "unspecified"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no single host"
	}
	for _, m := range metadata {
		if ip.WithZone("") == m {
			return "metadata service"
		}
	}
	return ""
}

// GuardDial is for the Control of a net.Dialer that follows names which are not the
// operator's word. It judges the very address that is being dialled: DNS may have
// another answer by now than at an earlier look.
func GuardDial(allowLoopback bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		addr, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if why := Denied(addr.Addr(), allowLoopback); why != "" {
			return fmt.Errorf("the name leads to a %s address", why)
		}
		return nil
	}
}

// IsLoopback says whether a host, without port and brackets, is this machine and
// nobody else can say otherwise. Names under localhost may be in somebody's DNS.
func IsLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// Foreign is a source that tells what others have registered, not what the
// operator has written down. Its endpoints are judged again when they are dialled.
type Foreign interface {
	Source
	// AllowsLoopback says whether endpoints on this machine are welcome.
	AllowsLoopback() bool
}
