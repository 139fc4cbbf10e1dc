package server

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pithead/pithead/gateway/config"
)

// Reasons for closing a connection at once; label values of a metric.
const (
	refusedListener = "listener_full"
	refusedClient   = "client_full"
	refusedProcess  = "process_full"
	refusedOverload = "overload"      // the process accepts none
	refusedResets   = "stream_resets" // not at once, but when it has reset nearly all of its streams
	refusedHeader   = "proxy_header"  // no good PROXY header from where one must come
)

// caps counts the open connections of one listener, in all and by client. Its
// lock is taken when connections open and close, never by requests.
type caps struct {
	mu      sync.Mutex
	open    int
	clients map[netip.Addr]int
	process *budget
}

func newCaps(process *budget) *caps {
	return &caps{clients: make(map[netip.Addr]int), process: process}
}

// place is what one connection takes of the caps.
type place struct {
	caps   *caps      // nil when it has none
	client netip.Addr // whose connections it is counted among; invalid for nobody's
}

// take finds a place for a connection, or says why there is none. A client that
// is not known yet is counted by identify.
func (c *caps) take(client netip.Addr, limits *config.Limits) (p place, refused string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if limits.Connections > 0 && c.open >= limits.Connections {
		return place{}, refusedListener
	}
	p.caps = c
	if refused := p.count(client, limits); refused != "" {
		return place{}, refused
	}
	if !c.process.take() {
		p.uncount()
		return place{}, refusedProcess
	}
	c.open++
	return p, ""
}

// identify counts the place for a client that was not known before.
func (p *place) identify(client netip.Addr, limits *config.Limits) (refused string) {
	p.caps.mu.Lock()
	defer p.caps.mu.Unlock()
	return p.count(client, limits)
}

// count needs caps.mu. Loopback has no cap of its own: all that comes through a
// proxy on this machine would be one client.
func (p *place) count(client netip.Addr, limits *config.Limits) (refused string) {
	if !client.IsValid() || client.IsLoopback() {
		return ""
	}
	key := capKey(client)
	if limits.ConnectionsPerClient > 0 && p.caps.clients[key] >= limits.ConnectionsPerClient {
		return refusedClient
	}
	p.caps.clients[key]++
	p.client = key
	return ""
}

// uncount needs caps.mu.
func (p *place) uncount() {
	if !p.client.IsValid() {
		return
	}
	if p.caps.clients[p.client]--; p.caps.clients[p.client] == 0 {
		delete(p.caps.clients, p.client)
	}
}

// leave gives the place back.
func (p *place) leave() {
	if p.caps == nil {
		return
	}
	p.caps.process.give()
	p.caps.mu.Lock()
	defer p.caps.mu.Unlock()
	p.caps.open--
	p.uncount()
}

// capKey folds the addresses that one client can choose freely: a /64 of IPv6.
func capKey(client netip.Addr) netip.Addr {
	if !client.Is6() {
		return client
	}
	p, _ := client.Prefix(64) // 64 is a valid length
	return p.Addr()
}

// peerOf is the address of a connection's other end. The other end of a Unix
// socket has none, but is a process of this machine and counts as one.
func peerOf(nc net.Conn) netip.Addr {
	switch addr := nc.RemoteAddr().(type) {
	case *net.TCPAddr:
		return clientAddr(addr)
	case *net.UnixAddr:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.Addr{}
}

// portOf is the port of a TCP address.
func portOf(a net.Addr) uint16 {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Port()
	}
	return 0
}

// clientAddr is an address as all that follows compares it.
func clientAddr(a *net.TCPAddr) netip.Addr { return a.AddrPort().Addr().Unmap().WithZone("") }

// reservedFiles are descriptors that clients cannot use up: for configuration
// files, logs, the registry and the admin listener, which must answer
// especially when nothing else does.
const reservedFiles = 64

// budget bounds the connections of all listeners by the number of descriptors
// that the process may have: each proxied connection needs one towards the
// client and one towards an upstream.
type budget struct {
	limit int64
	used  atomic.Int64
}

func newBudget() *budget {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<40 {
		files.Cur = 1 << 40
	}
	return &budget{limit: connectionsFor(int64(files.Cur))}
}

func connectionsFor(files int64) int64 { return max((files-reservedFiles)/2, 16) }

func (b *budget) take() bool {
	if b.used.Add(1) <= b.limit {
		return true
	}
	b.used.Add(-1)
	return false
}

func (b *budget) give() { b.used.Add(-1) }
