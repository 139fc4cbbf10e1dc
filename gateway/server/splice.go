package server

import (
	"errors"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/pithead/pithead/gateway/splice"
)

// pipeAfter is how much of a body must have been written for the head to be on its
// way.
const pipeAfter = 4 << 10

// TakesPipe implements splice.Sink. Bytes that go past the engine are not looked at by
// it, so that they must be those that the head has promised.
func (w *response) TakesPipe(n int64) bool {
	if !w.http1 || w.bytes < pipeAfter {
		return false
	}
	if _, ok := w.ResponseWriter.(io.ReaderFrom); !ok || !pollable(w.conn.Conn) || w.conn.front.listener.TLS != nil {
		return false
	}
	promised := w.Header()["Content-Length"]
	return len(promised) == 1 && promised[0] == strconv.FormatInt(w.bytes+n, 10)
}

// WritePipe implements splice.Sink.
func (w *response) WritePipe(p *splice.Pipe) (int, error) {
	begun := time.Now()
	defer w.waited(begun)
	dst := w.ResponseWriter.(io.ReaderFrom) // in the end conn, after what the engine has buffered
	w.before()
	whole := 0
	for {
		n, err := dst.ReadFrom(p)
		whole += int(n)
		w.bytes += n
		if n == 0 || !w.timed || !errors.Is(err, os.ErrDeadlineExceeded) {
			return whole, err
		}
		w.setDeadline(time.Now()) // a pipe holds much, and the client has taken some of it
	}
}

// ReadFrom implements io.ReaderFrom. What of a body goes through a pipe comes
// here from WritePipe, and from nowhere else.
func (c *conn) ReadFrom(src io.Reader) (int64, error) {
	p, ok := src.(*splice.Pipe)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, src)
	}
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	n, err := p.Drain(raw)
	whole := int64(n)
	for err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.writesOn() {
		n, err = p.Drain(raw)
		whole += int64(n)
	}
	return whole, err
}
