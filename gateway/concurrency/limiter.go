package concurrency

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// Why a request was not let in.
var (
	ErrFull = errors.New("no place, and none to wait at")
	ErrShed = errors.New("waited while others took all the time there is")
	ErrLate = errors.New("no place in time")
)

// Settings say what a limiter lets in.
type Settings struct {
	Max      int       // requests under way; only if Adaptive is nil
	Adaptive *Adaptive // bounds of a limit that follows latency
	Queue    Queue     // the zero value lets nobody wait
}

// Queue says who may wait.
type Queue struct {
	Size    int           // requests that wait
	Timeout time.Duration // of one of them while the queue is now and then empty
	Target  time.Duration // of one of them while it is not
}

// Limiter bounds the requests that are under way. While there is room it is two
// atomic numbers.
//
// No wakeup is lost: a request first says that it waits and then looks for a
// place once more, and one that ends first gives its place back and then looks
// whether anybody waits.
type Limiter struct {
	active  atomic.Int64
	limit   atomic.Int64
	waiting atomic.Int64
	peak    atomic.Int64 // of active, since the gradient has last looked

	settings atomic.Pointer[Settings]
	gradient gradient
	queue    queue
	refused  [3]atomic.Uint64 // by priority
}

// New makes a limiter.
func New(s Settings) *Limiter {
	l := new(Limiter)
	l.queue.init()
	l.Configure(s)
	return l
}

// Configure changes the settings. A limit that has been found stays as far as the
// new bounds have it.
func (l *Limiter) Configure(s Settings) {
	l.settings.Store(&s)
	if s.Adaptive == nil {
		l.gradient.off()
		l.limit.Store(int64(s.Max))
	} else {
		l.limit.Store(l.gradient.on(*s.Adaptive, time.Now()))
	}
	l.serve()
}

// Try takes a place if there is one and nobody waits for it.
func (l *Limiter) Try() bool { return l.waiting.Load() == 0 && l.take() }

func (l *Limiter) take() bool {
	for {
		n := l.active.Load()
		if n >= l.limit.Load() {
			return false
		}
		if l.active.CompareAndSwap(n, n+1) {
			if n >= l.peak.Load() { // two at once may lose one, which nobody notices
				l.peak.Store(n + 1)
			}
			return true
		}
	}
}

// Wait takes a place as soon as it is key's turn, unless ctx ends before or the
// queue is full or too slow. Turns go round among the keys of the highest
// priority. Whoever gets no error calls Done.
func (l *Limiter) Wait(ctx context.Context, key uint64, p gateway.Priority) error {
	err := l.wait(ctx, key, p)
	if err != nil && ctx.Err() == nil {
		l.refused[p+1].Add(1)
	}
	return err
}

func (l *Limiter) wait(ctx context.Context, key uint64, p gateway.Priority) error {
	if l.settings.Load().Queue.Size == 0 {
		if l.take() {
			return nil
		}
		return ErrFull
	}
	w, patience := l.join(key, p)
	var err error
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err = <-w.turn:
		return err
	case <-timer.C:
		err = ErrLate
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if l.leave(w) {
		return err
	}
	if given := <-w.turn; given != nil || ctx.Err() == nil { // it came at the same moment
		return given
	}
	l.Done(Sample{})
	return context.Cause(ctx)
}

// Done gives a place back, with what the request says of the service.
func (l *Limiter) Done(s Sample) {
	l.active.Add(-1)
	if l.gradient.watches.Load() && l.gradient.observe(s) {
		if limit, ok := l.gradient.step(time.Now(), &l.peak); ok {
			l.limit.Store(limit)
		}
	}
	l.serve()
}

// serve gives free places to those who wait.
func (l *Limiter) serve() {
	if l.waiting.Load() == 0 {
		return
	}
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.serveLocked(time.Now())
}

func (l *Limiter) serveLocked(now time.Time) {
	q, s := &l.queue, l.settings.Load()
	pressed := q.pressed(now, s.Queue.Target)
	if pressed {
		l.shed(now, s.Queue.Target)
	}
	for l.waiting.Load() > 0 && l.take() {
		l.hand(q.next(pressed), nil)
	}
}

// shed gives up those who have waited for longer than they should.
func (l *Limiter) shed(now time.Time, target time.Duration) {
	for w := l.queue.oldest(); w != nil && now.Sub(w.since) > target; w = l.queue.oldest() {
		l.hand(w, ErrShed)
	}
}

// hand ends the wait of w.
func (l *Limiter) hand(w *waiter, err error) {
	l.queue.remove(w)
	l.waiting.Add(-1)
	w.turn <- err
}

// join lets a request wait, if need be in the place of another one.
func (l *Limiter) join(key uint64, p gateway.Priority) (w *waiter, patience time.Duration) {
	s, q, now := l.settings.Load().Queue, &l.queue, time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.waiting.Add(1) == 1 {
		q.emptied = now
	}
	w = q.add(key, p, now)
	l.serveLocked(now)
	pressed := q.pressed(now, s.Target)
	if l.waiting.Load() > int64(s.Size) {
		if victim := q.victim(w, pressed); victim == w {
			l.hand(w, ErrFull)
		} else {
			l.hand(victim, ErrShed)
		}
	}
	if pressed {
		return w, s.Target
	}
	return w, s.Timeout
}

// leave says whether w was still waiting, which it does not do any more.
func (l *Limiter) leave(w *waiter) bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if len(w.turn) > 0 {
		return false
	}
	l.queue.remove(w)
	l.waiting.Add(-1)
	return true
}

// Info is what a limiter looks like at the moment.
type Info struct {
	Limit, Active, Waiting int
	Baseline               time.Duration // that an adaptive limit goes by; 0 is none yet
	Latency                time.Duration // that it has last compared with the baseline; 0 is none yet
	Refused                [3]uint64     // low, normal and high priority
	Settings               Settings
}

// Info is the present state.
func (l *Limiter) Info() Info {
	i := Info{
		Limit: int(l.limit.Load()), Active: int(l.active.Load()), Waiting: int(l.waiting.Load()),
		Baseline: time.Duration(l.gradient.shown.Load()), Latency: time.Duration(l.gradient.latest.Load()), Settings: *l.settings.Load(),
	}
	for p := range l.refused {
		i.Refused[p] = l.refused[p].Load()
	}
	return i
}
