package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// lingerFor bounds how long an HTTP/1 client may go on with a request that
	// has been answered. Most clients read an answer only after the end of their
	// request, and lose it when the connection breaks under their writing
	// (RFC 9112 section 9.6); net/http takes the same time.
	lingerFor = 500 * time.Millisecond
	// lingerBytes bounds how much it may still send, as in net/http.
	lingerBytes = 256 << 10
)

// requestBody is the client's body as a transport sees it. A transport reads it
// in a goroutine of its own that may outlive the round trip, while net/http
// allows no read after the handler has returned: a late one that meets the end
// of the body ends the process ("invalid concurrent Body.Read call"). So all
// reads go through here, and stop makes sure that there is none any more.
//
// It also is the one place that knows that the client failed.
type requestBody struct {
	in io.ReadCloser
	s  *relay

	busy     chan struct{} // holds one token while a read is under way
	closed   atomic.Bool   // further reads by the transport fail
	complete atomic.Bool   // the client has sent everything
	// armed says that there is, or was, a deadline of ours. When it ends a read,
	// net/http cancels the context of the request as if the client had gone.
	armed atomic.Bool
	late  atomic.Bool // the time was up while the client was to send
	read  int64       // guarded by busy

	declared http.Header // trailers of the client's request, filled by net/http
	trailer  http.Header // what of them goes upstream
}

// announce lets the trailers that the client has announced go upstream.
// Others do not: policy has not seen their names.
func (b *requestBody) announce(out *http.Request) {
	b.declared = b.s.in.Trailer
	b.trailer = make(http.Header, len(b.declared))
	for name := range b.declared {
		b.trailer[name] = nil
	}
	out.Trailer = b.trailer
}

// Read implements io.Reader for a transport.
func (b *requestBody) Read(p []byte) (int, error) {
	b.busy <- struct{}{}
	defer func() { <-b.busy }()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.take(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.s.x.ClientFailed(err)
	}
	return n, err
}

// take reads from the client. The caller has the token.
func (b *requestBody) take(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.read += int64(n)
	if err == io.EOF || err == nil && b.read == b.s.in.ContentLength {
		for name := range b.trailer {
			b.trailer[name] = b.declared[name]
		}
		b.complete.Store(true)
		if b.armed.Load() {
			b.deadline(time.Time{}) // net/http watches the connection by now
		}
	}
	return n, err
}

// Close implements io.Closer for a transport, which may call it to end a read
// that is under way. On HTTP/1 it does not close the client's body: net/http
// would read the rest of it, here and now.
func (b *requestBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	if b.s.in.ProtoMajor >= 2 {
		return b.in.Close()
	}
	if b.waiting() {
		b.arm()
	}
	return nil
}

// expire is for the end of the request's context. An HTTP/1 transport does not
// return before it has got its last read of the body back.
func (b *requestBody) expire() {
	// net/http ends the context when a read fails, before that read returns: the
	// verdict is the reader's then.
	b.await(awaitRead)
	if b.waiting() {
		b.late.Store(true)
	}
	_ = b.Close() // nobody is to read it
}

// lingers says whether an HTTP/1 client may still be sending. On HTTP/2 that does
// no harm: other streams go on, and a flush for its sake would tear an answer
// that is nothing but a head.
func (b *requestBody) lingers() bool { return b.s.in.ProtoMajor == 1 && !b.complete.Load() }

// waiting says whether a read waits for the client now.
func (b *requestBody) waiting() bool { return len(b.busy) > 0 && !b.complete.Load() }

// arm ends all reads within lingerFor, unless the client ends them before.
func (b *requestBody) arm() {
	b.armed.Store(true)
	b.deadline(time.Now().Add(lingerFor))
	if b.complete.Load() {
		b.deadline(time.Time{})
	}
}

func (b *requestBody) deadline(t time.Time) {
	// Writers without deadlines are not net/http's, and have no such rules.
	_ = http.NewResponseController(b.s.w.ResponseWriter).SetReadDeadline(t)
}

// stop returns when no transport reads the body any more, and none ever will.
func (b *requestBody) stop() {
	_ = b.Close() // its only error is that of a stream which has ended
	for !b.await(2 * lingerFor) {
		b.arm() // somebody below may set deadlines of its own before each read
	}
}

// await waits until no read is under way, and says whether it came to that.
func (b *requestBody) await(d time.Duration) bool {
	select {
	case b.busy <- struct{}{}:
		<-b.busy
		return true
	default: // do not pay for a timer
	}
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	select {
	case b.busy <- struct{}{}:
		<-b.busy
		return true
	case <-timeout.C:
		return false
	}
}

// drain lets an HTTP/1 client come to the end of its request, within limits.
// When it does, the connection can be used again.
func (b *requestBody) drain(pool *buffers) {
	b.stop()
	if !b.lingers() || b.expecting() {
		return
	}
	b.arm()
	buf := pool.Get()
	defer pool.Put(buf)
	end := time.Now().Add(lingerFor)
	for rest := lingerBytes; rest > 0 && time.Now().Before(end); {
		n, err := b.take(buf)
		if err != nil || b.complete.Load() {
			return
		}
		rest -= n
	}
}

// expecting says whether the client waits for a 100 Continue that it is not
// going to get.
func (b *requestBody) expecting() bool { return b.read == 0 && b.s.in.Header["Expect"] != nil }

// abandon is stop without waiting for the client. net/http reads the rest of the
// body even when it breaks the connection off, without a limit of time.
func (b *requestBody) abandon() {
	if b.lingers() {
		b.closed.Store(true)
		b.armed.Store(true)
		b.deadline(time.Now())
	}
	b.stop()
}
