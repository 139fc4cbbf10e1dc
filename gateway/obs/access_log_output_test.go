package obs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// sink is an output that can be blocked and can fail.
type sink struct {
	mu    sync.Mutex
	gate  chan struct{} // nil: open
	fail  func(p []byte) (int, error)
	lines bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	gate, fail := s.gate, s.fail
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := len(p), error(nil)
	if fail != nil {
		n, err = fail(p)
	}
	s.lines.Write(p[:n])
	return n, err
}

func logTo(s *sink, m *Metrics) *AccessLog {
	l := &AccessLog{encode: appendJSON, dropped: func(n int) { m.logDropped.Add(float64(n)) }, out: s}
	l.start()
	return l
}

func droppedLines(t *testing.T, m *Metrics) int {
	t.Helper()
	line := samples(t, m, "pithead_access_log_dropped_total")
	n, err := strconv.ParseFloat(strings.TrimPrefix(strings.Join(line, ""), "pithead_access_log_dropped_total "), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

func TestBlockedOutput(t *testing.T) {
	for _, row := range []string{"A18", "fault 41"} {
		t.Run(row, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMetrics(Build{})
				s := &sink{gate: make(chan struct{})}
				l := logTo(s, m)
				r, x, end := logged()
				const total = 20_000
				began := time.Now()
				var wg sync.WaitGroup
				for range 4 {
					wg.Go(func() {
						for range total / 4 {
							l.Log(r, x, end)
						}
					})
				}
				wg.Wait()
				if d := time.Since(began); d != 0 {
					t.Errorf("requests waited %v", d)
				}
				if n := l.ring.bytes.Load(); n > ringBytes {
					t.Errorf("%d bytes wait", n)
				}
				if err := l.Close(); !errors.Is(err, errUndelivered) || time.Since(began) != lastWords {
					t.Errorf("Close: %v after %v", err, time.Since(began))
				}
				close(s.gate)
				<-l.done
				dropped := droppedLines(t, m)
				if written := bytes.Count(s.lines.Bytes(), []byte("\n")); written+dropped != total || dropped == 0 {
					t.Errorf("%d written + %d dropped, want %d", written, dropped, total)
				}
				for line := range bytes.Lines(s.lines.Bytes()) {
					if !json.Valid(line) {
						t.Fatalf("no JSON: %s", line)
					}
				}
			})
		})
	}
}

// The same with the real things: a pipe that nobody reads, and a full disk.
func TestRealOutputs(t *testing.T) {
	const total = 20_000
	logAll := func(l *AccessLog) {
		r, x, end := logged()
		for range total {
			l.Log(r, x, end)
		}
	}
	t.Run("fault 41 pipe", func(t *testing.T) {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		m := NewMetrics(Build{})
		l := &AccessLog{encode: appendText, dropped: func(n int) { m.logDropped.Add(float64(n)) }, out: writer, file: writer}
		l.start()
		logAll(l) // returns although nobody reads
		var text []byte
		var wg sync.WaitGroup
		wg.Go(func() { text, err = io.ReadAll(reader) })
		if closed := l.Close(); closed != nil {
			t.Error(closed)
		}
		wg.Wait()
		if err := errors.Join(err, reader.Close()); err != nil {
			t.Error(err)
		}
		dropped := droppedLines(t, m)
		if written := bytes.Count(text, []byte("\n")); written+dropped != total || dropped == 0 {
			t.Errorf("%d written + %d dropped, want %d", written, dropped, total)
		}
	})
	t.Run("fault 41 disk full", func(t *testing.T) {
		m := NewMetrics(Build{})
		l, err := OpenAccessLog("/dev/full", "json", m)
		if err != nil {
			t.Fatal(err)
		}
		logAll(l)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if dropped := droppedLines(t, m); dropped != total {
			t.Errorf("%d dropped, want %d", dropped, total)
		}
	})
}

func TestFailingOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics(Build{})
		s := &sink{}
		l := logTo(s, m)
		r, x, end := logged()
		step := func(fail func([]byte) (int, error)) {
			s.mu.Lock()
			s.fail = fail
			s.mu.Unlock()
			l.Log(r, x, end)
			<-time.After(2 * linger)
			synctest.Wait()
		}
		full := errors.New("disk full")
		step(nil)
		step(func(p []byte) (int, error) { return 0, full })
		step(func(p []byte) (int, error) { return 10, full }) // torn
		step(func(p []byte) (int, error) { return 0, full })
		step(nil)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if n := droppedLines(t, m); n != 3 {
			t.Errorf("%d dropped, want 3", n)
		}
		line := string(appendJSON(nil, r, x, end)) + "\n"
		if diff := cmp.Diff(line+line[:10]+"\n"+line, s.lines.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestFirstLineAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := logTo(s, NewMetrics(Build{}))
		r, x, end := logged()
		for i := range 3 {
			<-time.After(time.Second)
			l.Log(r, x, end)
			synctest.Wait()
			if n := bytes.Count(s.lines.Bytes(), []byte("\n")); n != i+1 {
				t.Errorf("%d lines, want %d", n, i+1)
			}
		}
		if err := errors.Join(l.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		l.Log(r, x, end)
		if n := bytes.Count(s.lines.Bytes(), []byte("\n")); n != 3 {
			t.Errorf("%d lines after the end", n)
		}
	})
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	m := NewMetrics(Build{})
	l, err := OpenAccessLog(path, "text", m)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		r, x, end := logged()
		for range 2000 {
			l.Log(r, x, end)
		}
	})
	for _, name := range []string{"1", "2"} {
		if err := os.Rename(path, path+name); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var lines int
	for _, name := range []string{path, path + "1", path + "2"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(text, []byte("\n"))
	}
	if dropped := droppedLines(t, m); lines+dropped != 2000 {
		t.Errorf("%d lines + %d dropped", lines, dropped)
	}
}

func TestOpenAccessLog(t *testing.T) {
	m := NewMetrics(Build{})
	t.Run("off", func(t *testing.T) {
		l, err := OpenAccessLog("off", "json", m)
		if l != nil || err != nil {
			t.Fatal(l, err)
		}
		l.Log(httptest.NewRequest("GET", "/", nil), &gateway.Exchange{}, epoch)
		if err := errors.Join(l.Reopen(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong format", func(t *testing.T) {
		if _, err := OpenAccessLog("stdout", "xml", m); err == nil {
			t.Error("no error")
		}
	})
	t.Run("cannot open", func(t *testing.T) {
		if _, err := OpenAccessLog(filepath.Join(t.TempDir(), "no", "log"), "json", m); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	})
	t.Run("cannot reopen", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "logs")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := OpenAccessLog(filepath.Join(dir, "log"), "json", m)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+"2"); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		l.Log(httptest.NewRequest("GET", "/", nil), &gateway.Exchange{}, epoch)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if text, err := os.ReadFile(filepath.Join(dir+"2", "log")); err != nil || len(text) == 0 {
			t.Errorf("the old file is not written any more: %v", err)
		}
	})
}

func TestLogAllocations(t *testing.T) {
	if raceEnabled {
		return
	}
	r, x, end := logged()
	x.Err = nil // the text of an error may allocate
	for name, encode := range map[string]func([]byte, *http.Request, *gateway.Exchange, time.Time) []byte{"json": appendJSON, "text": appendText} {
		b := make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() { encode(b, r, x, end) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	l := logTo(&sink{fail: func(p []byte) (int, error) { return 0, nil }}, NewMetrics(Build{}))
	n := testing.AllocsPerRun(100, func() {
		l.Log(r, x, end)
		for l.ring.bytes.Load() > 0 { // let the buffer come back into the pool
		}
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if n > 0 {
		t.Errorf("%v allocations for a line", n)
	}
}

func BenchmarkLog(b *testing.B) {
	r, x, end := logged()
	x.Err = nil
	l := logTo(&sink{fail: func(p []byte) (int, error) { return 0, nil }}, NewMetrics(Build{}))
	b.ReportAllocs()
	for b.Loop() {
		l.Log(r, x, end)
	}
	if err := l.Close(); err != nil {
		b.Error(err)
	}
}
