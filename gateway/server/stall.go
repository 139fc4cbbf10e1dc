package server

import (
	"sync"
	"time"
)

// stall cuts an operation of a client that makes no progress. A deadline on the
// connection would not do: it also passes while nothing is awaited, between the
// writes of a stream or while an upstream is slow, and net/http then ends an
// HTTP/2 stream.
type stall struct {
	of staller

	mu    sync.Mutex
	timer *time.Timer
	armed time.Time // when the timer fires; zero when it does not run
	until time.Time // when the operation under way is cut; zero without one
	over  bool
}

// staller is what a stall watches.
type staller interface {
	patience() time.Duration // how long the operation that begins may take
	cut()                    // ends the operation that is under way
}

// begin starts the clock.
func (s *stall) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	patience := s.of.patience()
	s.until = now.Add(patience)
	switch {
	case s.timer == nil:
		s.timer = time.AfterFunc(patience, s.fire)
	case s.armed.IsZero() || s.until.Before(s.armed):
		s.timer.Reset(patience)
	default: // fires early at worst, and then looks again
		return
	}
	s.armed = s.until
}

// end stops the clock.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Time{}
}

// finish ends the watch for good. After it, cut is never called.
func (s *stall) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

func (s *stall) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = time.Time{}
	if s.over || s.until.IsZero() {
		return
	}
	if left := time.Until(s.until); left > 0 {
		s.timer.Reset(left)
		s.armed = s.until
		return
	}
	s.over = true
	s.of.cut()
}
