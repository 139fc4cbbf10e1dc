package server

import (
	"bufio"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/overload"
)

// connectionClose is shared by all answers that are the last on their connection. HTTP/2 turns it into
// a GOAWAY frame.
var connectionClose = []string{"close"}

// response is the writer of one answer: it remembers what was sent, bounds how
// long the client may take nothing, and tells clients to go when the front is
// retired. http.ResponseController finds the rest through Unwrap.
type response struct {
	http.ResponseWriter
	x        *gateway.Exchange
	lame     *atomic.Bool
	pressure *overload.Manager
	aged     bool // the connection
	http1    bool
	timed    bool
	idle     time.Duration
	until    time.Time // write deadline of the connection, HTTP/1 only
	wrote    bool      // the final head
	bytes    int64
	tunnel   *tunnel
	body     *body
	torn     bool // a panic came after the head

	entry   *entry
	conn    *conn
	kernel  *anatomy.Kernel
	blocked time.Duration // in writes that waited for the client
	stall   stall         // HTTP/2 only
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. An informational status is passed
// on and is not the answer's.
func (w *response) WriteHeader(status int) {
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if final && !w.wrote {
		w.wrote = true
		w.x.Status = status
		if (w.aged || w.lame.Load() || w.pressure.Closes()) && status != http.StatusSwitchingProtocols {
			w.Header()["Connection"] = connectionClose
		}
		w.name(status)
		if w.x.Told() {
			w.tell()
		}
	}
	w.before()
	w.ResponseWriter.WriteHeader(status)
	w.after()
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.before()
	n, err := w.write(p)
	w.after()
	w.bytes += int64(n)
	return n, err
}

func (w *response) write(p []byte) (int, error) {
	if w.bytes+int64(len(p)) < buffered {
		return w.ResponseWriter.Write(p)
	}
	begun := time.Now()
	defer w.waited(begun)
	return w.ResponseWriter.Write(p)
}

// waited notes that something was written since begun.
func (w *response) waited(begun time.Time) {
	if took := time.Since(begun); took >= copying {
		w.blocked += took
	}
}

// Flush implements http.Flusher for middlewares that look for it.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.before()
	begun := time.Now()
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.waited(begun)
	w.after()
	return err
}

// Hijack is for http.ResponseController. The limits of requests and answers end
// with it; the bytes of the tunnel are counted.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.timed, w.wrote = false, true
	w.body.stall.finish()
	w.tunnel = &tunnel{Conn: nc}
	return w.tunnel, rw, nil
}

// before bounds the write that follows. HTTP/1 has a deadline on the
// connection, moved on long before it passes; it is also in force for what
// the engine flushes after the handler. HTTP/2 streams are watched instead, see stall.
func (w *response) before() {
	if !w.timed {
		return
	}
	now := time.Now()
	if !w.http1 {
		w.stall.begin(now)
		return
	}
	if w.until.Sub(now) < w.idle-w.idle/8 {
		w.setDeadline(now)
	}
}

func (w *response) after() {
	if w.timed && !w.http1 {
		w.stall.end()
	}
}

func (w *response) patience() time.Duration { return w.idle }

// cut resets the stream whose write is under way.
func (w *response) cut() { expire(http.NewResponseController(w.ResponseWriter).SetWriteDeadline) }

// last bounds what is still to be written after the handler.
func (w *response) last(now time.Time) {
	w.stall.finish()
	if w.timed && (w.http1 || w.bytes > 0) {
		w.setDeadline(now)
	}
}

func (w *response) setDeadline(now time.Time) {
	w.until = now.Add(w.idle)
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.until) // fails only on a closed connection
}

// tunnel counts the bytes of an upgraded connection.
type tunnel struct {
	net.Conn
	in, out atomic.Int64
}

func (t *tunnel) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.in.Add(int64(n))
	return n, err
}

func (t *tunnel) Write(p []byte) (int, error) {
	n, err := t.Conn.Write(p)
	t.out.Add(int64(n))
	return n, err
}

// CloseWrite passes on the half-close of one direction.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
