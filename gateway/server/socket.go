package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/unixsocket"
)

// socket is a bound address. Its fronts come and go with the settings of the
// listener; connections in the kernel's backlog notice nothing.
type socket struct {
	address string // as configured
	ln      net.Listener
	log     *slog.Logger
	front   atomic.Pointer[front]
	accepts sync.WaitGroup
	once    sync.Once
	closed  chan struct{}
	stops   func() bool // whether no connections are to be accepted; nil: never
}

// bind listens on host:port, or on "unix:" and a path.
func bind(ctx context.Context, address string, mode config.SocketMode, log *slog.Logger) (*socket, error) {
	ln, err := listenOn(ctx, address, mode)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return newSocket(address, ln, log), nil
}

func listenOn(ctx context.Context, address string, mode config.SocketMode) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		return new(net.ListenConfig).Listen(ctx, "tcp", address)
	}
	ln, err := unixsocket.Listen(path, fs.FileMode(mode))
	if err != nil {
		return nil, err // no nil *Listener in an interface
	}
	return ln, nil
}

func newSocket(address string, ln net.Listener, log *slog.Logger) *socket {
	return &socket{address: address, ln: ln, log: log, closed: make(chan struct{})}
}

// permit sets who may connect to a Unix socket that is bound already.
func (s *socket) permit(mode config.SocketMode) {
	if ln, ok := s.ln.(*unixsocket.Listener); ok {
		if err := ln.Chmod(fs.FileMode(mode)); err != nil {
			s.log.Error("cannot change the mode of a socket", "address", s.address, "error", err)
		}
	}
}

// serve lets f have all connections from now on and returns the front that had
// them before, if any.
func (s *socket) serve(f *front) *front {
	old := s.front.Swap(f)
	s.once.Do(func() { s.accepts.Go(s.accept) })
	return old
}

// close stops accepting. Connections that were accepted live on.
func (s *socket) close() {
	s.once.Do(func() {})
	close(s.closed)
	_ = s.ln.Close() // nothing is buffered in a listener
	s.accepts.Wait()
}

// accept pauses growing times after errors: out of descriptors, the kernel
// keeps connections in the backlog and a loop without a pause would burn a core.
func (s *socket) accept() {
	var pause time.Duration
	for {
		nc, err := s.ln.Accept()
		if err == nil {
			pause = 0
			if s.stops != nil && s.stops() {
				s.front.Load().count.Refused(refusedOverload)
				hangUp(nc)
				s.rest()
				continue
			}
			s.admit(nc)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if pause == 0 {
			s.log.Error("cannot accept connections", "address", s.address, "error", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-s.closed:
			return
		}
	}
}

// rest leaves connections to the kernel's backlog while the process is to accept none.
func (s *socket) rest() {
	for s.stops() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.closed:
			return
		}
	}
}

// admit hands a connection to the front in charge, or refuses it.
func (s *socket) admit(nc net.Conn) {
	peer := peerOf(nc)
	for {
		f := s.front.Load()
		client := peer
		headed := f.awaitsHeader(peer)
		if headed {
			client = netip.Addr{} // the header tells
		}
		p, refused := f.caps.take(client, &f.listener.Limits)
		if refused != "" {
			f.count.Refused(refused)
			hangUp(nc)
			return
		}
		c := newConn(nc, f, peer, p)
		c.port = portOf(nc.LocalAddr())
		if headed {
			c.awaitHeader(f.listener.ProxyProtocol.Timeout)
		}
		if f.offer(c) {
			f.pressure.Takes(connectionTakes)
			return
		}
		p.leave()
		if s.front.Load() == f { // retired without a successor: the end
			hangUp(nc)
			return
		}
	}
}

// connectionTakes is about what a connection with a request costs in memory.
const connectionTakes = 64 << 10

// hangUp closes with a reset, so that refused connections cost no TIME_WAIT.
func hangUp(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = nc.Close() // nothing was written
}
