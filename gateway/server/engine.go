package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway/http1"
)

// newEngine makes what serves HTTP/1.1.
func (f *front) newEngine() *http1.Server {
	l := &f.listener
	e := &http1.Server{
		HeaderTimeout: l.Timeouts.Header, IdleTimeout: l.Timeouts.Idle, MaxHead: int(l.Limits.HeaderBytes),
		Context: func(nc net.Conn) context.Context { return withConn(context.Background(), nc) },
		Resting: func(nc net.Conn) bool {
			connOf(nc).rested()
			return !f.ending.Load()
		},
		Hijacked: func(nc net.Conn) { connOf(nc).phase.Store(uint32(phaseTunnel)) },
		Panicked: func(r *http.Request, value any, stack []byte) {
			f.server.ErrorLog.Printf("panic serving %v: %v\n%s", r.RemoteAddr, value, stack)
		},
	}
	if f.server.Protocols.UnencryptedHTTP2() {
		e.HTTP2 = func(nc net.Conn, read []byte) {
			c := connOf(nc)
			c.ahead = append(read, c.ahead...)
			_ = c.SetReadDeadline(time.Time{}) // fails only on a closed connection
			f.toHTTP2(c)
		}
	}
	return e
}

// handle has h answer all requests.
func (f *front) handle(h http.Handler) { f.server.Handler, f.engine.Handler = h, h }

// accept serves the connections of a listener until it is closed.
func (f *front) accept(from net.Listener) {
	for {
		nc, err := from.Accept()
		if err != nil {
			return
		}
		go f.serve(nc)
	}
}

// serve finds out what a connection speaks.
func (f *front) serve(nc net.Conn) {
	switch {
	case f.tls != nil:
		f.serveTLS(nc)
	case f.server.Protocols.HTTP1():
		f.engine.Serve(nc)
	default:
		f.toHTTP2(nc)
	}
}

func (f *front) serveTLS(nc net.Conn) {
	t := tls.Server(nc, f.tls)
	by := time.Now().Add(f.listener.Timeouts.Header)
	err := nc.SetDeadline(by)
	if err == nil {
		err = t.HandshakeContext(context.Background()) // the deadline bounds it
	}
	if err == nil {
		err = nc.SetDeadline(time.Time{})
	}
	if err != nil {
		f.server.ErrorLog.Printf("TLS handshake with %v: %v", nc.RemoteAddr(), err)
		if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
			_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nthis port speaks TLS\n") // it ends here
		}
		_ = nc.Close() // nothing was said
		return
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		f.toHTTP2(t)
		return
	}
	if !f.server.Protocols.HTTP1() { // crypto/tls lets those pass who offer nothing
		_ = t.Close() // nothing was said
		return
	}
	f.engine.Serve(t)
}

// toHTTP2 hands a connection over to net/http, which takes none when it has been shut
// down.
func (f *front) toHTTP2(nc net.Conn) {
	s := &single{conn: nc}
	_ = f.server.Serve(s)
	if s.conn != nil {
		_ = s.conn.Close() // nothing was said
	}
}

// single is a listener of one connection.
type single struct{ conn net.Conn }

// Accept implements net.Listener.
func (s *single) Accept() (net.Conn, error) {
	c := s.conn
	if c == nil {
		return nil, net.ErrClosed
	}
	s.conn = nil
	return c, nil
}

// Close implements net.Listener.
func (*single) Close() error { return nil }

// Addr implements net.Listener.
func (*single) Addr() net.Addr { return &net.TCPAddr{} }

// dismissAll closes the connections of the engine when they come to rest, until none is
// left or ctx ends.
func (f *front) dismissAll(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, c := range f.open() {
			c.dismiss()
		}
		select {
		case <-f.gone:
			return
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
