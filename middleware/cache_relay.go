package middleware

import (
	"net/http"
	"sync"
)

// relayChunk is how much is written to the client at a time, so that its write
// deadline moves on with what it takes.
const relayChunk = 32 << 10

// cacheRelay is the body of an answer on its way into memory and to the client. The
// client is written to by a goroutine of its own: one that reads slowly holds up neither
// the fetch nor those who wait for it.
type cacheRelay struct {
	w    *cacheWriter
	deaf bool // the client is not to get the body
	held int64

	mu      sync.Mutex
	more    sync.Cond
	body    []byte
	sent    int
	wantsGo bool          // what is there is to be flushed
	ended   bool          // nothing more comes
	cut     bool          // what is there is not to be sent
	err     error         // of the client
	gone    chan struct{} // closed when the goroutine has ended; nil: there is none
}

func newCacheRelay(w *cacheWriter) *cacheRelay {
	r := &cacheRelay{w: w}
	r.more.L = &r.mu
	return r
}

// add takes a piece of the body. It is false when there is no room for it.
func (r *cacheRelay) add(p []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.grow(len(p)) {
		return false
	}
	r.body = append(r.body, p...)
	r.begin()
	return true
}

// grow makes room for n bytes more.
func (r *cacheRelay) grow(n int) bool {
	limit, need := int(r.w.m.config.MaxObject), len(r.body)+n
	if need > limit {
		return false
	}
	if need <= cap(r.body) {
		return true
	}
	size := min(limit, max(need, 2*cap(r.body), 2<<10))
	if length := r.w.header.Get("Content-Length"); length != "" && len(r.body) == 0 && r.w.fits(length) {
		size = max(need, atoi(length))
	}
	if !r.w.m.store.Reserve(int64(size) - r.held) {
		return false
	}
	r.held = int64(size)
	r.body = append(make([]byte, 0, size), r.body...)
	return true
}

// atoi is for what is known to be a number.
func atoi(text string) (n int) {
	for _, c := range []byte(text) {
		n = n*10 + int(c-'0')
	}
	return n
}

// begin wakes the goroutine that writes to the client. The caller has the lock.
func (r *cacheRelay) begin() {
	if r.deaf {
		return
	}
	if r.gone == nil {
		r.gone = make(chan struct{})
		go r.run()
	}
	r.more.Signal()
}

func (r *cacheRelay) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wantsGo = true
	r.begin()
}

func (r *cacheRelay) run() {
	defer close(r.gone)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.err == nil && !r.cut {
		chunk, flush := r.body[r.sent:min(len(r.body), r.sent+relayChunk)], r.wantsGo
		if len(chunk) == 0 && !flush {
			if r.ended {
				return
			}
			r.more.Wait()
			continue
		}
		last := r.sent+len(chunk) == len(r.body)
		if last {
			r.wantsGo = false
		}
		r.mu.Unlock()
		var err error
		if len(chunk) > 0 {
			_, err = r.w.under.Write(chunk) //nolint:gosec // the service's own answer, as it came
		}
		if err == nil && flush && last {
			err = http.NewResponseController(r.w.under).Flush()
		}
		r.mu.Lock()
		r.sent += len(chunk)
		r.err = err
	}
	if r.err != nil {
		r.w.x.ClientFailed(r.err)
	}
}

// whole is the body. It is for when nothing is added any more.
func (r *cacheRelay) whole() []byte { return r.body }

// stop waits until the client has got what there is.
func (r *cacheRelay) stop() error {
	r.mu.Lock()
	r.ended = true
	r.more.Signal()
	r.mu.Unlock()
	if r.gone != nil {
		<-r.gone
	}
	r.w.m.store.Release(r.held)
	r.held = 0
	return r.err
}

// abandon ends a relay whose answer has broken off. The client gets no more of it.
func (r *cacheRelay) abandon() {
	r.mu.Lock()
	r.cut = true
	r.mu.Unlock()
	_ = r.stop() // the answer is broken anyway
}
