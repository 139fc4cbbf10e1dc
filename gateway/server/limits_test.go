package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
)

// usual are the default limits of a listener.
func usual(protocols ...string) *config.Listener {
	return &config.Listener{
		Protocols: protocols,
		Limits:    config.Limits{HeaderBytes: 16 << 10, Streams: 100},
		Timeouts: config.Timeouts{
			Header: 10 * time.Second, BodyIdle: 30 * time.Second, BodyRate: 500,
			WriteIdle: 60 * time.Second, Idle: 75 * time.Second,
		},
	}
}

// line is a front with a handler of the whole server, reached through pipes in
// the time of a synctest bubble.
type line struct {
	t *testing.T
	f *front
}

// atRest is a server that was not started, with a generation and a front.
func atRest(h http.HandlerFunc, l *config.Listener) (*Server, *front) {
	s := New(Options{Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.DiscardHandler)})
	g := &generation{snap: &fakeSnapshot{Handler: h}, config: &config.Config{}}
	g.count(s.metrics, nil)
	s.current.Store(g)
	f := newFront("web", l, &net.TCPAddr{}, s.metrics.Listener("web"), newCaps(s.budget), s.log)
	s.attach(f)
	return s, f
}

func inBubble(t *testing.T, l *config.Listener, h http.HandlerFunc, use func(l *line)) {
	synctest.Test(t, func(t *testing.T) {
		_, f := atRest(h, l)
		if l.TLS != nil {
			f.tls = listenerTLS(func() (*tls.Config, error) { return nil, nil })
		}
		var served sync.WaitGroup
		served.Go(f.run)
		use(&line{t, f})
		f.retire(t.Context(), 0)
		served.Wait()
		pass(3 * time.Hour) // slow clients notice that they are alone
	})
}

// open connects. The client's end is closed when the test ends, at the latest.
func (l *line) open() net.Conn {
	client, server := net.Pipe()
	if !l.f.offer(newConn(server, l.f, netip.MustParseAddr("192.0.2.1"), place{})) {
		l.t.Fatal("the front takes no connections")
	}
	return client
}

// closedAfter reads to the end of c and returns how long that took, and what came.
func closedAfter(c net.Conn) (time.Duration, string) {
	begin := time.Now()
	text, _ := io.ReadAll(c)
	return time.Since(begin), string(text)
}

// drip sends text piece by piece until it is gone or the other side is.
func drip(c net.Conn, text string, pause time.Duration) {
	for _, b := range []byte(text) {
		<-time.After(pause)
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
	}
}

func TestS01Slowloris(t *testing.T) {
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		c := l.open()
		go drip(c, "GET / HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("a", 99), 5*time.Second)
		if took, _ := closedAfter(c); took > 15*time.Second { // 10 s from the first byte
			t.Errorf("closed after %s", took)
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		c := l.open()
		if body, err := roundTrip(c); err != nil || body != "hello" {
			t.Fatalf("%q %v", body, err)
		}
		_ = c.SetDeadline(time.Time{})
		if took, _ := closedAfter(c); took != 75*time.Second {
			t.Errorf("closed after %s, want 75s", took)
		}
	})
}

func TestS04StalledHandshake(t *testing.T) {
	tlsListener := usual("h1", "h2")
	tlsListener.TLS = &config.TLS{}
	inBubble(t, tlsListener, say("hello"), func(l *line) {
		silent := l.open()
		if took, _ := closedAfter(silent); took > 10*time.Second {
			t.Errorf("a silent one was closed after %s", took)
		}
		slow := l.open()
		go drip(slow, "\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x01\x00", 4*time.Second)
		if took, _ := closedAfter(slow); took > 10*time.Second {
			t.Errorf("one with tiny records was closed after %s", took)
		}
	})
}

// read408 reads the body and answers 408 if the client was too slow, as the
// proxy core does.
func read408(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		gateway.Fail(w, r, &gateway.Error{Status: 408, Reason: "body_timeout", Cause: gateway.CauseClient, Err: err, Close: true})
		return
	}
	_, _ = io.WriteString(w, "hello")
}

func TestS02SlowBody(t *testing.T) {
	f := func(name string, size int, pause, earliest, latest time.Duration) {
		t.Run(name, func(t *testing.T) {
			inBubble(t, usual("h1"), read408, func(l *line) {
				c := l.open()
				go func() {
					_, _ = fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("a", size))
					drip(c, strings.Repeat("a", 100_000), pause)
				}()
				took, text := closedAfter(c)
				if !strings.HasPrefix(text, "HTTP/1.1 408 ") || took < earliest || took > latest {
					t.Errorf("after %s: %q", took, text)
				}
			})
		})
	}
	f("a byte in 20 s", 0, 20*time.Second, 10*time.Second, 11*time.Second)
	f("100 bytes a second", 0, 10*time.Millisecond, 10*time.Second, 60*time.Second)
	f("a good start, then a long pause", 900_000, time.Hour, 30*time.Second, 31*time.Second)
}

func TestS02SlowBodyHTTP2(t *testing.T) {
	inBubble(t, usual("h2c"), read408, func(l *line) {
		c := l.h2c()
		body, feed := io.Pipe()
		go func() {
			<-time.After(time.Hour)
			_ = feed.Close()
		}()
		req, _ := http.NewRequest(http.MethodPost, "http://a/", body)
		begin := time.Now()
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if took := time.Since(begin); resp.StatusCode != 408 || took > 11*time.Second {
			t.Errorf("%d after %s", resp.StatusCode, took)
		}
		_ = feed.Close()
		c.CloseIdleConnections()
	})
}

// h2c is a client with prior knowledge of HTTP/2.
func (l *line) h2c() *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:   p,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return l.open(), nil },
	}}
}

// TestSlowUpstreamHarmsNobody: an upstream that takes the body slowly, or thinks
// for long when it has it, is no reason to end the request. A read deadline on
// the connection would end it: net/http goes on reading after the body, and
// cancels the request when that read fails.
func TestSlowUpstreamHarmsNobody(t *testing.T) {
	think := func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 1)
		for {
			if _, err := r.Body.Read(buf); err != nil {
				if err != io.EOF {
					panic(err)
				}
				break
			}
			<-time.After(25 * time.Second)
		}
		select {
		case <-time.After(time.Hour):
			_, _ = io.WriteString(w, "hello")
		case <-r.Context().Done():
			panic("the request was cancelled")
		}
	}
	t.Run("HTTP/1", func(t *testing.T) {
		inBubble(t, usual("h1"), think, func(l *line) {
			c := l.open()
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			_ = c.Close()
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		inBubble(t, usual("h2c"), think, func(l *line) {
			c := l.h2c()
			resp, err := c.Post("http://a/", "text/plain", strings.NewReader("hello"))
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v %v", resp, err)
			}
			_ = resp.Body.Close()
			c.CloseIdleConnections()
		})
	})
}

func TestS03SlowReader(t *testing.T) {
	var took atomic.Int64
	pour := func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		chunk := make([]byte, 32<<10)
		for range 3200 { // 100 MiB
			if _, err := w.Write(chunk); err != nil {
				took.Store(int64(time.Since(begin)))
				return
			}
		}
	}
	check := func(t *testing.T) {
		t.Helper()
		pass(2 * time.Minute)
		if d := time.Duration(took.Swap(0)); d < 52*time.Second || d > 61*time.Second {
			t.Errorf("the stream was freed after %s, want about 60s", d)
		}
	}
	t.Run("HTTP/1", func(t *testing.T) {
		inBubble(t, usual("h1"), pour, func(l *line) {
			c := l.open()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			_, _ = io.ReadFull(c, make([]byte, 1000))
			check(t)
			_ = c.Close()
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		inBubble(t, usual("h2c"), pour, func(l *line) {
			c := l.h2c()
			resp, err := c.Get("http://a/")
			if err != nil {
				t.Fatal(err)
			}
			check(t)
			_ = resp.Body.Close()
			c.CloseIdleConnections()
		})
	})
	t.Run("what net/http writes after the handler", func(t *testing.T) {
		inBubble(t, usual("h1"), say("hello"), func(l *line) {
			c := l.open()
			go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
			pass(61 * time.Second) // the answer waits in the pipe
			if _, text := closedAfter(c); text != "" {
				t.Errorf("%q", text)
			}
		})
	})
}

// TestHalfAHeadDoesNotHoldUpTheDrain: two bytes of a head are enough to look
// like a request, and net/http waits 75 s for the rest.
func TestHalfAHeadDoesNotHoldUpTheDrain(t *testing.T) {
	inBubble(t, usual("h1", "h2c"), say("hello"), func(l *line) {
		half := l.open()
		if body, err := roundTrip(half); err != nil || body != "hello" {
			t.Fatalf("%q %v", body, err)
		}
		_ = half.SetDeadline(time.Time{})
		_, _ = io.WriteString(half, "\r\n")
		h2 := l.h2c()
		if _, _, err := fetch(h2, "http://a/"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		l.f.retire(l.t.Context(), time.Second)
		if took := time.Since(begin); took > 13*time.Second {
			t.Errorf("retired after %s", took)
		}
	})
}

// TestAnswerDuringTheLameDuck: the client is told that it is the last one.
func TestAnswerDuringTheLameDuck(t *testing.T) {
	inBubble(t, usual("h1"), say("hello"), func(l *line) {
		c := l.open()
		if _, err := roundTrip(c); err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Time{})
		var retired sync.WaitGroup
		retired.Go(func() { l.f.retire(l.t.Context(), time.Minute) })
		pass(30 * time.Second)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || !resp.Close {
			t.Errorf("%v %v", resp, err)
		}
		begin := time.Now()
		retired.Wait()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("retired %s after the last connection had ended", took)
		}
	})
}
