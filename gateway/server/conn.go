package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
)

// phase says what would be lost if a connection were closed now.
type phase uint32

const (
	phaseIdle    phase = iota // nothing of a request has been read
	phaseClosing              // was idle when the front was retired; ends unless bytes come first
	phaseHead                 // bytes have been read, no handler has them yet
	phaseBusy                 // a handler is at work
	phaseHTTP2                // net/http itself ends HTTP/2 connections without losses
	phaseTunnel               // hijacked
	phaseParked               // in the lot, or on its way there
)

// conn is the connection of a client. http.Server.Shutdown drops a request that
// has been read but not yet given to a handler (golang/go#36819); conn knows of
// such requests, so that Shutdown can wait until there are none.
type conn struct {
	net.Conn
	front  *front
	client netip.Addr // the peer; unmapped, without zone
	remote string     // what requests say of it in place of the socket; empty is the socket's own
	port   uint16     // that the peer connected to; 0 on Unix sockets
	lane   uint32     // spreads counters over cache lines

	phase atomic.Uint32
	users atomic.Int32 // the open socket, and each handler that runs
	shut  atomic.Bool
	place place     // in the caps
	old   time.Time // when the client is asked to open a new connection; zero is never

	headerBy time.Time // when a PROXY header must have come; zero when none is awaited
	noHeader error     // it did not come
	ahead    []byte    // what came together with the header

	kernel anatomy.Socket
	resets resets // of its HTTP/2 streams

	parks bool  // it may be parked when it rests
	space space // in the lot

	mu       sync.Mutex // orders leaving phaseIdle against dismiss
	deadline time.Time  // for reads, as the engine wants it
	reads    deadline
	writes   deadline
	short    bool // the deadline of reads is parkAfter, which comes sooner
	leaving  bool // the engine was told that the client has left, and will close
}

var lanes atomic.Uint32

func newConn(nc net.Conn, f *front, client netip.Addr, p place) *conn {
	c := &conn{Conn: nc, front: f, client: client, lane: lanes.Add(1) % laneCount, place: p}
	c.users.Store(1)
	if nc != nil && nc.LocalAddr().Network() == "unix" {
		c.remote = netip.AddrPortFrom(client, 0).String()
	}
	c.kernel.Init(nc)
	if age := f.listener.Timeouts.MaxAge; age > 0 {
		// Clients that came together, after a restart, must not all go together.
		c.old = time.Now().Add(age - age/10 + rand.N(age/5+1))
	}
	return c
}

// aged says whether the client should open a new connection by now.
func (c *conn) aged(now time.Time) bool { return !c.old.IsZero() && now.After(c.old) }

// Read notices the first bytes of a request.
func (c *conn) Read(p []byte) (int, error) {
	if !c.headerBy.IsZero() {
		if err := c.readHeader(); err != nil {
			return 0, err
		}
	}
	n, err := c.read(p)
	for n == 0 && err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		leave, again := c.rest()
		if leave {
			return 0, io.EOF
		}
		if !again {
			break
		}
		n, err = c.read(p)
	}
	if n > 0 && phase(c.phase.Load()) < phaseHead {
		c.enter(phaseHead)
	}
	return n, err
}

// rest is asked when a read came to its deadline. If that was parkAfter, an idle
// connection leaves the engine for the lot, and any other read goes on until its
// own deadline.
func (c *conn) rest() (leave, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reads.passed(c.Conn.SetReadDeadline) {
		return false, true
	}
	if !c.short {
		return false, false
	}
	c.short = false
	if c.phase.CompareAndSwap(uint32(phaseIdle), uint32(phaseParked)) {
		c.leaving = true
		return true, false
	}
	return false, c.reads.exactly(c.deadline, c.Conn.SetReadDeadline) == nil
}

func (c *conn) read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.ahead)
	if c.ahead = c.ahead[n:]; len(c.ahead) == 0 {
		c.ahead = nil // its array is larger than what is left of it
	}
	return n, nil
}

// enter leaves phaseIdle or phaseClosing. Bytes that arrived at the last moment
// win over the intention to close.
func (c *conn) enter(p phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if phase(c.phase.Load()) == phaseClosing {
		_ = c.reads.exactly(c.deadline, c.Conn.SetReadDeadline) // fails only on a closed connection
	}
	c.phase.Store(uint32(p))
}

// dismiss ends the connection if it is idle, by ending the read that the
// engine waits in.
func (c *conn) dismiss() {
	c.mu.Lock()
	if c.phase.CompareAndSwap(uint32(phaseIdle), uint32(phaseClosing)) {
		c.short = false
		expire(func(t time.Time) error { return c.reads.exactly(t, c.Conn.SetReadDeadline) })
	}
	// One that is on its way to the lot will find that it may not enter.
	parked := c.phase.CompareAndSwap(uint32(phaseParked), uint32(phaseClosing)) && c.front.lot.take(c)
	c.mu.Unlock()
	if parked {
		_ = c.Close()
	}
}

// SetReadDeadline implements net.Conn. The engine sets a new deadline just before
// it waits for a request, which must not undo dismiss.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if phase(c.phase.Load()) == phaseClosing {
		return nil
	}
	t = c.bounded(t)
	c.short = false
	if c.parks && phase(c.phase.Load()) == phaseIdle {
		if soon := time.Now().Add(c.front.parkAfter); t.IsZero() || soon.Before(t) {
			t, c.short = soon, true
		}
	}
	if !c.headerBy.IsZero() { // takeHeader knows but the socket
		return c.reads.exactly(t, c.Conn.SetReadDeadline)
	}
	return c.reads.until(t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes.until(t, c.Conn.SetWriteDeadline)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	for err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.writesOn() {
		var m int
		m, err = c.Conn.Write(p[n:])
		n += m
	}
	return n, err
}

// writesOn is asked when a write came to its deadline.
func (c *conn) writesOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.writes.passed(c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// CloseWrite lets the engine linger after an answer to a request that it did not
// read to its end; without it the client would see a reset instead of the answer.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close implements net.Conn. The first one after a rest is the engine's, which
// gives the connection up so that it can be parked.
func (c *conn) Close() error {
	c.mu.Lock()
	leaving := c.leaving
	c.leaving = false
	if leaving && phase(c.phase.Load()) == phaseParked && c.front.lot.park(c) {
		c.mu.Unlock()
		return nil
	}
	c.front.lot.take(c)
	c.mu.Unlock()
	return c.end()
}

// end closes the socket.
func (c *conn) end() error {
	err := c.Conn.Close()
	if c.shut.CompareAndSwap(false, true) {
		c.place.leave()
		c.done()
	}
	return err
}

// begin notes that a handler has a request of this connection; done ends it.
func (c *conn) begin(http1 bool) {
	c.users.Add(1)
	if http1 {
		c.enter(phaseBusy)
	} else {
		c.resets.streams.Add(1)
	}
}

func (c *conn) done() {
	if c.users.Add(-1) == 0 {
		c.front.forget(c)
	}
}

// rested is told when the engine waits for the next request, and nothing of that has
// come.
func (c *conn) rested() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parks = c.front.listener.TLS == nil && pollable(c.Conn)
	c.phase.Store(uint32(phaseIdle))
}

// pending says whether a request has been read that no handler has yet.
func (c *conn) pending() bool { return phase(c.phase.Load()) <= phaseHead }

// connOf finds the conn below what the engine and net/http call the connection.
func connOf(nc net.Conn) *conn {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, _ := nc.(*conn)
	return c
}

type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, connOf(nc))
}

func connOfRequest(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}
