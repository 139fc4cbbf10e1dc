package server

import (
	"context"
	"net"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

// door is an address with the front that serves it now.
type door struct {
	socket *socket
	front  *front
}

// planned is a listener of the next configuration.
type planned struct {
	name     string
	listener *config.Listener
	socket   *socket
	fresh    bool // bound for this plan
}

// plan binds the addresses that are new in c, and finds those that stay. After
// an error nothing is bound.
func (s *Server) plan(ctx context.Context, c *config.Config) ([]planned, error) {
	var all []planned
	for name, l := range c.Listeners {
		if d, ok := s.doors[l.Address]; ok {
			all = append(all, planned{name, l, d.socket, false})
			continue
		}
		sock, err := bind(ctx, l.Address, s.budget, s.log)
		if err != nil {
			unbind(all)
			return nil, c.Errorf(&l.Address, "%w", err)
		}
		all = append(all, planned{name, l, sock, true})
	}
	return all, nil
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
		addrs[p.name] = p.socket.ln.Addr()
	}
	return addrs
}

// open carries out a plan: listeners that changed get a new front on the same
// socket, listeners that are gone are closed. Old fronts retire meanwhile.
func (s *Server) open(g *generation, all []planned) {
	lameDuck := g.config.Shutdown.LameDuck
	for _, p := range all {
		d, ok := s.doors[p.listener.Address]
		if ok && d.front.name == p.name && sameSettings(&d.front.listener, p.listener) {
			continue
		}
		f := s.newFront(g, p)
		s.work.Go(func() {
			if err := f.run(); err != nil {
				s.log.Error("listener ended", "listener", f.name, "error", err)
			}
		})
		if old := p.socket.serve(f); old != nil {
			s.work.Go(func() { old.retire(s.life, lameDuck) })
		}
		s.doors[p.listener.Address] = &door{p.socket, f}
	}
	for address, d := range s.doors {
		if slices.ContainsFunc(all, func(p planned) bool { return p.listener.Address == address }) {
			continue
		}
		delete(s.doors, address)
		d.socket.close()
		d.front.count.Retire()
		s.work.Go(func() { d.front.retire(s.life, lameDuck) })
	}
}

func (s *Server) newFront(g *generation, p planned) *front {
	f := newFront(p.name, p.listener, p.socket.ln.Addr(), s.metrics.Listener(p.name), s.log)
	f.server.Handler = s.handler(f)
	if p.listener.TLS != nil {
		f.server.TLSConfig = listenerTLS(s.tlsFor(p.name, g.snap.TLS(p.name)))
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
