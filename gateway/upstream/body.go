package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/splice"
)

// requestBody tells the watchdog whose turn it is, and remembers whether the
// client failed to deliver. A transport closes the body of a request that it
// could not send; until release, an unread body survives that for another attempt.
type requestBody struct {
	a      *attempt
	inner  io.ReadCloser // nil when there is no body
	begun  atomic.Bool   // something has been read
	closed atomic.Bool   // by the transport
	free   atomic.Bool   // released
	shut   atomic.Bool   // inner is closed
	failed atomic.Bool
	perTry time.Duration // bounds the wait for the answer to a stream that the client has ended; 0 does not
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose // nobody would end a wait for the client any more
	}
	b.a.watch.clientAsked()
	n, err := b.inner.Read(p)
	if b.a.ctx.Err() == nil { // otherwise whose turn it was when the attempt ended must stay known
		b.a.watch.clientGave()
		if err == io.EOF && b.perTry > 0 {
			b.a.watch.hurry(b.perTry)
		}
	}
	// After Close a read fails because the transport has given up, not the client.
	if err != nil && err != io.EOF && !b.closed.Load() {
		b.failed.Store(true)
	}
	return n, err
}

func (b *requestBody) Close() error {
	b.closed.Store(true)
	if b.begun.Load() || b.free.Load() {
		return b.close()
	}
	return nil
}

// release says that the transport is done with the request. Unless the body is
// to be kept for another attempt, it is closed if the transport has closed it.
func (b *requestBody) release(keep bool) {
	b.free.Store(true)
	if !keep && b.inner != nil && b.closed.Load() {
		_ = b.close() // it is the client's; the server notices what is wrong with it
	}
}

func (b *requestBody) close() error {
	if b.shut.Swap(true) {
		return nil
	}
	return b.inner.Close()
}

// answerBody ends the attempt with the last byte of the answer, or when the
// reader has had enough.
type answerBody struct {
	a     *attempt
	inner io.ReadCloser
}

func (b *answerBody) Read(p []byte) (int, error) {
	b.ask()
	return b.took(b.inner.Read(p))
}

// Piped implements splice.Source.
func (b *answerBody) Piped() int64 {
	if src, ok := b.inner.(splice.Source); ok {
		return src.Piped()
	}
	return 0
}

// ReadPipe implements splice.Source.
func (b *answerBody) ReadPipe(p *splice.Pipe) (int, error) {
	src, ok := b.inner.(splice.Source)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	b.ask()
	return b.took(src.ReadPipe(p))
}

func (b *answerBody) ask() {
	// Of a request whose time has passed before, the endpoint owes nothing: it was
	// the client that took long.
	if b.a.in.Err() == nil {
		b.a.watch.answerAsked()
	}
}

// took judges what a read has brought.
func (b *answerBody) took(n int, err error) (int, error) {
	if err == nil {
		b.a.watch.answerMoved()
		return n, nil
	}
	if err == io.EOF { //nolint:errorlint // io.Reader's, which nobody may wrap; others that hold one are failures
		b.a.judged.whole = true
		b.a.end(nil)
		return n, io.EOF
	}
	e := b.a.blame(err, phaseBody)
	b.a.end(e)
	return n, e
}

func (b *answerBody) Close() error {
	err := b.inner.Close()
	b.a.end(nil)
	return err
}

// tunnelBody is an upgraded connection. The end of one direction does not end
// it, only Close and failures do.
type tunnelBody struct {
	*answerBody
	conn io.ReadWriteCloser
}

func (b *tunnelBody) Read(p []byte) (int, error) {
	n, err := b.conn.Read(p)
	b.a.watch.answerMoved()
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	e := b.a.blame(err, phaseBody)
	b.a.end(e)
	return n, e
}

func (b *tunnelBody) Write(p []byte) (int, error) {
	n, err := b.conn.Write(p)
	b.a.watch.answerMoved()
	return n, err
}

// CloseWrite passes on that one side has nothing more to say.
func (b *tunnelBody) CloseWrite() error {
	if half, ok := b.conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("close write: %w", http.ErrNotSupported)
}
