package anatomy

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// silence is for how long nobody asks for the probe after nobody has answered, and
// after which a connection is tagged again: a probe that has come since knows
// nothing of earlier tags.
const silence = 10 * time.Second

// Kernel is what a process says to the kernel about its connections, and asks of
// it. One serves the whole process and outlives reloads. The nil Kernel says and
// asks nothing.
type Kernel struct {
	labels labels
	start  time.Time
	until  atomic.Int64 // nanoseconds after start; before then no probe is asked for
}

// NewKernel makes the Kernel of a process.
func NewKernel() *Kernel { return &Kernel{start: time.Now()} }

// Labels are the meanings of all labels that have been given.
func (k *Kernel) Labels() []Named {
	if k == nil {
		return nil
	}
	return k.labels.list()
}

// silent says whether the probe is left alone for now.
func (k *Kernel) silent(now time.Time) bool { return int64(now.Sub(k.start)) < k.until.Load() }

// Probed says whether a probe may be there.
func (k *Kernel) Probed(now time.Time) bool { return k != nil && !k.silent(now) }

// heard notes whether anybody has answered.
func (k *Kernel) heard(err error, now time.Time) {
	if errors.Is(err, ErrNoProbe) {
		k.until.Store(int64(now.Sub(k.start) + silence))
	}
}

// Socket is a connection as the kernel knows it. The zero Socket is one of which
// it knows nothing, such as a Unix socket.
type Socket struct {
	raw  syscall.RawConn
	last atomic.Pointer[mark]
}

// mark is the last tag of a socket.
type mark struct {
	route, arm string
	until      time.Time // after which it is set again
}

// Init makes s stand for a connection.
func (s *Socket) Init(nc net.Conn) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		s.raw, _ = tcp.SyscallConn() // fails only for one that was never open
	}
}

// Use says what a connection is used for from now on. It is a few comparisons when
// nothing has changed. endpoint is the same for all uses of one socket.
func (k *Kernel) Use(s *Socket, now time.Time, route, arm, endpoint string, flags uint32) {
	if k == nil || s.raw == nil {
		return
	}
	if m := s.last.Load(); m != nil && m.route == route && m.arm == arm && now.Before(m.until) {
		return
	}
	k.tag(s, now, route, arm, endpoint, Tag{Flags: flags})
}

// UseFor is Use for a request that has a number, by which a probe tells of it if it
// is an outlier.
func (k *Kernel) UseFor(s *Socket, now time.Time, route, arm, endpoint string, flags uint32, request uint64) {
	if k != nil && s.raw != nil {
		k.tag(s, now, route, arm, endpoint, Tag{Flags: flags, Request: request})
	}
}

func (k *Kernel) tag(s *Socket, now time.Time, route, arm, endpoint string, tag Tag) {
	if k.silent(now) {
		return
	}
	tag.Label = k.labels.of(route, arm, endpoint)
	var err error
	if outer := s.raw.Control(func(fd uintptr) { err = tag.Set(fd) }); outer != nil {
		return // it is closed
	}
	if k.heard(err, now); err == nil {
		s.last.Store(&mark{route, arm, now.Add(silence)})
	}
}

// Reading are the timings of a connection, and when they were read.
type Reading struct {
	Timings

	at time.Time
}

// When is a moment of the kernel on the clock of this process.
func (r *Reading) When(i Instant) time.Time { return r.at.Add(-time.Duration(r.Now - i)) }

// Read asks the probe for the timings of a connection. It is not ok without a probe,
// or when the probe does not watch the connection.
func (k *Kernel) Read(s *Socket, r *Reading) (ok bool) {
	if k == nil || s.raw == nil {
		return false
	}
	before := time.Now()
	if k.silent(before) {
		return false
	}
	var err error
	timings := &r.Timings // its Read is not this one
	if outer := s.raw.Control(func(fd uintptr) { err = timings.Read(fd) }); outer != nil {
		return false
	}
	after := time.Now()
	r.at = before.Add(after.Sub(before) / 2)
	k.heard(err, after)
	return err == nil && r.Has(Tracked)
}

// Info asks the kernel what it tells of any connection.
func (s *Socket) Info(i *Info) (ok bool) {
	if s.raw == nil {
		return false
	}
	outer := s.raw.Control(func(fd uintptr) { ok = i.read(fd) })
	return outer == nil && ok
}

// Number is the number of a request with this id, as a probe shows it: the value of
// its first 16 hexadecimal digits, or 0.
func Number(id string) (n uint64) {
	for i := range min(len(id), 16) {
		c := id[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0
		}
		n = n<<4 | uint64(c)
	}
	return n
}
