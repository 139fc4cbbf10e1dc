package middleware

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/transcode"
)

const (
	// smallBody is the length up to which a body is read before the call begins.
	smallBody = 64 << 10
	// bodyLinger is when the end of a handler tells a read again that it is over.
	bodyLinger = 500 * time.Millisecond
)

// grpcBody is the body of a client as the frames of a call. It may outlive the
// round trip in the hands of a transport, and the connection of an HTTP/1 client
// allows no read after the handler: so there it is read by a goroutine of its own,
// which the end of the handler waits for.
type grpcBody struct {
	client http.ResponseWriter
	in     io.ReadCloser
	src    io.Reader // where the bytes of the client come from
	pipe   *io.PipeReader
	done   chan struct{} // closed when the goroutine has ended; nil without one
	whole  atomic.Bool   // the client has sent everything
	fixed  bool          // the client has announced the length of what it is sending
	frames io.Reader     // src, checked or translated
	ended  error         // what frames has ended with
}

// newGRPCBody makes the body of r. Its frames are set by the caller.
func newGRPCBody(client http.ResponseWriter, r *http.Request) (*grpcBody, error) {
	b := &grpcBody{client: client, in: r.Body, src: r.Body, fixed: r.ContentLength > smallBody}
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		b.in, b.src = http.NoBody, http.NoBody
	case r.ContentLength > 0 && r.ContentLength <= smallBody:
		buf := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, buf); err != nil {
			return nil, clientBodyError(gateway.ExchangeOf(r), err)
		}
		b.in, b.src = http.NoBody, bytes.NewReader(buf)
	case r.ProtoMajor == 1:
		// Without it net/http swallows the rest of the body before an answer goes.
		_ = http.NewResponseController(client).EnableFullDuplex() // a writer that cannot is not net/http's
		var w *io.PipeWriter
		b.pipe, w = io.Pipe()
		b.src, b.done = b.pipe, make(chan struct{})
		go b.pump(w)
	}
	b.frames = b.src
	return b, nil
}

// pump hands the client's bytes on as they are asked for.
func (b *grpcBody) pump(w *io.PipeWriter) {
	defer close(b.done)
	_, err := io.Copy(w, b.in)
	b.whole.Store(err == nil)
	_ = w.CloseWithError(err) // never fails
}

// Read implements io.Reader.
func (b *grpcBody) Read(p []byte) (int, error) {
	if b.ended != nil {
		return 0, b.ended
	}
	n, err := b.frames.Read(p)
	b.ended = err
	if errors.Is(err, io.EOF) {
		b.whole.Store(true)
	}
	return n, err
}

// Close implements io.Closer. A transport calls it to end a read that waits for
// the client.
func (b *grpcBody) Close() error {
	if b.pipe != nil {
		return b.pipe.Close()
	}
	return b.in.Close()
}

// sending says whether the client is in the middle of a request that does not
// depend on the answer.
func (b *grpcBody) sending() bool { return b.fixed && !b.whole.Load() }

// unread says whether an HTTP/1 client may still be sending.
func (b *grpcBody) unread() bool { return b.done != nil && !b.whole.Load() }

// end is for the end of the handler, when the answer is written: it returns when
// nobody reads the body any more, without waiting for the client. The answer ends
// only after the handler, and a client that has read what it needs may break off
// its request, and with it the connection.
func (b *grpcBody) end() {
	if b.done == nil {
		return
	}
	_ = b.pipe.Close() // never fails
	if !b.unread() {
		<-b.done
		return
	}
	control := http.NewResponseController(b.client)
	for {
		_ = control.SetReadDeadline(time.Now()) // fails on a connection that is closed
		timer := time.NewTimer(bodyLinger)
		select {
		case <-b.done:
			timer.Stop()
			return
		case <-timer.C: // somebody below has set a deadline of its own
		}
	}
}

// scanReader lets frames pass that are well-formed.
type scanReader struct {
	in   io.Reader
	scan grpcweb.Scanner
}

// Read implements io.Reader.
func (s *scanReader) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	if bad := s.scan.Scan(p[:n]); bad != nil {
		return 0, frameError(bad)
	}
	if errors.Is(err, io.EOF) {
		if bad := s.scan.End(); bad != nil {
			return 0, frameError(bad)
		}
	}
	if errors.Is(err, grpcweb.ErrText) {
		return n, badCall("the body is not in base64")
	}
	return n, err
}

// frameError is for a client whose frames are bad.
func frameError(err error) *gateway.Error {
	if errors.Is(err, grpcweb.ErrTooLarge) {
		return &gateway.Error{
			Status: http.StatusRequestEntityTooLarge, Reason: "grpc_too_large", Msg: "the message is too large",
			Cause: gateway.CauseClient, GRPC: int(transcode.ResourceExhausted),
		}
	}
	e := badCall(err.Error())
	e.Err = err
	if errors.Is(err, grpcweb.ErrCompressed) {
		e.GRPC = int(transcode.Internal) // as gRPC has it
	}
	return e
}

// badCall refuses what no client of the protocol sends.
func badCall(msg string) *gateway.Error {
	return &gateway.Error{Status: http.StatusBadRequest, Reason: "grpc_request", Msg: msg, Cause: gateway.CauseClient, GRPC: 3}
}

// clientBodyError is for a client whose body could not be read.
func clientBodyError(x *gateway.Exchange, err error) *gateway.Error {
	x.ClientFailed(err)
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	e := badCall("the body is incomplete")
	e.Err, e.Close = err, true
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Status, e.Msg, e.GRPC = http.StatusRequestEntityTooLarge, "the body is larger than this route allows", int(transcode.ResourceExhausted)
	}
	return e
}
