package server

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/overload"
)

// rateGrace is how long a body may be as slow as it likes, so that slow starts
// and small bodies are not judged by their average.
const rateGrace = 10 * time.Second

// body is the body of a request: it counts, and it cuts off a client that
// pauses too long or sends too slowly. Only the time spent waiting for the
// client counts, so an upstream that takes the body slowly does no harm.
type body struct {
	io.ReadCloser
	w      http.ResponseWriter // of the request, for the deadline
	press  *overload.Manager
	idle   time.Duration
	rate   int64 // bytes a second; 0 is any
	timed  bool
	length int64 // as announced; -1 for chunks
	n      atomic.Int64
	ended  atomic.Bool
	waited time.Duration // in reads that are over
	asked  atomic.Int64  // the same, for other goroutines
	stall  stall
}

func (b *body) Read(p []byte) (int, error) {
	if !b.timed {
		return b.read(p)
	}
	if b.press.Stops() {
		// Requests that have been let in must not take what is left: a body may be kept
		// until it is whole, to be checked or sent again.
		return 0, overloaded()
	}
	start := time.Now()
	b.stall.begin(start)
	n, err := b.read(p)
	b.stall.end()
	took := time.Since(start)
	b.waited += took
	b.asked.Add(int64(took))
	if err != nil {
		b.stall.finish()
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	b.press.Takes(n)
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// patience is the longest pause, or the time until the average rate of the whole
// body falls too low.
func (b *body) patience() time.Duration {
	if b.rate <= 0 {
		return b.idle
	}
	paid := time.Duration(float64(b.n.Load()) / float64(b.rate) * float64(time.Second))
	return max(min(b.idle, max(rateGrace, paid)-b.waited), 0)
}

// cut breaks the read under way with os.ErrDeadlineExceeded.
func (b *body) cut() { expire(http.NewResponseController(b.w).SetReadDeadline) }

// expire sets a deadline that has passed. That fails only on a connection that
// has ended.
func expire(setDeadline func(time.Time) error) { _ = setDeadline(time.Unix(1, 0)) }
