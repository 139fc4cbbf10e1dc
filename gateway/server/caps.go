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
)

// caps counts the open connections of one address, in all and by client. Its
// lock is taken when connections open and close, never by requests.
type caps struct {
	mu      sync.Mutex
	open    int
	clients map[netip.Addr]int
	process *budget
}

// take finds a place for a connection. It returns how to give it back, or why
// there is none.
func (c *caps) take(client netip.Addr, limits *config.Limits) (leave func(), refused string) {
	counted := client.IsValid() && !client.IsLoopback()
	key := capKey(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case limits.Connections > 0 && c.open >= limits.Connections:
		return nil, refusedListener
	case counted && limits.ConnectionsPerClient > 0 && c.clients[key] >= limits.ConnectionsPerClient:
		return nil, refusedClient
	case !c.process.take():
		return nil, refusedProcess
	}
	c.open++
	if counted {
		c.clients[key]++
	}
	return func() {
		c.process.give()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open--
		if !counted {
			return
		}
		if c.clients[key]--; c.clients[key] == 0 {
			delete(c.clients, key)
		}
	}, ""
}

// capKey folds the addresses that one client can choose freely: a /64 of IPv6.
func capKey(client netip.Addr) netip.Addr {
	if !client.Is6() {
		return client
	}
	p, _ := client.Prefix(64) // 64 is a valid length
	return p.Addr()
}

// peerOf is the address of a connection's other end; invalid for a socket
// without one.
func peerOf(nc net.Conn) netip.Addr {
	tcp, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}

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
