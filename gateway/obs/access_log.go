package obs

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// AccessLog writes one line for each request. A line is handed to a goroutine
// that writes in batches; when the output cannot keep up, lines are dropped and
// counted, and no request ever waits. The nil AccessLog is one that is off.
type AccessLog struct {
	encode  func(b []byte, r *http.Request, x *gateway.Exchange, end time.Time) []byte
	dropped func(lines int)
	path    string // of the file, for Reopen; "" for stdout and stderr

	lines sync.Pool // of *[]byte
	ring  *ring

	asleep atomic.Bool   // the writer waits for wake
	wake   chan struct{} // capacity 1
	next   atomic.Pointer[os.File]
	closed atomic.Bool
	done   chan struct{} // closed when the writer has ended

	out  io.Writer     // the writer's
	file *os.File      // out, if it is ours to close; the writer's
	stop chan struct{} // closed by Close
}

const (
	firstLine = 1024     // capacity of a fresh line
	maxPooled = 16 << 10 // longer lines are left to the garbage collector
	maxBatch  = 64 << 10 // bytes of one write
	linger    = 10 * time.Millisecond
	lastWords = 2 * time.Second // how long Close waits for the output
)

// OpenAccessLog opens the access log. output is "stdout", "stderr", "off" or a
// file's path; format is "json" or "text". For "off" the log is nil.
func OpenAccessLog(output, format string, m *Metrics) (*AccessLog, error) {
	encode, ok := map[string]func([]byte, *http.Request, *gateway.Exchange, time.Time) []byte{
		"json": appendJSON, "text": appendText,
	}[format]
	if !ok {
		return nil, fmt.Errorf("access log: unknown format %q", format)
	}
	l := &AccessLog{encode: encode, dropped: func(lines int) { m.logDropped.Add(float64(lines)) }}
	switch output {
	case "off":
		return nil, nil
	case "stdout":
		l.out = os.Stdout
	case "stderr":
		l.out = os.Stderr
	default:
		file, err := openLog(output)
		if err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
		l.path, l.file, l.out = output, file, file
	}
	l.start()
	return l, nil
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
}

func (l *AccessLog) start() {
	l.ring = newRing()
	l.lines.New = func() any { return new(make([]byte, 0, firstLine)) }
	l.wake, l.stop, l.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go l.write()
}

// Log writes the line of a request whose answer ended at end. It reads r and x
// before it returns and keeps neither.
func (l *AccessLog) Log(r *http.Request, x *gateway.Exchange, end time.Time) {
	if l == nil {
		return
	}
	line := l.lines.Get().(*[]byte)
	*line = append(l.encode((*line)[:0], r, x, end), '\n')
	if l.closed.Load() || !l.ring.put(line) {
		l.dropped(1)
		l.recycle(line)
		return
	}
	if l.asleep.Load() || l.ring.crowded() {
		l.rouse()
	}
}

func (l *AccessLog) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *AccessLog) recycle(line *[]byte) {
	if cap(*line) <= maxPooled {
		l.lines.Put(line)
	}
}

// Reopen opens the file again under its path, after it has been renamed. When
// that fails, the log goes on in the old file.
func (l *AccessLog) Reopen() error {
	if l == nil || l.path == "" || l.closed.Load() {
		return nil
	}
	file, err := openLog(l.path)
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	if unused := l.next.Swap(file); unused != nil {
		_ = unused.Close() // nothing was written to it
	}
	l.rouse()
	return nil
}

var errUndelivered = errors.New("access log: output is blocked, the last lines are lost")

// Close writes what is waiting and ends the log. If the output is blocked, it
// gives up after two seconds. It is called once, when requests have ended;
// lines that come later are dropped.
func (l *AccessLog) Close() error {
	if l == nil || l.closed.Swap(true) {
		return nil
	}
	close(l.stop)
	timeout := time.NewTimer(lastWords)
	defer timeout.Stop()
	select {
	case <-l.done:
		return nil
	case <-timeout.C:
		return errUndelivered
	}
}
