package grpcweb

import (
	"encoding/binary"
	"errors"
)

// HeadLen is the length of what stands before each message: a byte of flags and
// four of length.
const HeadLen = 5

// Flags of a frame.
const (
	FlagCompressed = 1 << 0
	// FlagEnd is on the last frame of a Connect stream, which holds JSON.
	FlagEnd = 1 << 1
	// FlagTrailers is on the last frame of a gRPC-Web answer, which holds a header block.
	FlagTrailers = 1 << 7
)

// Errors of frames.
var (
	ErrTooLarge   = errors.New("a message is larger than max_message")
	ErrCompressed = errors.New("a message is compressed in a way that was not agreed on")
	ErrFlags      = errors.New("a frame has flags that there are not")
	ErrTruncated  = errors.New("the stream ends within a message")
)

// Scanner follows the frames of a stream while its bytes pass, and keeps none of them.
type Scanner struct {
	Max        int  // bytes of a message
	Compressed bool // messages may be compressed
	Messages   int  // that have begun

	head [HeadLen]byte
	have int // bytes of head
	left int // bytes of the message
}

// Scan looks at the next bytes. A message is refused with the last byte of its head.
func (s *Scanner) Scan(p []byte) error {
	for len(p) > 0 {
		if s.left > 0 {
			n := min(s.left, len(p))
			s.left -= n
			p = p[n:]
			continue
		}
		n := copy(s.head[s.have:], p)
		s.have += n
		p = p[n:]
		if s.have < HeadLen {
			return nil
		}
		s.have = 0
		length := binary.BigEndian.Uint32(s.head[1:])
		switch {
		case s.head[0]&^FlagCompressed != 0:
			return ErrFlags
		case s.head[0]&FlagCompressed != 0 && !s.Compressed:
			return ErrCompressed
		case int64(length) > int64(s.Max):
			return ErrTooLarge
		}
		s.left = int(length)
		s.Messages++
	}
	return nil
}

// Left is how much is to come of the message that has begun.
func (s *Scanner) Left() int { return s.left }

// End says whether the stream may end here.
func (s *Scanner) End() error {
	if s.left > 0 || s.have > 0 {
		return ErrTruncated
	}
	return nil
}

// AppendHead appends the head of a frame for a message of n bytes.
func AppendHead(dst []byte, flags byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(dst, flags), uint32(n))
}
