package http1

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"
)

// Server answers clients over HTTP/1.1. Its fields are not to be changed once it is
// in use.
type Server struct {
	// Handler answers the requests.
	Handler http.Handler
	// HeaderTimeout is the longest that the head of a request may take, from its first
	// byte on, or from the beginning of the connection. Default: no limit.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may rest between two requests. Default: no
	// limit.
	IdleTimeout time.Duration
	// MaxHead bounds the head of a request, and its trailers, in bytes. Default: 256 KiB.
	MaxHead int
	// Context makes the context of a connection. Default: that of the background.
	Context func(net.Conn) context.Context
	// Refuse answers what is no request; r has what was understood of it. The connection
	// is closed then. Default: a line of text.
	Refuse func(w http.ResponseWriter, r *http.Request, err *ClientError)
	// HTTP2 gets connections that begin like HTTP/2, with what has been read of them.
	// Default: they are refused.
	HTTP2 func(c net.Conn, read []byte)
	// Resting is told when a connection waits for its next request, and nothing of that
	// has come. It says whether the connection is to be kept. Default: it is.
	Resting func(net.Conn) bool
	// Hijacked is told when a handler takes a connection.
	Hijacked func(net.Conn)
	// Panicked is told of a handler that panics with something else than
	// http.ErrAbortHandler. Default: nobody is.
	Panicked func(r *http.Request, value any, stack []byte)
}

// Serve answers the requests of one connection, one after the other, and closes it.
// It returns when it is closed, or somebody else's.
func (s *Server) Serve(nc net.Conn) {
	c := &client{s: s, net: nc, remote: nc.RemoteAddr().String()}
	c.in.src = nc
	if t, ok := nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	ctx := context.Background()
	if s.Context != nil {
		ctx = s.Context(nc)
	}
	c.ctx, c.leave = context.WithCancel(context.WithValue(ctx, http.LocalAddrContextKey, nc.LocalAddr()))
	c.watch.init(c)
	defer c.leave()
	defer c.end()
	for fresh := true; c.next(fresh); fresh = false {
	}
	c.in.discard()
}

// end closes the connection, also when a handler ends its goroutine, or when a mistake
// of ours shows: that must not end the process.
func (c *client) end() {
	if value := recover(); value != nil && c.s.Panicked != nil {
		c.s.Panicked(&http.Request{RemoteAddr: c.remote}, value, debug.Stack())
	}
	if !c.gone {
		_ = c.net.Close() // whoever sent an answer has waited for the client already
	}
}

// client is the connection of a client.
type client struct {
	s      *Server
	net    net.Conn
	in     reader
	remote string
	tls    *tls.ConnectionState // nil for none
	ctx    context.Context
	leave  context.CancelFunc // the client has left, or is about to
	watch  watch
	gone   bool // the connection is somebody else's
}

// preface is how HTTP/2 begins (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// next answers one request, and says whether there may be another one.
func (c *client) next(fresh bool) bool {
	if !c.await(fresh) {
		return false
	}
	h, err := c.in.readRequestHead(cmp.Or(c.s.MaxHead, maxHead))
	if errors.Is(err, errPreface) {
		if c.s.HTTP2 != nil && fresh && c.in.begins(preface) {
			c.handOver()
			return false
		}
		err = badRequest(badMethod, "PRI is no method")
	}
	if err == nil {
		err = c.net.SetReadDeadline(time.Time{})
	}
	if err != nil {
		c.refuse(&h, err)
		return false
	}
	return c.answer(&h)
}

// handOver gives the connection to who knows HTTP/2.
func (c *client) handOver() {
	read := bytes.Clone(c.in.buffered())
	c.in.discard()
	c.gone = true
	c.s.HTTP2(c.net, read)
}

// await waits for the first byte of a request.
func (c *client) await(fresh bool) bool {
	now := time.Now()
	if len(c.in.buffered()) > 0 { // sent ahead
		return c.within(now, c.s.HeaderTimeout)
	}
	wait := c.s.HeaderTimeout
	if !fresh {
		if wait = c.s.IdleTimeout; c.s.Resting != nil && !c.s.Resting(c.net) {
			return false
		}
	}
	if !c.within(now, wait) || c.first(fresh) != nil {
		return false
	}
	if fresh || c.in.hasHead() {
		return true
	}
	return c.within(time.Now(), c.s.HeaderTimeout)
}

// first waits for something to come, where it may take long without a buffer. Below TLS
// the rest of a record needs no second system call, and a connection begins but once; a
// plain one that rests is given up by Resting's side before long.
func (c *client) first(fresh bool) error {
	c.in.release() // what is left of a body may have been in it
	if c.tls == nil && !fresh {
		return c.in.fill()
	}
	n, err := c.net.Read(c.watch.got[:])
	if n == 0 {
		return err
	}
	c.in.push(c.watch.got[0])
	return nil
}

// within bounds the reads that follow.
func (c *client) within(now time.Time, d time.Duration) bool {
	var t time.Time
	if d > 0 {
		t = now.Add(d)
	}
	return c.net.SetReadDeadline(t) == nil
}

// answer has a request answered.
func (c *client) answer(h *requestHead) (again bool) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	w := &response{c: c, minor: h.minor, method: h.Method, close: h.Close, length: lengthUnknown}
	if h.chunked || h.ContentLength > 0 {
		w.body = &requestBody{c: c, w: w, chunked: h.chunked, left: h.ContentLength, trailer: h.Trailer}
		w.expects = h.minor == 1 && expectsContinue(h.Header)
		h.Body = w.body
	}
	h.RemoteAddr, h.TLS = c.remote, c.tls
	w.req = h.WithContext(ctx)
	if w.body == nil {
		c.watch.begin()
	} else {
		w.body.req = w.req
	}
	if len(c.in.buffered()) == 0 && w.body == nil {
		c.in.release()
	}
	whole := c.handle(w, func() { c.s.Handler.ServeHTTP(w, w.req) })
	cancel() // what follows may wait for the client
	if w.hijacked {
		return false
	}
	if w.body != nil {
		w.body.stop()
	}
	c.watch.end()
	if !whole {
		w.abort()
		return false
	}
	return w.finish() && c.net.SetWriteDeadline(time.Time{}) == nil // the handler's own
}

// handle calls a handler, and says whether it came to its end.
func (c *client) handle(w *response, handler func()) (whole bool) {
	defer func() {
		if whole {
			return
		}
		value := recover()
		if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			return
		}
		if c.s.Panicked != nil {
			c.s.Panicked(w.req, value, debug.Stack())
		}
	}()
	handler()
	return true
}

// refuse answers what is no request. Who has left, or was too slow, gets nothing.
func (c *client) refuse(h *requestHead, err error) {
	bad, ok := errors.AsType[*ClientError](err)
	if !ok {
		return
	}
	w := &response{c: c, minor: 1, method: http.MethodGet, close: true, length: lengthUnknown}
	h.RemoteAddr, h.TLS, h.Body, h.Close = c.remote, c.tls, http.NoBody, true
	if h.URL == nil {
		h.URL = new(url.URL)
	}
	if h.Header == nil {
		h.Header = make(http.Header)
	}
	if h.Proto == "" {
		h.Proto, h.ProtoMajor, h.ProtoMinor = "HTTP/1.1", 1, 1
	}
	w.req = h.WithContext(c.ctx)
	if c.handle(w, func() { c.turnDown(w, bad) }) {
		_ = w.finish() // the connection ends in any case
	}
	c.linger()
}

func (c *client) turnDown(w *response, bad *ClientError) {
	if c.s.Refuse != nil {
		c.s.Refuse(w, w.req, bad)
		return
	}
	http.Error(w, http.StatusText(bad.Status)+": "+bad.Msg, bad.Status)
}

// linger lets the client read what was written: an end with unread bytes would reset
// the connection (RFC 9112 section 9.6).
func (c *client) linger() {
	half, ok := c.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.net.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.net, lingerBytes) // to the client's end, or to the limit
}

// What a client may go on sending when it has been answered.
const (
	lingerFor   = 500 * time.Millisecond
	lingerBytes = 256 << 10
)
