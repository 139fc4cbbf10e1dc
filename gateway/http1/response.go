package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/splice"
)

// response is the writer of one answer. Head and body leave together, with one write
// if the buffer holds them.
type response struct {
	c      *client
	req    *http.Request
	body   *requestBody // nil for none
	minor  int
	method string
	header http.Header

	mu       sync.Mutex // guards the two below, which proceed looks at
	wrote    bool       // the final head is in the buffer, or gone
	expects  bool       // the client waits for 100 Continue, unless it is tired of it
	status   int
	close    bool // the connection ends with the answer
	hijacked bool

	out      buffer
	bodiless bool     // whatever is written is not sent
	length   int64    // announced; lengthUnknown
	sent     int64    // of the body, what is buffered too
	chunked  bool     // the head says so, and has left
	trailers []string // announced
	failed   error    // of the connection
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("http1: status " + strconv.Itoa(status))
	}
	if w.wrote || w.hijacked {
		return // as net/http, which complains in its log
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		if w.minor == 1 {
			w.interim(status)
		}
		return
	}
	w.mu.Lock()
	w.wrote = true
	w.mu.Unlock()
	w.status = status
	w.begin()
}

// interim sends a 1xx answer at once.
func (w *response) interim(status int) {
	b := appendStatus(nil, w.minor, status)
	b = appendFields(b, w.header, func(name string) bool { return !isFraming(name) })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expects = w.expects && status != http.StatusContinue
	w.send(append(b, "\r\n"...))
}

// proceed tells the client to send its body, unless it has got an answer.
func (w *response) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.expects && !w.wrote {
		w.expects = false
		w.send([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// begin writes the head into the buffer, but for what says where the body ends if
// that is not known yet.
func (w *response) begin() {
	h := w.Header()
	w.bodiless = w.method == http.MethodHead || !bodyAllowed(w.status)
	w.length = lengthUnknown
	if values := h["Content-Length"]; len(values) > 0 && bodyAllowed(w.status) {
		if n, err := strconv.ParseUint(values[0], 10, 63); err == nil && len(values) == 1 {
			w.length = int64(n)
		}
	}
	w.announce(h)
	w.close = w.close || closes(1, h) || w.expects || w.body != nil && w.body.hopeless()
	w.out.begin(func(b []byte) []byte {
		b = appendStatus(b, w.minor, w.status)
		b = appendFields(b, h, func(name string) bool { return !isFraming(name) && name != "Connection" })
		if h["Date"] == nil {
			b = append(append(append(b, "Date: "...), date(time.Now())...), "\r\n"...)
		}
		b = w.appendConnection(b, h)
		if len(w.trailers) > 0 {
			b = appendList(b, "Trailer: ", w.trailers)
		}
		if w.length != lengthUnknown {
			b = strconv.AppendInt(append(b, "Content-Length: "...), w.length, 10)
			return append(b, "\r\n\r\n"...)
		}
		return b
	}, w.length != lengthUnknown)
}

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, nil
	case !bodyAllowed(w.status):
		return 0, http.ErrBodyNotAllowed
	case w.length != lengthUnknown && w.sent+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.sent += int64(len(p))
	if w.bodiless {
		return len(p), nil
	}
	for n := 0; ; {
		m := w.out.add(p[n:])
		if n += m; n == len(p) {
			return n, nil
		}
		if err := w.flush(false); err != nil {
			return n, err
		}
		if w.length != lengthUnknown && len(p)-n >= len(w.out.pool) { // past the buffer, which is empty
			n += w.send(p[n:])
			return n, w.failed
		}
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is for http.ResponseController.
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.flush(false)
}

// flush sends what is buffered. An answer that is not at its end and has no length
// goes on in chunks, or to the end of the connection.
func (w *response) flush(last bool) error {
	if w.out.open && w.length == lengthUnknown {
		w.out.frame(w.decide(last))
	}
	if w.chunked {
		w.out.chunk()
	}
	if b := w.out.take(w.chunked); len(b) > 0 {
		w.send(b)
	}
	w.out.free() // until there is more, which may take hours
	return w.failed
}

// decide says where the body ends when the head must go.
func (w *response) decide(last bool) (fields string) {
	switch {
	case !bodyAllowed(w.status):
		return "\r\n"
	case last && len(w.trailers) == 0 && (w.method != http.MethodHead || w.sent > 0):
		fields = "Content-Length: " + strconv.FormatInt(w.sent, 10) + "\r\n\r\n"
		if w.minor == 0 && !w.close && !w.bodiless {
			fields = keepAlive + fields // it may stay after all
		}
		return fields
	case w.method == http.MethodHead:
		return "\r\n" // it would have been longer than can be known
	case w.minor == 1:
		w.chunked = true
		return "Transfer-Encoding: chunked\r\n\r\n"
	}
	if !w.close {
		w.close = true
		return "Connection: close\r\n\r\n"
	}
	return "\r\n"
}

// send writes to the connection. After an error nothing is written any more.
func (w *response) send(b []byte) (n int) {
	if w.failed == nil {
		n, w.failed = w.c.net.Write(b)
	}
	return n
}

// finish is the end of an answer. It says whether the connection can be used again.
func (w *response) finish() (again bool) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.addTrailers()
	if w.flush(true) != nil {
		return false
	}
	if w.chunked {
		w.send(w.appendTrailers([]byte("0\r\n")))
	}
	if w.failed != nil || w.length != lengthUnknown && !w.bodiless && w.sent != w.length {
		return false
	}
	if w.body != nil && !w.body.drain() {
		w.c.linger()
		return false
	}
	if w.status == http.StatusSwitchingProtocols {
		return false // what comes now is not HTTP, and nobody has taken it
	}
	if w.close && len(w.c.in.buffered()) > 0 {
		w.c.linger()
	}
	return !w.close
}

// abort is the end of an answer that its handler has broken off: what it has written
// goes, and the client sees that it is not whole.
func (w *response) abort() {
	defer w.out.free()
	if w.wrote && (w.length != lengthUnknown || !w.out.open) {
		_ = w.flush(false)
	}
}

// ReadFrom implements io.ReaderFrom. A pipe goes on to the connection as it is.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	p, ok := src.(*splice.Pipe)
	dst, takes := w.c.net.(io.ReaderFrom)
	if !ok || !takes || !w.wrote || w.length == lengthUnknown || w.bodiless {
		return io.Copy(struct{ io.Writer }{w}, src)
	}
	if err := w.flush(false); err != nil {
		return 0, err
	}
	n, err := dst.ReadFrom(p)
	w.sent += n
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.failed = err
	}
	return n, err
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if w.wrote {
		if err := w.flush(false); err != nil {
			return nil, nil, err
		}
	}
	w.hijacked = true
	w.out.free()
	c := w.c
	if w.body != nil {
		w.body.stop()
	}
	c.watch.end()
	c.gone = true
	ahead := bytes.Clone(c.in.buffered())
	c.in.discard()
	if c.s.Hijacked != nil {
		c.s.Hijacked(c.net)
	}
	err := c.net.SetDeadline(time.Time{})
	in := bufio.NewReader(io.MultiReader(bytes.NewReader(ahead), c.net))
	if len(ahead) > 0 {
		in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(ahead), c.net), max(len(ahead), 4<<10))
		_, _ = in.Peek(len(ahead)) // so that Buffered tells of it
	}
	return c.net, bufio.NewReadWriter(in, bufio.NewWriter(c.net)), err
}

// EnableFullDuplex is for http.ResponseController. It is always so.
func (w *response) EnableFullDuplex() error { return nil }

// SetReadDeadline is for http.ResponseController.
func (w *response) SetReadDeadline(t time.Time) error { return w.c.net.SetReadDeadline(t) }

// SetWriteDeadline is for http.ResponseController.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.net.SetWriteDeadline(t) }
