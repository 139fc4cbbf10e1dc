package server

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// logged returns the lines of the access log of a house that has ended.
func logged(t *testing.T, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(text)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}

func withLog(t *testing.T) (text, path string) {
	path = filepath.Join(t.TempDir(), "access.log")
	return strings.Replace(settings(1, web+ending), `"off"`, fmt.Sprintf("%q", path), 1), path
}

func (h *house) scrape() string {
	rec := httptest.NewRecorder()
	h.metrics.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return rec.Body.String()
}

func (h *house) wantMetric(lines ...string) {
	h.t.Helper()
	text := h.scrape()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			h.t.Errorf("no metric %s among:", line)
			for have := range strings.Lines(text) {
				if strings.HasPrefix(have, name) {
					h.t.Errorf("  %s", have)
				}
			}
		}
	}
}

// TestOneExchange looks at everything that is said of requests in the end.
func TestOneExchange(t *testing.T) {
	text, path := withLog(t)
	h := prepare(t, text, func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		if x.Listener != "web" || x.Scheme != "http" || !x.Client.IsLoopback() || x.Start.IsZero() {
			t.Errorf("exchange %+v", x)
		}
		w.WriteHeader(http.StatusEarlyHints) // not the answer's status
		switch r.URL.Path {
		case "/nothing":
		case "/gone":
			x.Status = gateway.StatusClientClosed
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, "hello")
		}
	}).open()
	resp, err := http.Post("http://"+h.addr()+"/p", "text/plain", strings.NewReader("1234567"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if status, _, err := h.get("/nothing"); err != nil || status != 200 {
		t.Errorf("a handler that says nothing: %d %v", status, err)
	}
	if status, _, err := h.get("/gone"); err == nil {
		t.Errorf("a client that is thought gone got %d", status)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	h.stop()
	h.wait()
	lines := logged(t, path)
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3: %v", len(lines), lines)
	}
	first := lines[0]
	if first["status"] != 201.0 || first["bytes_in"] != 7.0 || first["bytes_out"] != 5.0 || first["listener"] != "web" {
		t.Errorf("line %v", first)
	}
	if lines[1]["status"] != 200.0 || lines[2]["status"] != 499.0 {
		t.Errorf("statuses %v %v", lines[1]["status"], lines[2]["status"])
	}
	h.wantMetric(
		`pithead_requests_in_flight{route="none"} 0`,
		`pithead_requests_total{arm="",code="201",method="POST",route="none",upstream=""} 1`,
		`pithead_connections_opened_total{listener="web"} 3`,
		`pithead_connections{listener="web"} 0`,
	)
}

func TestA19Panics(t *testing.T) {
	text, path := withLog(t)
	h := prepare(t, text, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("oh")
		case "/after":
			_, _ = io.WriteString(w, "begin")
			_ = http.NewResponseController(w).Flush()
			panic(errors.New("oh"))
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	}).open()
	if status, body, err := h.get("/before"); err != nil || status != 500 || strings.Contains(body, "oh") {
		t.Errorf("before the head: %d %q %v", status, body, err)
	}
	if status, body, err := h.get("/after"); err == nil {
		t.Errorf("after the head the client got a whole answer: %d %q", status, body)
	}
	if status, _, err := h.get("/abort"); err == nil {
		t.Errorf("an aborted answer: %d", status)
	}
	h.stop()
	h.wait()
	if n, _ := h.log.count("panic while serving"); n != 2 {
		t.Errorf("%d panics were logged, want 2", n)
	}
	h.wantMetric("pithead_panics_total 2", `pithead_request_errors_total{cause="gateway",reason="panic",route="none"} 2`)
	if lines := logged(t, path); len(lines) != 3 || lines[0]["status"] != 500.0 || lines[1]["reason"] != "panic" {
		t.Errorf("lines %v", lines)
	}
}

func TestTunnelBytesAreCounted(t *testing.T) {
	text, path := withLog(t)
	h := prepare(t, text, func(w http.ResponseWriter, _ *http.Request) { echo(w) }).open()
	c := dial(t, h.Addrs()["web"])
	openTunnel(t, c)
	if _, err := io.WriteString(c, "ping"); err != nil {
		t.Fatal(err)
	}
	pong := make([]byte, 4)
	if _, err := io.ReadFull(c, pong); err != nil || string(pong) != "ping" {
		t.Errorf("%q %v", pong, err)
	}
	_ = c.Close()
	h.stop()
	h.wait()
	lines := logged(t, path)
	if len(lines) != 1 || lines[0]["status"] != 101.0 || lines[0]["bytes_out"] != 4.0 {
		t.Errorf("lines %v", lines)
	}
}

// TestS09UnreadBody: the answer to a request whose body nobody reads arrives,
// and the connection ends.
func TestS09UnreadBody(t *testing.T) {
	h := prepare(t, settings(1, web+ending), func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too much", http.StatusRequestEntityTooLarge)
	}).open()
	c := dial(t, h.Addrs()["web"])
	go func() {
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
		chunk := make([]byte, 64<<10)
		for {
			if _, err := c.Write(chunk); err != nil {
				return
			}
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 413 || !resp.Close {
		t.Fatalf("%v %v", resp, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("body: %v", err)
	}
}

// still is a ResponseWriter that does nothing.
type still struct{ h http.Header }

func (s *still) Header() http.Header              { return s.h }
func (s *still) Write(p []byte) (int, error)      { return len(p), nil }
func (s *still) WriteHeader(int)                  {}
func (s *still) SetWriteDeadline(time.Time) error { return nil }
func (s *still) SetReadDeadline(time.Time) error  { return nil }

// quiet is a server and a request without sockets.
func quiet(h http.HandlerFunc) (http.Handler, *http.Request) {
	s, f := atRest(h, usual("h1"))
	c := newConn(nil, f, gateway.ExchangeOf(httptest.NewRequest(http.MethodGet, "/", nil)).Client, place{})
	c.phase.Store(uint32(phaseBusy))
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	return s.handler(f), r.WithContext(withConn(r.Context(), c))
}

func TestHandlerAllocations(t *testing.T) {
	h, r := quiet(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(nil) })
	w := &still{h: make(http.Header)}
	// The entry, the id, the context with the exchange and the request that
	// carries it.
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 4 {
		t.Errorf("%v allocations a request, want 4 at most", n)
	}
}

func BenchmarkHandler(b *testing.B) {
	h, r := quiet(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(nil) })
	w := &still{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
