package middleware

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/pithead/pithead/gateway/grammar"
)

// encoder is what the libraries have in common.
type encoder interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

const (
	brotliLevel  = 4         // about as costly as gzip at its default, and smaller
	zstdEncoding = 512 << 10 // the window; each encoder keeps about as much
)

// encoders make encoders that work in the goroutine that writes, so that those in a pool hold none.
var encoders = map[string]func() any{
	codingGzip:   func() any { return gzip.NewWriter(nil) },
	codingBrotli: func() any { return brotli.NewWriterLevel(nil, brotliLevel) },
	codingZstd: func() any {
		e, _ := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdEncoding), zstd.WithLowerEncoderMem(true)) // fails on bad options only
		return e
	},
}

// compressWriter decides when it has seen the head, and as much of the body as min_size, what to
// do with an answer.
type compressWriter struct {
	http.ResponseWriter
	m      *compress
	coding *coding // nil: the client takes none
	head   bool    // the request is HEAD

	status  int // 0 before the head
	decided bool
	enc     encoder // nil unless compressing
	held    []byte  // the beginning of an answer whose size is not known
}

// Unwrap is for http.ResponseController.
func (w *compressWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *compressWriter) WriteHeader(status int) {
	if status < http.StatusOK {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status = status
	h := w.Header()
	if !w.m.fits(status, h) {
		w.plain()
		return
	}
	addVary(h)
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	known := err == nil
	switch {
	case w.coding == nil, known && length < int64(w.m.min), w.head && !known:
		w.plain()
	case w.head:
		w.encoded() // as the answer to GET says it
		w.plain()
	case known:
		w.compress()
	}
}

// fits says whether an answer may be compressed for somebody.
func (m *compress) fits(status int, h http.Header) bool {
	switch status {
	case http.StatusNoContent, http.StatusResetContent, http.StatusPartialContent, http.StatusNotModified:
		return false
	}
	typ := h.Get("Content-Type")
	return len(h["Content-Encoding"]) == 0 && len(h["Content-Range"]) == 0 && m.types.has(typ) &&
		!strings.HasPrefix(strings.ToLower(typ), "text/event-stream") && !grammar.HasToken(h["Cache-Control"], "no-transform")
}

// addVary says that the answer depends on Accept-Encoding, unless that is said.
func addVary(h http.Header) {
	if grammar.HasToken(h["Vary"], "*") || grammar.HasToken(h["Vary"], acceptEncoding) {
		return
	}
	h.Add("Vary", acceptEncoding)
}

// encoded edits the head of an answer that is compressed.
func (w *compressWriter) encoded() {
	h := w.Header()
	for _, name := range ofEncodedBody {
		delete(h, name)
	}
	delete(h, "Accept-Ranges") // ranges would be those of the plain bytes
	h.Set("Content-Encoding", w.coding.name)
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag)
	}
}

func (w *compressWriter) plain() {
	w.decided = true
	w.ResponseWriter.WriteHeader(w.status)
}

func (w *compressWriter) compress() {
	w.decided = true
	w.encoded()
	w.enc = w.coding.pool.Get().(encoder)
	w.enc.Reset(w.ResponseWriter)
	w.ResponseWriter.WriteHeader(w.status)
}

// Write implements http.ResponseWriter.
func (w *compressWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.enc != nil:
		return w.enc.Write(p)
	case w.decided:
		return w.ResponseWriter.Write(p) //nolint:gosec // the answer of a handler, passed on
	case len(w.held)+len(p) < w.m.min:
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.compress()
	if err := w.unhold(); err != nil {
		return 0, err
	}
	return w.enc.Write(p)
}

// unhold writes what was held back.
func (w *compressWriter) unhold() error {
	held := w.held
	w.held = nil
	_, err := w.Write(held)
	return err
}

// FlushError is for http.ResponseController. An answer that is flushed is one that goes on.
func (w *compressWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.decided {
		w.compress()
		if err := w.unhold(); err != nil {
			return err
		}
	}
	if w.enc != nil {
		if err := w.enc.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// finish is for the end of the handler. A client that left is noticed by the server.
func (w *compressWriter) finish() {
	switch {
	case w.enc != nil:
		_ = w.enc.Close()
	case w.status != 0 && !w.decided:
		w.plain()
		_ = w.unhold()
	}
}

// release gives the encoder back.
func (w *compressWriter) release() {
	if w.enc != nil {
		w.enc.Reset(nil)
		w.coding.pool.Put(w.enc)
		w.enc = nil
	}
}
