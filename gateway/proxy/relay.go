package proxy

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/pithead/pithead/gateway"
)

// relay is the state of one request while it passes the core. It is a context,
// so that the pieces that ReverseProxy calls find it.
type relay struct {
	context.Context // of the client's request

	x       *gateway.Exchange
	in      *http.Request // the client's request, with this context and body
	w       writer
	body    *requestBody // nil when there is none
	unwatch func() bool  // ends the watch of the context for the body
	upgrade bool         // the request may become a tunnel
	answer  answer

	mu      sync.Mutex // guards the two below: a transport reports interim answers
	interim int        // how many there were
	final   bool       // the final answer, or an error, has come
}

type relayKey struct{}

func newRelay(w http.ResponseWriter, r *http.Request) *relay {
	s := &relay{Context: r.Context(), x: gateway.ExchangeOf(r)}
	s.w = writer{ResponseWriter: w, s: s}
	s.in = r.WithContext(s)
	if hasBody(r) {
		s.body = &requestBody{in: r.Body, s: s, busy: make(chan struct{}, 1)}
		s.in.Body = s.body
		s.unwatch = context.AfterFunc(s.Context, s.body.expire)
		if r.ProtoMajor == 1 {
			// A writer that cannot do it is not net/http's, and needs it not.
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
	}
	return s
}

// relayOf finds the relay that r passes.
func relayOf(r *http.Request) *relay { return r.Context().Value(relayKey{}).(*relay) }

// Value implements context.Context.
func (s *relay) Value(key any) any {
	if key == (relayKey{}) {
		return s
	}
	return s.Context.Value(key)
}

// fail ends the exchange with an error answer.
func (s *relay) fail(err error) {
	e := s.blame(err)
	if s.w.hijacked {
		s.x.Err = e
		return
	}
	if e.Status == gateway.StatusClientClosed {
		gateway.Fail(&s.w, s.in, e)
		panic(http.ErrAbortHandler) // net/http would send a 200 otherwise
	}
	if s.body != nil && !e.Close {
		s.body.drain(&pool)
	}
	s.w.own = true
	gateway.Fail(&s.w, s.in, e)
}

// finish is deferred around the core: it takes the client's body away from the
// transport, and records why an answer was broken off.
func (s *relay) finish() {
	p := recover()
	if s.unwatch != nil {
		s.unwatch()
	}
	if p == nil {
		s.settle()
		return
	}
	if s.body != nil {
		s.body.abandon()
	}
	if p == http.ErrAbortHandler && s.x.Err == nil { //nolint:errorlint // a panic's value, as net/http compares it
		s.x.Err = s.blameCut()
	}
	s.reset()
	panic(p)
}

// settle ends a request that has been answered.
func (s *relay) settle() {
	if s.body == nil {
		return
	}
	// The end of a chunked answer leaves after the handler, so that nothing may
	// wait for the client here: some break off their request, and with it the
	// connection, when they have read enough.
	s.body.abandon()
	if s.body.lingers() {
		s.body.arm() // for what net/http reads after us
	}
}

// flush gives the client what has been written so far. It fails when the client
// has gone, which the next write or the end of the handler finds out too.
func (s *relay) flush() { _ = http.NewResponseController(s.w.ResponseWriter).Flush() }

// reset closes the connection to an HTTP/1.0 client in a way that it notices.
// The end of the connection is the end of the answer there, so that an orderly
// one would make a broken answer look whole.
func (s *relay) reset() {
	if s.in.ProtoAtLeast(1, 1) || s.w.hijacked {
		return
	}
	conn, _, err := s.w.Hijack()
	if err != nil {
		return // not net/http's
	}
	raw := conn
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS has an end of its own
		raw = t.NetConn()
	}
	if t, ok := raw.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0) // closing is all that is left to do
	}
	_ = raw.Close()
}

// writer is the way to the client. Its failures are the client's.
type writer struct {
	http.ResponseWriter
	s        *relay
	failed   error
	own      bool // the answer is an error of ours
	hijacked bool
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if b := w.s.body; b != nil && b.lingers() {
		w.Header()["Connection"] = []string{"close"}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if err != nil && !errors.Is(err, http.ErrBodyNotAllowed) && !errors.Is(err, http.ErrContentLength) {
		w.fail(err)
	}
	return n, err
}

func (w *writer) fail(err error) {
	w.failed = err
	w.s.x.ClientFailed(err)
}

// Hijack implements http.Hijacker. What the client has sent after its handshake
// is in net/http's buffer by now, where ReverseProxy does not look.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.hijacked = true
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Peek(n)
		conn = &eagerConn{Conn: conn, early: early}
	}
	return conn, rw, nil
}

// eagerConn is a tunnel whose client did not wait for the 101.
type eagerConn struct {
	net.Conn
	early []byte
}

// Read implements net.Conn.
func (c *eagerConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// CloseWrite passes on that the upstream has nothing more to say.
func (c *eagerConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}
