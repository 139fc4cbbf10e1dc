package server

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/overload"
	"github.com/pithead/pithead/gateway/splice"
)

// counted is a snapshot that counts what goes through pipes.
type counted struct {
	snapshot

	piped atomic.Int64
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.snapshot.ServeHTTP(countedWriter{w, c}, r)
}

type countedWriter struct {
	http.ResponseWriter
	c *counted
}

func (w countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w countedWriter) TakesPipe(n int64) bool { return w.ResponseWriter.(splice.Sink).TakesPipe(n) }

func (w countedWriter) WritePipe(p *splice.Pipe) (int, error) {
	n, err := w.ResponseWriter.(splice.Sink).WritePipe(p)
	w.c.piped.Add(int64(n))
	return n, err
}

// large is an upstream of answers that are long enough to be piped.
func large(size int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.Method == http.MethodHead {
			return
		}
		b := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		n := size
		if cut := r.URL.Query().Get("cut"); cut != "" {
			n, _ = strconv.Atoi(cut)
		}
		_, _ = w.Write(b[:n])
	}
}

// openCounted is a house in front of an upstream of large answers.
func openCounted(t *testing.T, size int, route string) (*house, *counted) {
	origin := httptest.NewServer(large(size))
	t.Cleanup(origin.Close)
	h := prepare(t, fmt.Sprintf("access_log: {output: \"off\"}\nreload: {watch: false}\n"+
		"upstreams: {u: {discover: {static: {targets: [%q]}}}}\nroutes: [{name: r, match: {prefix: /}, to: u%s}]\n",
		origin.Listener.Addr(), route)+web+ending, nil)
	c := new(counted)
	h.compile = func(conf *config.Config) (snapshot, error) {
		snap, err := h.compileWhole(conf)
		c.snapshot = snap
		return c, err
	}
	return h.open(), c
}

func TestLargeAnswersArePiped(t *testing.T) {
	const size = 3<<20 + 5
	sum := sha256.Sum256(bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size])
	f := func(name, proto, route string, requests int, piped bool) {
		t.Run(name, func(t *testing.T) {
			h, c := openCounted(t, size, route)
			conn := dial(t, h.Addrs()["web"])
			_ = conn.SetDeadline(time.Now().Add(patience))
			in, whole := bufio.NewReader(conn), 0
			for i := range requests {
				method := []string{http.MethodGet, http.MethodHead}[i%2]
				_, _ = fmt.Fprintf(conn, "%s / %s\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", method, proto)
				resp, err := http.ReadResponse(in, &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				got := sha256.New()
				n, err := io.Copy(got, resp.Body)
				if err != nil || method == http.MethodGet && (n != size || [32]byte(got.Sum(nil)) != sum) {
					t.Fatalf("request %d: %d bytes, %v", i, n, err)
				}
				whole += int(n)
			}
			if n := c.piped.Load(); (n > 0) != piped {
				t.Errorf("%d bytes were piped", n)
			}
			h.wantSoon(`pithead_response_body_bytes_total{route="r"} ` + strconv.FormatFloat(float64(whole), 'g', -1, 64))
		})
	}
	f("one after the other", "HTTP/1.1", "", 5, true)
	f("HTTP/1.0", "HTTP/1.0", "", 3, true)
	f("middlewares that change heads", "HTTP/1.1", ", use: [{headers: {response: {set: {X-A: b}}}}, {rate_limit: {rate: 100/s}}, {canary: {header: x-canary, arms: {stable: {to: u}, canary: {to: u}}, split: {stable: 95, canary: 5}}}]", 3, true)
	f("one that changes bodies", "HTTP/1.1", ", use: [{compress: {}}]", 3, false)
}

func TestLargeAnswersThatBreak(t *testing.T) {
	const size = 8 << 20
	h, c := openCounted(t, size, "")
	for range 3 {
		resp, err := http.Get("http://" + h.addr() + "/?cut=" + strconv.Itoa(size-1))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n != size-1 || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d, %v", n, size, err)
		}
	}
	if c.piped.Load() == 0 {
		t.Error("nothing was piped")
	}
	h.wantSoon(`pithead_request_errors_total{cause="upstream",reason="upstream_truncated",route="r"} 3`)

	conn := dial(t, h.Addrs()["web"])
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
	h.wantSoon(`pithead_request_errors_total{cause="client",reason="client_closed",route="r"} 1`)
}

// scripted is net/http's writer at the end of its connection's patience.
type scripted struct {
	http.ResponseWriter
	moves     []int
	deadlines int
}

func (s *scripted) ReadFrom(io.Reader) (int64, error) {
	n := s.moves[0]
	if s.moves = s.moves[1:]; len(s.moves) == 0 {
		return int64(n), nil
	}
	return int64(n), os.ErrDeadlineExceeded
}

func (s *scripted) SetWriteDeadline(time.Time) error { s.deadlines++; return nil }

// write_idle is how long a client may take nothing, however much a pipe holds.
func TestWritePipeGoesOnWithProgress(t *testing.T) {
	f := func(name string, want int, cut bool, moves ...int) {
		t.Run(name, func(t *testing.T) {
			under := &scripted{moves: moves}
			w := &response{ResponseWriter: under, x: &gateway.Exchange{}, http1: true, timed: true, idle: time.Second, pressure: new(overload.Manager)}
			n, err := w.WritePipe(nil)
			if n != want || w.bytes != int64(want) || errors.Is(err, os.ErrDeadlineExceeded) != cut {
				t.Errorf("%d bytes, %v", n, err)
			}
			if under.deadlines != len(moves)-len(under.moves) {
				t.Errorf("the deadline was set %d times", under.deadlines)
			}
		})
	}
	f("at once", 9, false, 9)
	f("slowly", 10, false, 3, 3, 4)
	f("then nothing more", 6, true, 3, 3, 0, 5)
}

func TestTakesPipe(t *testing.T) {
	f := func(name string, want bool, change func(w *response)) {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			nc, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Length", strconv.Itoa(pipeAfter+1000))
			w := &response{
				ResponseWriter: &scripted{ResponseWriter: rec}, http1: true, bytes: pipeAfter,
				conn: &conn{Conn: nc, front: &front{listener: config.Listener{}}},
			}
			change(w)
			if got := w.TakesPipe(1000); got != want {
				t.Errorf("got %v", got)
			}
		})
	}
	f("it does", true, func(*response) {})
	f("HTTP/2", false, func(w *response) { w.http1 = false })
	f("the head may not have left", false, func(w *response) { w.bytes-- })
	f("another length was promised", false, func(w *response) { w.Header().Set("Content-Length", "1") })
	f("no length was promised", false, func(w *response) { w.Header().Del("Content-Length") })
	f("TLS", false, func(w *response) { w.conn.front.listener.TLS = &config.TLS{} })
	f("no socket", false, func(w *response) { near, _ := net.Pipe(); w.conn.Conn = near })
	f("not net/http's", false, func(w *response) { w.ResponseWriter = httptest.NewRecorder() })
}
