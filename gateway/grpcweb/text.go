package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
)

// ErrText says that a body of gRPC-Web-Text is not in base64.
var ErrText = errors.New("malformed base64")

const quantum = 4 // characters of base64 that stand for up to three bytes

// TextReader decodes a body of gRPC-Web-Text: pieces of base64, each of which may
// be padded, one after the other. Line ends are none of it.
type TextReader struct {
	In  io.Reader
	buf [4 << 10]byte
	// The characters buf[from:to] have been read and not decoded.
	from, to int
	rest     [3]byte // decoded bytes that the caller had no room for
	over     []byte  // what is left of them
	err      error
}

// Read implements io.Reader.
func (r *TextReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if len(r.over) > 0 {
			n := copy(p, r.over)
			r.over = r.over[n:]
			return n, nil
		}
		if r.to-r.from >= quantum {
			return r.decode(p)
		}
		if r.err != nil {
			if r.to > r.from && errors.Is(r.err, io.EOF) {
				return 0, ErrText
			}
			return 0, r.err
		}
		r.from, r.to = 0, copy(r.buf[:], r.buf[r.from:r.to])
		var n int
		n, r.err = r.In.Read(r.buf[r.to:])
		r.to += n
	}
	return 0, nil
}

// decode decodes what there is up to the end of a padded piece.
func (r *TextReader) decode(p []byte) (int, error) {
	src := r.buf[r.from : r.from+(r.to-r.from)/quantum*quantum]
	if pad := bytes.IndexByte(src, '='); pad >= 0 {
		src = src[:(pad/quantum+1)*quantum]
	}
	if end := bytes.IndexAny(src, "\r\n"); end >= quantum {
		src = src[:end/quantum*quantum]
	} else if end >= 0 { // the decoder would skip it, and lose its step
		r.err, r.from, r.to = ErrText, 0, 0
		return 0, ErrText
	}
	if room := len(p) / 3 * quantum; room == 0 {
		src = src[:quantum]
	} else if len(src) > room {
		src = src[:room]
	}
	dst := p
	if len(p) < 3 {
		dst = r.rest[:]
	}
	n, err := base64.StdEncoding.Strict().Decode(dst, src)
	if err != nil {
		r.err, r.from, r.to = ErrText, 0, 0
		return 0, ErrText
	}
	r.from += len(src)
	if len(p) < 3 {
		r.over = r.rest[:n]
		n = copy(p, r.over)
		r.over = r.over[n:]
	}
	return n, nil
}

// TextWriter encodes an answer of gRPC-Web-Text. Nothing of a piece stays behind
// after Flush, which pads it.
type TextWriter struct {
	Out  io.Writer
	buf  [4 << 10]byte
	rest [3]byte
	have int // bytes of rest
}

// Write implements io.Writer.
func (w *TextWriter) Write(p []byte) (int, error) {
	total := len(p)
	if w.have > 0 {
		n := copy(w.rest[w.have:], p)
		w.have += n
		p = p[n:]
		if w.have < len(w.rest) {
			return total, nil
		}
		w.have = 0
		if err := w.encode(w.rest[:]); err != nil {
			return 0, err
		}
	}
	for len(p) >= 3 {
		n := min(len(p)/3*3, len(w.buf)/quantum*3)
		if err := w.encode(p[:n]); err != nil {
			return 0, err
		}
		p = p[n:]
	}
	w.have = copy(w.rest[:], p)
	return total, nil
}

func (w *TextWriter) encode(p []byte) error {
	base64.StdEncoding.Encode(w.buf[:], p)
	_, err := w.Out.Write(w.buf[:base64.StdEncoding.EncodedLen(len(p))])
	return err
}

// Flush writes what is left of a piece.
func (w *TextWriter) Flush() error {
	if w.have == 0 {
		return nil
	}
	n := w.have
	w.have = 0
	return w.encode(w.rest[:n])
}
