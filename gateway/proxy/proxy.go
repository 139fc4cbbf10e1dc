// Package proxy is the core of the gateway: it carries one request to the
// cluster that its exchange names, and the answer back. It is
// httputil.ReverseProxy with care taken of what that type leaves to its user.
//
//	core := proxy.New(proxy.Options{Log: log})
//	x.Cluster = orders // by the route match or a middleware
//	core.ServeHTTP(w, r)
//
// One handler serves all routes of a process. Everything that is particular to
// a request comes from its gateway.Exchange, and what became of it goes there:
// exchange.Err says whether the client, the upstream, the network or this
// process was to blame.
//
// A client that breaks off, or that must notice a broken answer, makes the
// handler panic with http.ErrAbortHandler, as net/http wants it. The exchange is
// complete by then; a handler around this one finishes its work in a defer.
//
// # Streams
//
// Requests and answers are copied as they come, both ways at the same time.
// HTTP/1 connections are in full duplex for requests with a body: without it
// net/http swallows the rest of the body before it lets an early answer go. In
// return the connection is closed after an answer that came before the end of
// the request, since nobody knows where its next request would begin.
package proxy

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"sync"

	"github.com/pithead/pithead/gateway"
)

// Options are what the core needs of the process.
type Options struct {
	// Log gets, at debug level, what net/http has to say about single requests.
	// Default: nothing is logged.
	Log *slog.Logger
}

// New makes the handler that all routes end in.
func New(o Options) http.Handler {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &proxy{core: httputil.ReverseProxy{
		Rewrite:    rewrite,
		Transport:  dispatcher{},
		BufferPool: &pool,
		ErrorLog:   slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			relayOf(r).fail(err)
		},
		// FlushInterval stays 0, which still flushes at once when an answer has
		// no length. A negative one flushes the head of a gRPC answer that has
		// nothing but a head, and so tears it into two frames.
	}}
}

type proxy struct{ core httputil.ReverseProxy }

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	upgrade, err := wantsUpgrade(r)
	if err != nil {
		gateway.Fail(w, r, err)
		return
	}
	s := newRelay(w, r)
	s.upgrade = upgrade
	defer s.finish()
	p.core.ServeHTTP(&s.w, s.in)
	s.writeTrailers()
	if s.w.failed != nil || s.answer.failed != nil {
		panic(http.ErrAbortHandler) // ReverseProxy does so only below a http.Server
	}
}

// buffers is a pool for the copying of bodies. Arrays are pooled, not slices,
// because a pointer to an array goes into an interface without an allocation.
type buffers struct{ pool sync.Pool }

var pool buffers

type buffer = [32 << 10]byte

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*buffer); ok {
		return p[:]
	}
	return new(buffer)[:]
}

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put((*buffer)(p)) }

// rewrite makes the request that goes upstream. It runs after the removal of
// hop-by-hop headers, so that no client can take away what is set here by naming
// it in Connection.
func rewrite(pr *httputil.ProxyRequest) {
	s, in, out := relayOf(pr.In), pr.In, pr.Out
	// ReverseProxy cleans the query of what it cannot parse; the canonical view
	// has refused that already, and what is left must arrive as it was sent.
	out.URL.RawQuery = in.URL.RawQuery
	// ReverseProxy hides the body behind a Close that does nothing. An HTTP/2
	// transport closes a body to end a read that waits for the client, and waits
	// for that end itself: with the hidden one, an upstream that answers while
	// the client is still sending would block both for ever.
	out.Body = in.Body
	if s.body == nil {
		out.Body = http.NoBody // nil and NoBody alone can be sent again (golang/go#16036)
	}
	out.Trailer = nil
	if s.body != nil && len(in.Trailer) > 0 {
		s.body.announce(out)
	}
	h := out.Header
	if !s.upgrade {
		delete(h, "Connection")
		delete(h, "Upgrade")
	}
	delete(h, "Http2-Settings")
	setForwarded(h, in, s.x)
	s.x.ApplyUpstreamHeaders(h)
	s.x.Sending(out)
}
