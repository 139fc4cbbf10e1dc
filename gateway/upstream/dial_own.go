package upstream

import (
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
)

// Own knows the addresses that this process listens on, so that nobody makes it
// send requests to itself in a circle, or to its admin API. It outlives reloads;
// a nil one knows none.
type Own struct{ listen atomic.Pointer[[]ownAddress] }

type ownAddress struct {
	ip   netip.Addr // the zero value is every address of the machine
	port uint16
}

// Set replaces the addresses, each host:port. An empty host or a name stands for
// every address of the machine; what is no host:port, such as a Unix socket,
// cannot be dialled and is left out.
func (o *Own) Set(addresses []string) {
	var all []ownAddress
	for _, address := range addresses {
		host, portText, err := net.SplitHostPort(address)
		if err != nil {
			continue
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil {
			continue
		}
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.IsUnspecified() {
			ip = netip.Addr{}
		}
		all = append(all, ownAddress{ip.Unmap().WithZone(""), uint16(port)})
	}
	o.listen.Store(&all)
}

func (o *Own) has(addr netip.AddrPort) bool {
	if o == nil || o.listen.Load() == nil {
		return false
	}
	ip := addr.Addr().Unmap().WithZone("")
	for _, own := range *o.listen.Load() {
		if own.port == addr.Port() && (own.ip == ip || !own.ip.IsValid() && local(ip)) {
			return true
		}
	}
	return false
}

// local says whether an address is this machine's. The system is asked only for
// those with the port of a listener.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, addr := range addrs {
		if prefix, err := netip.ParsePrefix(addr.String()); err == nil && prefix.Addr().Unmap().WithZone("") == ip {
			return true
		}
	}
	return false
}
