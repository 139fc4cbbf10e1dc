package http1

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// requestBody is the body of a client's request. Reads may come from any goroutine,
// one at a time; after the handler there are none.
type requestBody struct {
	c       *client
	w       *response
	req     *http.Request
	chunked bool
	chunks  chunks
	trailer http.Header // announced; filled at the end

	closed atomic.Bool

	mu   sync.Mutex
	left int64
	over error // what reads return from now on; nil while there is more
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if b.over != nil || len(p) == 0 {
		return 0, b.over
	}
	b.w.proceed()
	n, err := b.take(p)
	if err != nil {
		b.over = err
		_, bad := errors.AsType[*ClientError](err)
		switch {
		case errors.Is(err, io.EOF):
			if len(b.c.in.buffered()) == 0 {
				b.c.in.release() // the answer may be long in coming
			}
			b.c.watch.begin()
		case !bad && !errors.Is(err, os.ErrDeadlineExceeded):
			b.c.leave()
		}
	}
	return n, err
}

// take reads some of the body. Its end is io.EOF, the connection's before that
// io.ErrUnexpectedEOF.
func (b *requestBody) take(p []byte) (int, error) {
	in := &b.c.in
	if b.chunked {
		n, err := b.chunks.read(in, p, cmp.Or(b.c.s.MaxHead, maxHead), &b.trailer)
		if bad, ok := errors.AsType[*AnswerError](err); ok {
			err = badRequest(badFraming, bad.why)
		}
		if errors.Is(err, io.EOF) {
			b.req.Trailer = b.trailer
		}
		return n, err
	}
	n, err := in.read(p[:min(int64(len(p)), b.left)])
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	return n, truncated(err)
}

// Close implements io.Closer. What is left is read when the handler is done, if it is
// little.
func (b *requestBody) Close() error {
	b.closed.Store(true)
	return nil
}

// stop ends the reading, also one that is under way.
func (b *requestBody) stop() {
	b.closed.Store(true)
	if !b.mu.TryLock() {
		_ = b.c.net.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose read ends, too
		b.mu.Lock()
	}
	b.mu.Unlock()
}

// hopeless says whether drain would give up.
func (b *requestBody) hopeless() bool {
	if !b.mu.TryLock() {
		return false // somebody reads it
	}
	defer b.mu.Unlock()
	if b.over != nil {
		return !errors.Is(b.over, io.EOF)
	}
	return b.left > lingerBytes
}

// drain reads what is left, within limits, and says whether it came to the end.
func (b *requestBody) drain() bool {
	if b.over != nil {
		return errors.Is(b.over, io.EOF)
	}
	if b.w.expects || b.left > lingerBytes {
		return false // it may never come
	}
	if b.c.net.SetReadDeadline(time.Now().Add(lingerFor)) != nil {
		return false
	}
	buf := readBuffers.Get().(*[readSize]byte)
	defer readBuffers.Put(buf)
	for read := 0; read <= lingerBytes; {
		n, err := b.take(buf[:])
		if err != nil {
			return errors.Is(err, io.EOF)
		}
		read += n
	}
	return false
}
