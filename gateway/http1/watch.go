package http1

import (
	"errors"
	"os"
	"sync"
	"time"
)

// watchAfter is how long a handler works until somebody looks whether its client is
// still there. Most have answered by then, and never pay for it.
const watchAfter = 5 * time.Millisecond

// watch notices that a client leaves while it waits for an answer. It reads one byte,
// which if it comes is the first of the next request.
type watch struct {
	c     *client
	timer *time.Timer

	mu      sync.Mutex
	armed   bool          // a request is being answered
	reading chan struct{} // closed when the read is over; nil when there is none
	got     [1]byte
	n       int
}

func (w *watch) init(c *client) { w.c = c }

// begin is called when all of a request has been read. A client that closes its half of
// the connection from then on has left: one that still waits for the answer looks the
// same, but there are fewer of those.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(watchAfter, w.look)
	} else {
		w.timer.Reset(watchAfter)
	}
}

// look runs in a goroutine of its own.
func (w *watch) look() {
	w.mu.Lock()
	if !w.armed || w.reading != nil || w.n > 0 {
		w.mu.Unlock()
		return
	}
	over := make(chan struct{})
	w.reading = over
	_ = w.c.net.SetReadDeadline(time.Time{}) // that was for the body; fails only on a closed connection
	w.mu.Unlock()

	n, err := w.c.net.Read(w.got[:])

	w.mu.Lock()
	defer w.mu.Unlock()
	w.n = n
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // who sets a deadline has not left
		w.c.leave()
	}
	w.reading = nil
	close(over)
}

// end is called when the handler is done, or takes the connection. The byte that was
// read goes back to where it belongs.
func (w *watch) end() {
	w.mu.Lock()
	if !w.armed {
		w.mu.Unlock()
		return
	}
	w.armed = false
	w.timer.Stop()
	over := w.reading
	if over != nil {
		_ = w.c.net.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection, whose read ends, too
	}
	w.mu.Unlock()
	if over != nil {
		<-over
		_ = w.c.net.SetReadDeadline(time.Time{})
	}
	if w.n > 0 {
		w.c.in.push(w.got[0])
		w.n = 0
	}
}
