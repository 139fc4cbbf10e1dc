package upstream

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
)

// trackedConn is a connection to an endpoint that remembers what it was last said
// to be used for.
type trackedConn struct {
	*net.TCPConn

	socket anatomy.Socket
}

func track(k *anatomy.Kernel, conn net.Conn) net.Conn {
	tcp, ok := conn.(*net.TCPConn)
	if k == nil || !ok {
		return conn
	}
	t := &trackedConn{TCPConn: tcp}
	t.socket.Init(tcp)
	return t
}

// trackedOf finds the connection below what a transport uses.
func trackedOf(conn net.Conn) (t *trackedConn, secure *tls.Conn) {
	if secure, _ = conn.(*tls.Conn); secure != nil {
		conn = secure.NetConn()
	}
	t, _ = conn.(*trackedConn)
	return t, secure
}

// connHook hears which connection an attempt gets. It is pooled with its hook,
// because net/http wants a function, and a new one would be an allocation for each
// request.
type connHook struct {
	a     *attempt
	trace *httptrace.ClientTrace
	hook  func(httptrace.GotConnInfo)
	outer func(httptrace.GotConnInfo) // of whoever else wants to hear it
}

var connHooks = sync.Pool{New: func() any {
	f := new(connHook)
	f.hook = func(info httptrace.GotConnInfo) {
		f.a.got(info)
		if f.outer != nil {
			f.outer(info)
		}
	}
	return f
}}

// follow hangs on the trace of a request that came through the proxy core, which
// belongs to that request alone. net/http calls the hook before RoundTrip returns.
func (a *attempt) follow(req *http.Request) *connHook {
	if a.c.opts.Kernel == nil {
		return nil
	}
	trace := httptrace.ContextClientTrace(req.Context())
	if trace == nil {
		return nil
	}
	f := connHooks.Get().(*connHook)
	f.a, f.trace, f.outer = a, trace, trace.GotConn
	trace.GotConn = f.hook
	a.x.Anatomy.Opening = true
	return f
}

func (f *connHook) end() {
	if f == nil {
		return
	}
	f.trace.GotConn = f.outer
	f.a, f.trace, f.outer = nil, nil, nil
	connHooks.Put(f)
}

// got is called with the connection of the attempt.
func (a *attempt) got(info httptrace.GotConnInfo) {
	x := a.x
	x.Anatomy.Opening = false
	if !info.WasIdle {
		x.Anatomy.Connected = time.Now()
	}
	t, secure := trackedOf(info.Conn)
	if t == nil {
		return
	}
	a.socket = t
	a.shared = a.c.opts.Protocol == "h2c" || secure != nil && secure.ConnectionState().NegotiatedProtocol == "h2"
	k := a.c.opts.Kernel
	switch {
	case a.shared:
		k.Use(&t.socket, x.Anatomy.Attempt, "", "", a.ep.Addr, anatomy.TagUpstream|anatomy.TagConnection)
	case x.Anatomy.Sampled:
		k.UseFor(&t.socket, x.Anatomy.Attempt, x.Route, x.Arm, a.ep.Addr, anatomy.TagUpstream, anatomy.Number(x.ID))
	default:
		k.Use(&t.socket, x.Anatomy.Attempt, x.Route, x.Arm, a.ep.Addr, anatomy.TagUpstream)
	}
}

// askKernel is called with the head of an answer, while the connection is still the
// attempt's.
func (a *attempt) askKernel(now time.Time) {
	x := a.x
	begun := x.Anatomy.Attempt
	if !x.Anatomy.Connected.IsZero() {
		begun = x.Anatomy.Connected
	}
	if a.socket == nil || !x.Anatomy.Sampled && !x.Anatomy.Slow(now.Sub(begun)) {
		return
	}
	a.c.opts.Kernel.Upstream(&a.socket.socket, begun, now, anatomy.Shape{
		Bodyless: a.send.inner == nil, Secure: a.url.Scheme == "https", Shared: a.shared,
	}, &x.Anatomy.Upstream)
}
