package upstream

import (
	"io"
	"net/http"
	"sync"

	"github.com/pithead/pithead/gateway"
)

// replay lets several attempts send one body. It keeps what attempts read of
// it, up to a limit, and gives it to the next attempt again; nothing is read
// ahead, so no attempt is later for it.
type replay struct {
	inner io.ReadCloser
	size  int64 // as the request says; 0 and less is unknown
	limit int64
	spare *gateway.Spare // for what is kept
	taken int64          // of it

	mu      sync.Mutex
	buf     []byte
	at      *replayed // the attempt that may read
	lost    bool      // the beginning is not kept any more
	whole   bool      // everything has been read
	reading bool      // inner is being read
	shut    bool      // inner is closed
	last    bool      // there is to be no further attempt
}

func newReplay(req *http.Request, limit int64) *replay {
	return &replay{inner: req.Body, size: req.ContentLength, limit: limit, lost: req.ContentLength > limit}
}

// replayed is the body as one attempt reads it.
type replayed struct {
	r      *replay
	next   int64
	closed bool // by the transport
}

// begin gives the body to an attempt. It fails when what earlier ones have read
// cannot be read again, or when one of them may still be reading.
func (r *replay) begin() (*replayed, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fresh() {
		return nil, false
	}
	r.at = &replayed{r: r}
	return r.at, true
}

// ready says whether begin would succeed.
func (r *replay) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fresh()
}

func (r *replay) fresh() bool {
	untouched := r.at == nil || r.at.next == 0 && len(r.buf) == 0 && !r.reading
	return !r.shut && (untouched || !r.lost && (r.whole || !r.reading))
}

// finish says that there is to be no further attempt. Whoever closes the body of
// the current one closes the client's from here on; if that has been done, or
// nobody is left to do it, it happens now.
func (r *replay) finish(orphan bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = true
	r.drop()
	if orphan || r.at == nil || r.at.closed {
		r.shutDown()
	}
}

func (r *replay) shutDown() {
	if !r.shut {
		r.shut = true
		r.lose()
		_ = r.inner.Close() // it is the client's; the server notices what is wrong with it
	}
}

// Read implements io.Reader.
func (b *replayed) Read(p []byte) (int, error) {
	r := b.r
	r.mu.Lock()
	if b.closed || r.at != b {
		r.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	if rest := r.rest(b.next); len(rest) > 0 {
		n := copy(p, rest)
		b.next += int64(n)
		r.drop()
		r.mu.Unlock()
		return n, nil
	}
	if r.whole {
		r.mu.Unlock()
		return 0, io.EOF
	}
	r.reading = true
	r.mu.Unlock()
	n, err := r.inner.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reading = false
	r.keep(p[:n], b.next)
	b.next += int64(n)
	r.whole = r.whole || err == io.EOF || r.size > 0 && b.next >= r.size
	return n, err
}

// rest is what is kept from offset on.
func (r *replay) rest(offset int64) []byte {
	if r.lost || offset >= int64(len(r.buf)) {
		return nil
	}
	return r.buf[offset:]
}

func (r *replay) keep(p []byte, offset int64) {
	need := int64(len(p))
	if r.buf == nil && r.size > 0 {
		need = r.size
	}
	switch {
	case r.lost || r.last:
		return
	case offset+int64(len(p)) > r.limit || r.taken < offset+need && !r.take(offset+need-r.taken):
		r.lose()
		return
	case r.buf == nil && r.size > 0:
		r.buf = make([]byte, 0, r.size)
	}
	r.buf = append(r.buf, p...)
}

func (r *replay) take(bytes int64) bool {
	if !r.spare.Take(bytes) {
		return false
	}
	r.taken += bytes
	return true
}

// lose gives up what is kept.
func (r *replay) lose() {
	r.lost, r.buf = true, nil
	r.spare.Give(r.taken)
	r.taken = 0
}

// drop does so when nobody is to read it again: an answer that the client is slow to
// take must not hold the body of its request for so long.
func (r *replay) drop() {
	if r.last && (r.at == nil || r.at.next >= int64(len(r.buf))) {
		r.lose()
	}
}

// Close implements io.Closer. A transport may call it to end a read that waits
// for the client; that ends the chance of another attempt too.
func (b *replayed) Close() error {
	r := b.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	if r.at == b && r.last {
		r.lose()
	}
	if r.at == b && (r.last || r.reading && !r.whole) {
		r.shutDown()
	}
	return nil
}
