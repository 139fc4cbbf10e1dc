package middleware

import (
	"bufio"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

const (
	ratioGrace = 64 << 10 // how large a body may become whatever its ratio
	zstdWindow = 8 << 20  // that every decoder must have, RFC 9659
)

// decoders open a body. None of them has goroutines or needs closing, because a body
// may be closed while somebody reads it.
var decoders = map[string]func(*bufio.Reader) (io.Reader, error){
	codingGzip:    func(r *bufio.Reader) (io.Reader, error) { return gzip.NewReader(r) },
	codingDeflate: func(r *bufio.Reader) (io.Reader, error) { return zlib.NewReader(r) },
	codingBrotli:  func(r *bufio.Reader) (io.Reader, error) { return brotli.NewReader(r), nil },
	codingZstd: func(r *bufio.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	},
}

// encodedSource counts what is read of a body, and tells its errors from those of the decoder.
type encodedSource struct {
	r   io.Reader
	n   int64
	err error
}

func (s *encodedSource) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}

// inflatedBody is a body as it is without its coding. The decoder is opened by the first
// read, which may have to wait for the client.
type inflatedBody struct {
	body   io.Closer
	source encodedSource
	open   func(*bufio.Reader) (io.Reader, error)

	size, per int64
	in        *bufio.Reader
	decoder   io.Reader
	out       int64
	err       error
}

// Read implements io.Reader.
func (b *inflatedBody) Read(p []byte) (n int, err error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.decoder == nil {
		b.in = bufio.NewReader(&b.source)
		if b.decoder, err = b.open(b.in); err != nil {
			b.err = b.blame(err)
			return 0, b.err
		}
	}
	n, err = b.decoder.Read(p)
	b.out += int64(n)
	switch {
	case b.out > b.size:
		b.err = errInflated
	case b.out > ratioGrace && b.out/b.per > b.source.n:
		b.err = errRatio
	case errors.Is(err, io.EOF):
		b.err = b.end()
	case err != nil:
		b.err = b.blame(err)
	default:
		return n, nil
	}
	if !errors.Is(b.err, io.EOF) {
		n = 0 // nothing of a body that is refused
	}
	return n, b.err
}

// end is for when the decoder has enough: what follows would be read by somebody else.
func (b *inflatedBody) end() error {
	if _, err := b.in.ReadByte(); err == nil {
		return errMalformed
	}
	if !errors.Is(b.source.err, io.EOF) {
		return b.source.err
	}
	return io.EOF
}

// blame tells a client that could not be read from one that has sent nonsense.
func (b *inflatedBody) blame(err error) error {
	if b.source.err != nil && !errors.Is(b.source.err, io.EOF) {
		return b.source.err
	}
	refusal := *errMalformed
	refusal.Err = err
	return &refusal
}

// Close implements io.Closer.
func (b *inflatedBody) Close() error { return b.body.Close() }
