package http1

import (
	"net"
	"sync"
	"syscall"
	"time"
)

// conn is a connection to a server. One request uses it at a time.
type conn struct {
	net   net.Conn
	addr  string
	in    reader
	heard bool      // a byte of an answer to the present request has come
	rests time.Time // since when nobody uses it

	abort func()          // closes it; a field, so that it is made once
	raw   syscall.RawConn // nil if there is no socket to look at
	look  func(fd uintptr) bool
	seen  error // what look saw
}

func newConn(raw net.Conn, addr string) *conn {
	c := &conn{net: raw, addr: addr}
	c.in.src = raw
	c.abort = c.close
	if s, ok := raw.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // it fails for a closed connection, which its use will show
		c.look = func(fd uintptr) bool {
			c.seen = readNothing(fd)
			return true
		}
	}
	return c
}

// close ends the connection and all that waits for it.
func (c *conn) close() { _ = c.net.Close() } // there is nothing to lose any more

// quiet says whether nothing has come since the last answer, not even the end.
func (c *conn) quiet() bool {
	if c.raw == nil {
		return true
	}
	return c.raw.Read(c.look) == nil && c.seen == nil
}

// readSize is for most heads and small bodies to come with one read.
const readSize = 16 << 10

// readBuffers are shared by the connections, because most rest.
var readBuffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// reader buffers what comes from a server. Its buffer grows for a large head.
type reader struct {
	src  net.Conn
	pool *[readSize]byte // what buf was; nil while there is no buffer
	buf  []byte
	r, w int // buf[r:w] is unread
}

func (r *reader) buffered() []byte { return r.buf[r.r:r.w] }

// fill reads more behind what is buffered.
func (r *reader) fill() error {
	r.room()
	n, err := r.src.Read(r.buf[r.w:])
	r.w += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// room makes some behind what is buffered.
func (r *reader) room() {
	switch {
	case r.pool == nil:
		r.pool = readBuffers.Get().(*[readSize]byte)
		r.buf, r.r, r.w = r.pool[:], 0, 0
	case r.r == r.w:
		r.r, r.w = 0, 0
	case r.w == len(r.buf) && r.r > 0:
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	case r.w == len(r.buf):
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
}

// read is io.Reader, past the buffer if that is empty and p is large.
func (r *reader) read(p []byte) (int, error) {
	if r.r == r.w {
		if len(p) >= readSize {
			return r.src.Read(p)
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	return n, nil
}

// release gives the buffer back. Nothing is buffered.
func (r *reader) release() {
	if r.pool != nil {
		readBuffers.Put(r.pool)
		r.pool, r.buf, r.r, r.w = nil, nil, 0, 0
	}
}
