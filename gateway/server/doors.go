package server

import (
	"context"
	"maps"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

// door is an address with the front that serves it now.
type door struct {
	socket *socket
	front  *front
}

// planned is an address of a listener of the next configuration.
type planned struct {
	key      string // of its door
	name     string
	listener *config.Listener
	socket   *socket
	fresh    bool // bound for this plan
}

// doorKey is the address, but for a port that the system chooses anew each time.
func doorKey(name string, i int, address string) string {
	if strings.HasSuffix(address, ":0") {
		return name + " " + strconv.Itoa(i) + " " + address
	}
	return address
}

// plan binds the addresses that are new in c, and finds those that stay. After
// an error nothing is bound.
func (s *Server) plan(ctx context.Context, c *config.Config) ([]planned, error) {
	var all []planned
	for _, name := range slices.Sorted(maps.Keys(c.Listeners)) {
		l := c.Listeners[name]
		for i, address := range l.Listen() {
			p := planned{key: doorKey(name, i, address), name: name, listener: l}
			if d, ok := s.doors[p.key]; ok {
				p.socket = d.socket
			} else {
				sock, err := bind(ctx, address, l.SocketMode, s.log)
				if err != nil {
					unbind(all)
					return nil, c.Errorf(addressField(l, i), "%w", err)
				}
				sock.stops = s.pressure.Stops
				p.socket, p.fresh = sock, true
			}
			all = append(all, p)
		}
	}
	return all, nil
}

func addressField(l *config.Listener, i int) *string {
	if l.Address != "" {
		return &l.Address
	}
	return &l.Addresses[i]
}

func unbind(all []planned) {
	for _, p := range all {
		if p.fresh {
			p.socket.close()
		}
	}
}

func addrsOf(all []planned) map[string]net.Addr {
	addrs := make(map[string]net.Addr, len(all))
	for _, p := range all {
		if _, first := addrs[p.name]; !first {
			addrs[p.name] = p.socket.ln.Addr()
		}
	}
	return addrs
}

// open carries out a plan: listeners that changed get a new front on the same
// socket, listeners that are gone are closed. Old fronts retire meanwhile.
func (s *Server) open(g *generation, all []planned) {
	lameDuck := g.config.Shutdown.LameDuck
	for _, p := range all {
		d, ok := s.doors[p.key]
		if ok && d.front.name == p.name && sameSettings(&d.front.listener, p.listener) {
			continue
		}
		f := s.newFront(g, p)
		s.work.Go(f.run)
		if !p.fresh {
			p.socket.permit(p.listener.SocketMode)
		}
		if old := p.socket.serve(f); old != nil {
			s.retire(old, lameDuck)
		}
		s.doors[p.key] = &door{p.socket, f}
	}
	for key, d := range s.doors {
		if slices.ContainsFunc(all, func(p planned) bool { return p.key == key }) {
			continue
		}
		delete(s.doors, key)
		d.socket.close()
		if g.config.Listeners[d.front.name] == nil {
			d.front.count.Retire()
			delete(s.caps, d.front.name)
		}
		s.retire(d.front, lameDuck)
	}
}

// retire begins the end of a front. From here on its answers say so: whoever
// asked for the reload may count on it once that is told to have succeeded.
func (s *Server) retire(f *front, lameDuck time.Duration) {
	f.lame.Store(true)
	s.work.Go(func() { f.retire(s.life, lameDuck) })
}

// capsOf are the counts of a listener, which outlive its fronts.
func (s *Server) capsOf(name string) *caps {
	c, ok := s.caps[name]
	if !ok {
		c = newCaps(s.budget)
		s.caps[name] = c
	}
	return c
}

func (s *Server) newFront(g *generation, p planned) *front {
	f := newFront(p.name, p.listener, p.socket.ln.Addr(), s.metrics.Listener(p.name), s.capsOf(p.name), s.log)
	s.attach(f)
	if p.listener.TLS != nil {
		f.tls = listenerTLS(s.tlsFor(p.name, g.snap.TLS(p.name)))
	}
	return f
}

// sameSettings compares all that a front is made of. Certificates are not: each
// handshake asks for the current ones.
func sameSettings(a, b *config.Listener) bool {
	x, y := *a, *b
	if (x.TLS == nil) != (y.TLS == nil) {
		return false
	}
	x.TLS, y.TLS = nil, nil
	x.Address, y.Address, x.Addresses, y.Addresses = "", "", nil, nil // a front has one of them
	return reflect.DeepEqual(x, y)
}

// closeDoors closes all sockets and retires their fronts, and returns when the
// last connection has ended or ctx has.
func (s *Server) closeDoors(ctx context.Context, lameDuck time.Duration) {
	var all sync.WaitGroup
	for _, d := range s.doors {
		d.socket.close()
	}
	for _, d := range s.doors {
		all.Go(func() { d.front.retire(ctx, lameDuck) })
	}
	clear(s.doors)
	all.Wait()
}
