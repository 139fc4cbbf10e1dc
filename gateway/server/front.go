package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/http1"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/overload"
)

// front serves the connections of a socket with the settings of one listener,
// until it is retired. It is the net.Listener of its own http.Server.
type front struct {
	name     string
	listener config.Listener
	engine   *http1.Server
	server   *http.Server // of HTTP/2
	tls      *tls.Config  // nil for none
	count    *obs.Listener
	caps     *caps
	addr     net.Addr

	offers   chan *conn
	stop     chan struct{} // closed when no more connections are taken
	once     sync.Once
	lame     atomic.Bool // every answer asks the client to go
	ending   atomic.Bool // no connection waits for a further request
	lot      *lot
	pressure *overload.Manager // nil: never under any

	parkAfter time.Duration // how long a connection rests before it is parked

	mu    sync.Mutex
	conns map[*conn]struct{}
	gone  chan struct{} // closed once stopped and without connections
}

// newFront makes a front for the connections to addr.
func newFront(name string, l *config.Listener, addr net.Addr, count *obs.Listener, limit *caps, log *slog.Logger) *front {
	f := &front{
		name: name, listener: *l, count: count, caps: limit, addr: addr,
		offers: make(chan *conn), stop: make(chan struct{}),
		conns: make(map[*conn]struct{}), gone: make(chan struct{}), parkAfter: parkAfter,
	}
	f.lot = newLot(f)
	f.server = newHTTPServer(l, log)
	f.engine = f.newEngine()
	f.server.ConnContext = withConn
	f.server.ConnState = func(nc net.Conn, state http.ConnState) {
		c := connOf(nc)
		if state == http.StateIdle { // once, after the preface
			c.phase.Store(uint32(phaseHTTP2))
		}
	}
	return f
}

// run serves until the front is stopped.
func (f *front) run() { f.accept(f) }

// offer hands over a connection and says whether the front has taken it.
func (f *front) offer(c *conn) bool {
	if !f.remember(c) {
		return false
	}
	select {
	case f.offers <- c:
		return true
	case <-f.stop:
		f.forget(c)
		return false
	}
}

// remember refuses when the front has been stopped: then nobody may wait for it
// any more.
func (f *front) remember(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.stop:
		return false
	default:
	}
	f.conns[c] = struct{}{}
	f.count.Opened()
	return true
}

// Accept implements net.Listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.offers:
		return c, nil
	case <-f.stop:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (f *front) Addr() net.Addr { return f.addr }

// Close implements net.Listener: the front takes no more connections.
func (f *front) Close() error {
	f.once.Do(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		close(f.stop)
		f.checkGone()
	})
	return nil
}

// forget is called when a connection is closed and its handlers have ended.
func (f *front) forget(c *conn) {
	f.count.Closed()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	f.checkGone()
}

// checkGone needs f.mu.
func (f *front) checkGone() {
	select {
	case <-f.stop:
	default:
		return
	}
	if len(f.conns) > 0 {
		return
	}
	select {
	case <-f.gone:
	default:
		close(f.gone)
	}
}

// open are the connections of this moment.
func (f *front) open() []*conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.conns))
}

// retire ends the front without losing a request that was read: no new
// connections; for the time of the lame duck each answer says that it is the
// last one on its connection; then idle connections are closed; then
// http.Server.Shutdown, which tells HTTP/2 clients to go. What is still there
// when ctx ends, tunnels included, is cut off.
func (f *front) retire(ctx context.Context, lameDuck time.Duration) {
	f.lame.Store(true)
	_ = f.Close()
	select {
	case <-time.After(lameDuck):
	case <-f.gone:
	case <-ctx.Done():
	}
	f.settle(ctx)
	f.ending.Store(true)
	_ = f.server.Shutdown(ctx) // only ever says that ctx has ended
	f.dismissAll(ctx)
	_ = f.lot.Close() // never fails; Shutdown closes it only if it was in use
	defer f.lot.work.Wait()
	select {
	case <-f.gone:
		return
	case <-ctx.Done():
	}
	f.cut()
}

// settle closes idle connections and waits until no request is between the
// socket and its handler. A head that is not complete in the time for heads was
// never a request: it must not keep HTTP/2 clients from being told to go.
func (f *front) settle(ctx context.Context) {
	late := time.NewTimer(f.listener.Timeouts.Header)
	tick := time.NewTicker(5 * time.Millisecond)
	defer late.Stop()
	defer tick.Stop()
	for {
		var pending []*conn
		for _, c := range f.open() {
			c.dismiss()
			if c.pending() {
				pending = append(pending, c)
			}
		}
		if len(pending) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			for _, c := range pending {
				_ = c.Close() // half a head is lost, which is the point
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// lastWords is how long handlers may take to end when their connections were cut.
const lastWords = time.Second

// cut closes all connections and gives their handlers a moment to write their
// line in the access log.
func (f *front) cut() {
	_ = f.server.Close()
	for _, c := range f.open() {
		_ = c.Close()
	}
	select {
	case <-f.gone:
	case <-time.After(lastWords):
	}
}
