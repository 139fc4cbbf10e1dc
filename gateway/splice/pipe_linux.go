package splice

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// capacity of a pipe in bytes. By default a pipe has 16 places, and what comes
	// from a network card may be one packet in each.
	capacity = 256 << 10
	// maxPipes bounds how many are in use, because each takes two descriptors and
	// keeps what a slow client has yet to take.
	maxPipes = 256
	// maxSpare bounds those that are kept for the next body.
	maxSpare = 16

	flags = unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
)

var (
	pipes atomic.Int64 // in use and spare
	spare = make(chan *Pipe, maxSpare)
)

var errStuck = errors.New("the socket takes nothing out of the pipe")

// Pipe holds bytes on their way. One goroutine uses it at a time.
type Pipe struct {
	r, w int // descriptors
	held int

	fill, drain func(fd uintptr) bool // fields, so that they are made once
	most, n     int                   // of fill
	err         error                 // of fill and drain
}

// Get returns an empty pipe, or nil when there is none to be had.
func Get() *Pipe {
	select {
	case p := <-spare:
		return p
	default:
	}
	if pipes.Add(1) > maxPipes {
		pipes.Add(-1)
		return nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		pipes.Add(-1)
		return nil
	}
	p := &Pipe{r: fds[0], w: fds[1]}
	p.fill, p.drain = p.readFrom, p.writeTo
	// A user who has many pipes gets no larger ones. Small ones do it, too.
	_, _ = unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, capacity)
	return p
}

// Free gives the pipe back. What it still holds is lost.
func (p *Pipe) Free() {
	if p.held == 0 {
		select {
		case spare <- p:
			return
		default:
		}
	}
	_, _ = unix.Close(p.r), unix.Close(p.w)
	pipes.Add(-1)
}

// Fill waits for bytes of a socket and moves some into the pipe, which is empty,
// most at most. The end of the stream is io.EOF.
func (p *Pipe) Fill(src syscall.RawConn, most int64) (int, error) {
	p.most, p.n, p.err = int(min(most, capacity)), 0, nil
	if err := src.Read(p.fill); err != nil {
		return 0, err
	}
	if p.n == 0 && p.err == nil {
		return 0, io.EOF
	}
	p.held = p.n
	return p.n, p.err
}

// readFrom says whether there is no need to wait for the socket.
func (p *Pipe) readFrom(fd uintptr) bool {
	for {
		n, err := unix.Splice(int(fd), nil, p.w, nil, p.most, flags)
		switch {
		case err == nil:
			p.n = int(n)
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN): // the socket's, because the pipe is empty
			return false
		default:
			p.err = err
		}
		return true
	}
}

// Drain moves all that the pipe holds into a socket, and says how much it moved.
// After an error the rest is still there.
func (p *Pipe) Drain(dst syscall.RawConn) (int, error) {
	whole := p.held
	p.err = nil
	err := dst.Write(p.drain)
	if err == nil {
		err = p.err
	}
	return whole - p.held, err
}

// writeTo says whether there is no need to wait for the socket.
func (p *Pipe) writeTo(fd uintptr) bool {
	for p.held > 0 {
		n, err := unix.Splice(p.r, nil, int(fd), nil, p.held, flags)
		switch {
		case n > 0:
			p.held -= int(n)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		default:
			p.err = err
			if err == nil {
				p.err = errStuck
			}
			return true
		}
	}
	return true
}

// Read implements io.Reader, for a writer that finds it cannot take a pipe.
func (p *Pipe) Read(b []byte) (int, error) {
	if p.held == 0 {
		return 0, io.EOF
	}
	n, err := unix.Read(p.r, b)
	if err != nil {
		return 0, err
	}
	p.held -= n
	return n, nil
}
