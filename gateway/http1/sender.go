package http1

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/grammar"
)

// awaitSent is how long an answer that is complete waits for the end of its
// request, which as a rule only has to be noticed. A connection whose request has
// no end cannot be used again.
const awaitSent = 50 * time.Millisecond

// sendSize is how much of a body goes in one piece. The head of a request goes with
// the first one if it leaves room for it.
const (
	sendSize  = 32 << 10
	maxJoined = 8 << 10
)

var sendBuffers = sync.Pool{New: func() any { return new([sendSize]byte) }}

var (
	errLong  = errors.New("the request's body is longer than its length")
	errShort = errors.New("the request's body is shorter than its length")
)

// sender sends the body of a request while the answer may already be read.
type sender struct {
	c       *conn
	body    io.ReadCloser
	length  int64
	trailer http.Header
	buf     *[sendSize]byte
	joined  int    // bytes of the head that are in buf
	large   []byte // the head, if it has no place there

	wait     chan bool // for the server's word; nil if it is not asked
	patience time.Duration
	done     chan struct{}
	complete bool                  // everything was sent; to be read when done
	failed   atomic.Pointer[error] // of reading the body
}

// newSender makes the sender of req, whose head is as given, until this returns.
func newSender(c *conn, req *http.Request, head []byte, patience time.Duration) *sender {
	s := &sender{c: c, body: req.Body, length: bodyLength(req), trailer: req.Trailer, patience: patience, done: make(chan struct{})}
	if strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		s.wait = make(chan bool, 1)
	}
	s.buf = sendBuffers.Get().(*[sendSize]byte)
	if len(head) <= maxJoined {
		s.joined = copy(s.buf[:], head)
	} else {
		s.large = bytes.Clone(head)
	}
	return s
}

func (s *sender) run() {
	defer close(s.done)
	err := s.all()
	sendBuffers.Put(s.buf)
	if failed, ok := errors.AsType[*bodyError](err); ok {
		s.failed.Store(&failed.err)
		s.c.close() // the server must not take it for a whole request
	}
	s.complete = err == nil
	_ = s.body.Close() // it has been read, or is of no use
}

// bodyError is an error of reading the body. Those of writing show in the answer:
// a server that has had enough says why before it closes.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }

var errUnwanted = errors.New("the server does not want the body")

func (s *sender) all() error {
	if s.large != nil {
		if _, err := s.c.net.Write(s.large); err != nil {
			return err
		}
	}
	if s.wait == nil && s.length != lengthUnknown {
		return s.plain()
	}
	// Who sends chunks may wait for an answer before the first one.
	if _, err := s.c.net.Write(s.buf[:s.joined]); err != nil {
		return err
	}
	s.joined = 0
	if err := s.await(); err != nil {
		return err
	}
	if s.length == lengthUnknown {
		return s.inChunks()
	}
	return s.plain()
}

// await waits for what the server says to an expectation, but not for ever (RFC 9110
// section 10.1.1).
func (s *sender) await() error {
	if s.wait == nil {
		return nil
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case wanted := <-s.wait:
		if !wanted {
			return errUnwanted
		}
	case <-timer.C:
	}
	return nil
}

// plain sends a body of known length, each piece as it comes, the first one with the
// head. The last one goes when the body has said that this was all: whoever checks
// it while it is read may still object.
func (s *sender) plain() error {
	buf, joined := s.buf[:], s.joined
	for left := s.length; left > 0; joined = 0 {
		n, err := s.body.Read(buf[joined:min(int64(len(buf)), int64(joined)+left)])
		left -= int64(n)
		switch {
		case err == io.EOF && left > 0:
			return &bodyError{errShort}
		case err != nil && err != io.EOF:
			return &bodyError{err}
		case left == 0 && err == nil:
			if err := s.isAll(); err != nil {
				return err
			}
		}
		if _, err := s.c.net.Write(buf[:joined+n]); err != nil {
			return err
		}
	}
	return nil
}

func (s *sender) isAll() error {
	var one [1]byte
	for {
		n, err := s.body.Read(one[:])
		switch {
		case n > 0:
			return &bodyError{errLong}
		case err == io.EOF:
			return nil
		case err != nil:
			return &bodyError{err}
		}
	}
}

// inChunks sends each piece of a body as it comes.
func (s *sender) inChunks() error {
	const (
		before = len("ffff\r\n")
		after  = len("\r\n0\r\n\r\n")
	)
	for {
		n, err := s.body.Read(s.buf[before : sendSize-after])
		if err != nil && err != io.EOF {
			return &bodyError{err}
		}
		from, end := before, before
		if n > 0 {
			var digits [4]byte
			line := append(strconv.AppendInt(digits[:0], int64(n), 16), "\r\n"...)
			from -= len(line)
			copy(s.buf[from:], line)
			end += n + copy(s.buf[before+n:], "\r\n")
		}
		out := s.buf[from:end]
		if err == io.EOF {
			out = s.appendEnd(out)
		}
		if len(out) > 0 {
			if _, err := s.c.net.Write(out); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// appendEnd appends the last chunk and the trailers, of which those that cannot be
// sent are left out: it is too late to refuse them.
func (s *sender) appendEnd(b []byte) []byte {
	b = append(b, "0\r\n"...)
	for _, name := range slices.Sorted(maps.Keys(s.trailer)) {
		if !grammar.IsToken(name) || isFraming(name) {
			continue
		}
		for _, value := range s.trailer[name] {
			if grammar.IsValue(value) {
				b = append(append(append(append(b, name...), ": "...), grammar.Trim(value)...), "\r\n"...)
			}
		}
	}
	return append(b, "\r\n"...)
}

// proceed passes on what the server has said to the expectation.
func (s *sender) proceed(wanted bool) {
	if s.wait == nil {
		return
	}
	select {
	case s.wait <- wanted:
	default: // it knows already
	}
}

// whole says whether all of the request has been sent.
func (s *sender) whole() bool {
	select {
	case <-s.done:
		return s.complete
	default: // do not pay for a timer
	}
	timer := time.NewTimer(awaitSent)
	defer timer.Stop()
	select {
	case <-s.done:
		return s.complete
	case <-timer.C:
		return false
	}
}

// abandon ends the sending, and a read of the body that waits. The connection is
// closed.
func (s *sender) abandon() {
	s.proceed(false)
	select {
	case <-s.done:
	default:
		_ = s.body.Close() // the answer is there, or there will be none
	}
}
