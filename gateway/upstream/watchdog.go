package upstream

import (
	"sync"
	"time"
)

// phase is what an attempt waits for.
type phase uint8

const (
	phaseHead phase = iota // the head of the answer
	phaseBody              // the rest of the answer
	phaseOver              // nothing more
)

// paused stands for "the endpoint owes us nothing now".
const paused = time.Duration(-1)

// watchdog notices that an endpoint keeps an attempt waiting. One timer serves
// the whole attempt and is never moved for progress: when it fires and there
// has been some, it is set for the rest. That makes a read cost two looks at
// the clock instead of two operations on the runtime's timer heap.
type watchdog struct {
	owner interface {
		expired(p phase, stream bool) // called with the lock held, once at most
	}

	mu     sync.Mutex
	timer  *time.Timer
	start  time.Time
	limit  time.Duration
	since  time.Duration // from start to when the wait began, or paused
	phase  phase
	fired  bool
	stream bool // progress of either direction counts, silence of the client does not
}

// arm begins phaseHead.
func (w *watchdog) arm(start time.Time, limit time.Duration, stream bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start, w.limit, w.stream = start, limit, stream
	w.timer = time.AfterFunc(limit, w.fire)
}

// clientAsked is told when the transport asks for more of the request's body:
// the endpoint has taken everything so far, and the client is next.
func (w *watchdog) clientAsked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == phaseHead && !w.stream {
		w.since = paused
	}
}

// clientGave is told when the client has sent more.
func (w *watchdog) clientGave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == phaseHead || w.stream {
		w.since = time.Since(w.start)
	}
}

// hurry is told that the request is whole: the endpoint has this much time left.
func (w *watchdog) hurry(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase != phaseHead || w.fired || limit >= w.limit {
		return
	}
	w.limit, w.since = limit, time.Since(w.start)
	w.timer.Reset(limit)
}

// head begins phaseBody, unless the time was up before. An ordinary answer is
// waited for only in reads; while its client is slow to take it, the endpoint
// has time.
func (w *watchdog) head(limit time.Duration, stream bool) (ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fired {
		return false
	}
	if limit < w.limit {
		w.timer.Reset(limit)
	}
	w.phase, w.limit, w.stream, w.since = phaseBody, limit, stream, paused
	if stream {
		w.since = time.Since(w.start)
	}
	return true
}

// answerAsked is told before a read of the answer.
func (w *watchdog) answerAsked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stream {
		w.since = time.Since(w.start)
	}
}

// answerMoved is told after a read of the answer, and after a write to an
// upgraded connection.
func (w *watchdog) answerMoved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stream {
		w.since = time.Since(w.start)
	} else {
		w.since = paused
	}
}

// waiting says whether the endpoint is to move next.
func (w *watchdog) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since != paused
}

// stop ends the watch. The first call runs final, and no call returns before
// that is done.
func (w *watchdog) stop(final func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == phaseOver {
		return
	}
	w.phase = phaseOver
	w.timer.Stop()
	final()
}

func (w *watchdog) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == phaseOver || w.fired {
		return
	}
	rest := w.limit
	if w.since != paused {
		rest -= time.Since(w.start) - w.since
	}
	if rest > 0 {
		w.timer.Reset(rest)
		return
	}
	w.fired = true
	w.owner.expired(w.phase, w.stream)
}
