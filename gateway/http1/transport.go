package http1

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// Transport carries requests to servers over HTTP/1.1 without TLS. Its fields are
// not to be changed once it is in use. Of httptrace it knows GotConn and
// Got1xxResponse.
type Transport struct {
	// Dial opens connections. Its context has the values of the request's, but does
	// not end with it: it is for Dial to bound its time.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// IdleTimeout is how long an unused connection is kept. Default: for ever.
	IdleTimeout time.Duration
	// MaxIdlePerHost bounds the unused connections to one address. Default: none is kept,
	// and each request opens its own.
	MaxIdlePerHost int
	// DisableKeepAlives makes each connection serve one request.
	DisableKeepAlives bool
	// MaxHead bounds the head of an answer, and its trailers, in bytes. Default: 256 KiB.
	MaxHead int
	// ContinueTimeout is how long the body of a request with "Expect: 100-continue"
	// waits for the server's word. Default: 1s.
	ContinueTimeout time.Duration

	idle idle
}

// maxInterim bounds the 1xx answers to a request whose trace does not judge them.
const maxInterim = 5

// RoundTrip implements http.RoundTripper. A request without a body whose method is
// idempotent is sent again if a connection that had been used before ends without
// a byte of an answer (RFC 9112 section 9.3.1).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	addr, err := address(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	d := drafts.Get().(*draft)
	defer d.free()
	shut := t.DisableKeepAlives || req.Close
	if err := d.write(req, shut); err != nil {
		closeBody(req)
		return nil, err
	}
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	for again := false; ; again = true {
		c, reused, err := t.connect(ctx, addr, again)
		if err != nil {
			closeBody(req)
			return nil, err
		}
		if ctx.Err() != nil {
			t.rest(c) // nothing was sent
			closeBody(req)
			return nil, context.Cause(ctx)
		}
		if trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: c.net, Reused: reused, WasIdle: reused})
		}
		a := &answer{t: t, c: c, req: req, ctx: ctx, shut: shut}
		resp, err := a.roundTrip(d.head, trace)
		if err == nil || !reused || c.heard || !repeatable(req) || ctx.Err() != nil {
			return resp, err
		}
	}
}

// connect takes an idle connection, or opens one.
func (t *Transport) connect(ctx context.Context, addr string, fresh bool) (c *conn, reused bool, err error) {
	if !fresh && !t.DisableKeepAlives {
		for c := t.idle.take(addr, t.IdleTimeout); c != nil; c = t.idle.take(addr, t.IdleTimeout) {
			if c.quiet() {
				c.heard = false
				return c, true, nil
			}
			c.close()
		}
	}
	c, err = t.open(ctx, addr)
	return c, false, err
}

// open makes a connection. One that its request does not wait for any more is kept
// for the next: if clients were less patient than a server is slow to accept, none
// would ever be there.
func (t *Transport) open(ctx context.Context, addr string) (*conn, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	opened := make(chan result)
	go func() {
		raw, err := t.Dial(context.WithoutCancel(ctx), "tcp", addr)
		select {
		case opened <- result{raw, err}:
		case <-ctx.Done():
			if err == nil {
				t.rest(newConn(raw, addr))
			}
		}
	}()
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, r.err
		}
		return newConn(r.conn, addr), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// rest keeps a connection for the next request, or closes it.
func (t *Transport) rest(c *conn) {
	if t.DisableKeepAlives || !t.idle.put(c, t.MaxIdlePerHost, t.IdleTimeout) {
		c.close()
	}
}

// CloseIdleConnections closes the connections that no request uses, and those in
// use when they are free, unless there is a further request before.
func (t *Transport) CloseIdleConnections() { t.idle.closeAll() }

// address is where a request goes.
func address(req *http.Request) (string, error) {
	switch {
	case req.URL == nil || req.URL.Scheme != "http" || req.URL.Host == "":
		return "", &RequestError{"its URL is not that of an HTTP server"}
	case req.Method == http.MethodConnect:
		return "", &RequestError{"CONNECT is not supported"}
	}
	host := req.URL.Host
	if i := strings.LastIndexByte(host, ':'); i < 0 || strings.IndexByte(host[i:], ']') >= 0 {
		return net.JoinHostPort(strings.Trim(host, "[]"), "80"), nil
	}
	return host, nil
}

// repeatable says whether a request may be sent twice.
func repeatable(req *http.Request) bool {
	if hasBody(req) {
		return false
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return req.Header["Idempotency-Key"] != nil || req.Header["X-Idempotency-Key"] != nil
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it is not used, so nothing of it can be lost
	}
}
