package server

import (
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// Between two requests the engine keeps a goroutine, its stack and a buffer for
// each connection of a client: about 20 KiB, for clients that mostly never come
// back. A connection that has rested for parkAfter is therefore taken from
// the engine, to which it looks as if the client had left, and waits in the lot of
// its front, in which a connection costs about 1 KiB. When bytes come, the engine
// gets it as if it had just been accepted. Connections with TLS keep state that
// the engine cannot be given back, and are never parked.

// parkAfter is how long a connection rests before it is parked. Waking one costs
// some 10 µs, which those who come back within a second should not pay.
const parkAfter = time.Second

// releaseAfter connections parked, the memory that they had is given back to
// the system when no more follow: it would take the collector minutes.
const (
	releaseAfter = 1024
	releaseQuiet = 2 * time.Second
)

// lot holds the parked connections of a front. It is also the listener from
// which the engine gets those that woke.
type lot struct {
	front *front
	woken chan *conn
	work  sync.WaitGroup

	mu       sync.Mutex
	poll     *poller // nil before the first connection
	closed   bool
	stop     chan struct{} // closed with the lot
	parked   map[int32]*conn
	lastID   int32
	first    *conn // whose deadline comes first: all have the same idle timeout
	last     *conn
	parks    int // since memory was given back
	seen     int // parks when release last looked
	releaser *time.Timer
}

// space is what a conn needs of its lot. The lot's lock guards it.
type space struct {
	id         int32 // 0 when it is not parked
	watched    bool  // the poller knows its descriptor
	next, prev *conn
}

func newLot(f *front) *lot {
	return &lot{front: f, woken: make(chan *conn), stop: make(chan struct{}), parked: make(map[int32]*conn)}
}

// park takes a connection in, and says whether it could.
func (l *lot) park(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || !l.open() {
		return false
	}
	l.lastID++
	if l.lastID <= 0 { // after 2^31 of them
		l.lastID = 1
	}
	if _, taken := l.parked[l.lastID]; taken || !l.poll.watch(c.Conn, l.lastID, c.space.watched) {
		return false
	}
	c.space.id, c.space.watched = l.lastID, true
	l.parked[c.space.id] = c
	if c.space.prev = l.last; l.last != nil {
		l.last.space.next = c
	} else {
		l.first = c
		l.poll.wakeAt(c.deadline)
	}
	l.last = c
	if l.parks++; l.parks == releaseAfter {
		l.seen = l.parks
		l.releaser = time.AfterFunc(releaseQuiet, l.release)
	}
	return true
}

// open starts the lot with its first connection. It needs l.mu.
func (l *lot) open() bool {
	if l.poll != nil {
		return true
	}
	poll, err := newPoller()
	if err != nil {
		return false
	}
	l.poll = poll
	l.work.Go(l.watch)
	l.work.Go(func() { l.front.accept(l) }) // ends with the lot
	return true
}

// take removes a connection and says whether it was there.
func (l *lot) take(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.remove(c)
}

// remove needs l.mu.
func (l *lot) remove(c *conn) bool {
	if c.space.id == 0 {
		return false
	}
	delete(l.parked, c.space.id)
	if c.space.prev != nil {
		c.space.prev.space.next = c.space.next
	} else {
		l.first = c.space.next
	}
	if c.space.next != nil {
		c.space.next.space.prev = c.space.prev
	} else {
		l.last = c.space.prev
	}
	c.space = space{watched: c.space.watched}
	return true
}

// watch wakes connections on which something happens and closes those whose
// time is over.
func (l *lot) watch() {
	var ids [128]int32
	for {
		n, ok := l.poll.wait(ids[:])
		if !ok {
			return
		}
		for _, id := range ids[:n] {
			l.mu.Lock()
			c := l.parked[id]
			if c != nil {
				l.remove(c)
			}
			l.mu.Unlock()
			if c != nil {
				l.wake(c)
			}
		}
		for _, c := range l.overdue(time.Now()) {
			_ = c.Close()
		}
	}
}

// overdue removes the connections whose idle timeout is over, and sets the time
// of the next look.
func (l *lot) overdue(now time.Time) (over []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := l.first; c != nil && !c.deadline.IsZero() && !now.Before(c.deadline); c = l.first {
		l.remove(c)
		over = append(over, c)
	}
	var next time.Time
	if l.first != nil {
		next = l.first.deadline
	}
	l.poll.wakeAt(next)
	return over
}

// wake gives a connection back to the engine. Bytes have come, or the client has
// gone: in phaseHead nobody takes it for idle.
func (l *lot) wake(c *conn) {
	c.mu.Lock()
	c.phase.Store(uint32(phaseHead))
	c.deadline = time.Time{}
	_ = c.reads.exactly(c.deadline, c.Conn.SetReadDeadline) // fails only on a closed connection
	c.mu.Unlock()
	select {
	case l.woken <- c:
	case <-l.stop:
		_ = c.Close()
	}
}

// release gives memory back once no more connections have been parked for a while.
func (l *lot) release() {
	l.mu.Lock()
	if quiet := l.seen == l.parks; !quiet || l.closed {
		l.seen = l.parks
		if !l.closed {
			l.releaser.Reset(releaseQuiet)
		}
		l.mu.Unlock()
		return
	}
	l.parks = 0
	l.mu.Unlock()
	debug.FreeOSMemory()
}

// Accept implements net.Listener.
func (l *lot) Accept() (net.Conn, error) {
	select {
	case c := <-l.woken:
		return c, nil
	case <-l.stop:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (l *lot) Addr() net.Addr { return l.front.addr }

// Close implements net.Listener: nothing is parked any more. What is still in
// the lot is closed by its front.
func (l *lot) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.stop)
	if l.poll != nil {
		l.poll.close()
	}
	if l.releaser != nil {
		l.releaser.Stop()
	}
	return nil
}
