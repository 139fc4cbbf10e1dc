package transcode

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// FrameHeader is the length of what stands before each message of a call.
const FrameHeader = 5

// Errors of what an upstream sends.
var (
	ErrTooLarge   = errors.New("a message is larger than max_message")
	ErrCompressed = errors.New("a message is compressed in a way that was not agreed on")
	ErrFrame      = errors.New("malformed gRPC frame")
)

// AppendFrame begins a frame: the message is to be appended behind it, and then
// EndFrame called with the same start.
func AppendFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0) }

// EndFrame enters the length of the message of the frame that begins at start.
func EndFrame(b []byte, start int) {
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-FrameHeader))
}

// Frames takes the messages out of an answer as its bytes come. A length is
// checked before room is made for it.
type Frames struct {
	Max  int  // bytes of a message, unpacked
	Gzip bool // the answer has grpc-encoding: gzip

	buf []byte // what has come of an incomplete frame
}

// Write takes the next bytes and calls message with each that is complete. The
// slice is valid until message returns.
func (f *Frames) Write(p []byte, message func([]byte) error) error {
	for len(p) > 0 || len(f.buf) >= FrameHeader {
		if len(f.buf) == 0 && len(p) >= FrameHeader { // the usual case: without a copy
			n, err := f.length(p)
			if err != nil {
				return err
			}
			if len(p) >= n {
				if err := f.message(p[:n], message); err != nil {
					return err
				}
				p = p[n:]
				continue
			}
		}
		whole, rest, err := f.collect(p)
		if err != nil {
			return err
		}
		p = rest
		if whole == nil {
			return nil
		}
		if err := f.message(whole, message); err != nil {
			return err
		}
	}
	return nil
}

// collect adds to the incomplete frame, and returns it when it is complete.
func (f *Frames) collect(p []byte) (whole, rest []byte, err error) {
	if need := FrameHeader - len(f.buf); need > 0 {
		take := min(need, len(p))
		f.buf, p = append(f.buf, p[:take]...), p[take:]
		if len(f.buf) < FrameHeader {
			return nil, p, nil
		}
	}
	n, err := f.length(f.buf)
	if err != nil {
		return nil, nil, err
	}
	take := min(n-len(f.buf), len(p))
	f.buf, p = append(f.buf, p[:take]...), p[take:]
	if len(f.buf) < n {
		return nil, p, nil
	}
	whole = f.buf
	f.buf = f.buf[:0]
	return whole, p, nil
}

// length is that of the frame that b begins with, its head included.
func (f *Frames) length(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b[1:])
	switch {
	case b[0] > 1:
		return 0, ErrFrame
	case b[0] == 1 && !f.Gzip:
		return 0, ErrCompressed
	case int64(n) > int64(f.Max):
		return 0, ErrTooLarge
	}
	return int(n) + FrameHeader, nil
}

func (f *Frames) message(frame []byte, message func([]byte) error) error {
	if frame[0] == 0 {
		return message(frame[FrameHeader:])
	}
	z, err := gzip.NewReader(bytes.NewReader(frame[FrameHeader:]))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, int64(f.Max)+1))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if len(plain) > f.Max {
		return ErrTooLarge
	}
	return message(plain)
}

// Rest says whether the answer ended within a frame.
func (f *Frames) Rest() bool { return len(f.buf) > 0 }
