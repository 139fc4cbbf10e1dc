package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// dialTo makes connections in memory.
func dialTo(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			serve(server)
		}()
		return client, nil
	}
}

// listen makes a transport for a server on a real socket.
func listen(t testing.TB, serve func(c net.Conn)) (tr *Transport, req func() *http.Request) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	tr = &Transport{Dial: new(net.Dialer).DialContext, MaxIdlePerHost: 10}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = ln.Close()
		work.Wait()
	})
	return tr, func() *http.Request {
		r := request(t, http.MethodGet, "")
		r.URL.Host = ln.Addr().String()
		return r
	}
}

// A connection that has ended, or said something, while it rested is noticed before
// a request is lost on it, even one that could not be sent again.
func TestRestingConnections(t *testing.T) {
	for name, then := range map[string]string{"closed": "", "with an answer that nobody asked for": "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"} {
		t.Run(name, func(t *testing.T) {
			spoke := make(chan struct{}, 10)
			tr, req := listen(t, func(c net.Conn) {
				in := bufio.NewReader(c)
				heads(in)
				_, _ = io.WriteString(c, ok)
				_, _ = io.WriteString(c, then)
				if then == "" {
					_ = c.(*net.TCPConn).CloseWrite()
				}
				spoke <- struct{}{}
				_, _ = io.Copy(io.Discard, in)
			})
			for n := range 3 {
				r := req()
				r.Method = http.MethodPost
				if _, text, err := ask(t, tr, r); text != "ok" || err != nil {
					t.Fatalf("request %d: %q, %v", n, text, err)
				}
				<-spoke
			}
		})
	}
}

// RFC 9112 section 9.3.1: what may be repeated is, when a used connection ends
// without a word.
func TestAgain(t *testing.T) {
	f := func(name string, change func(*http.Request), again bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			tr, conns := serve(t, func(c net.Conn, r *http.Request) {
				if r.Header.Get("Second") != "" {
					_ = c.Close()
					return
				}
				says(ok)(c, r)
			})
			get(t, tr)
			calm := tr.Dial
			tr.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				*conns++
				return dialTo(func(c net.Conn) { heads(bufio.NewReader(c)); _, _ = io.WriteString(c, ok) })(ctx, network, addr)
			}
			defer func() { tr.Dial = calm }()
			r := request(t, http.MethodGet, "")
			r.Header.Set("Second", "1")
			change(r)
			_, text, err := ask(t, tr, r)
			if again != (err == nil && text == "ok" && *conns == 2) || !again && (!errors.Is(err, io.EOF) || *conns != 1) {
				t.Errorf("got %q, %v with %d connections, want again: %v", text, err, *conns, again)
			}
		})
	}
	f("GET", func(*http.Request) {}, true)
	f("POST", func(r *http.Request) { r.Method = http.MethodPost }, false)
	f("DELETE", func(r *http.Request) { r.Method = http.MethodDelete }, false)
	f("POST with a key", func(r *http.Request) { r.Method = http.MethodPost; r.Header.Set("Idempotency-Key", "1") }, true)
	f("GET with a body", func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }, false)
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, opened atomic.Int32
		tr := &Transport{IdleTimeout: 4 * time.Second, MaxIdlePerHost: 2}
		tr.Dial = dialTo(func(c net.Conn) {
			open.Add(1)
			opened.Add(1)
			for in := bufio.NewReader(c); heads(in) != ""; {
				_, _ = io.WriteString(c, ok)
			}
			open.Add(-1)
		})
		want := func(now, ever int32) {
			t.Helper()
			synctest.Wait()
			if open.Load() != now || opened.Load() != ever {
				t.Errorf("%d connections are open of %d, want %d of %d", open.Load(), opened.Load(), now, ever)
			}
		}
		get(t, tr)
		get(t, tr)
		want(1, 1)
		bodies := make([]io.Closer, 3)
		for i := range bodies { // at the same time
			resp, err := tr.RoundTrip(request(t, http.MethodGet, ""))
			if err != nil {
				t.Fatal(err)
			}
			bodies[i] = resp.Body
			defer func() { _, _ = io.Copy(io.Discard, resp.Body) }()
		}
		want(3, 3)
		for _, b := range bodies {
			_, _ = io.Copy(io.Discard, b.(io.Reader))
		}
		want(2, 3) // no more are kept
		wait(3 * time.Second)
		get(t, tr)
		wait(3 * time.Second)
		want(1, 3) // the other one is too old
		wait(2 * time.Second)
		want(0, 3)
		get(t, tr)
		tr.CloseIdleConnections()
		want(0, 4)
	})
}

// wait sleeps, in virtual time.
func wait(d time.Duration) { <-time.After(d) }

func TestDisableKeepAlives(t *testing.T) {
	tr, conns := serve(t, func(c net.Conn, r *http.Request) {
		if !r.Close {
			t.Error("the request does not say that it is the last one")
		}
		says(ok)(c, r)
	})
	tr.DisableKeepAlives = true
	get(t, tr)
	get(t, tr)
	if *conns != 2 {
		t.Errorf("%d connections, want 2", *conns)
	}
}

// Whoever waits is let go with the cause, and nothing is left behind.
func TestCancel(t *testing.T) {
	cause := errors.New("the client has left")
	f := func(name string, play func(c net.Conn, in *bufio.Reader), read bool, change func(*http.Request)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := raw(t, play)
				ctx, cancel := context.WithCancelCause(t.Context())
				r := request(t, http.MethodPost, "")
				if change != nil {
					change(r)
				}
				time.AfterFunc(time.Second, func() { cancel(cause) })
				resp, err := tr.RoundTrip(r.WithContext(ctx))
				if read {
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if !errors.Is(err, cause) {
					t.Errorf("got error %v, want the cause", err)
				}
				wait(5 * time.Second) // for the server
			})
		})
	}
	silent := func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }
	f("before the head", silent, false, nil)
	f("in the head", func(c net.Conn, in *bufio.Reader) {
		heads(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200")
		silent(c, in)
	}, false, nil)
	f("in the body", func(c net.Conn, in *bufio.Reader) {
		heads(in)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok")
		silent(c, in)
	}, true, nil)
	f("while the client is to send", silent, false, func(r *http.Request) {
		in, out := io.Pipe()
		go func() { _, _ = io.WriteString(out, "first") }()
		r.Body, r.ContentLength = in, 10
	})
	f("while the server takes nothing", func(net.Conn, *bufio.Reader) { wait(2 * time.Second) }, false, nil)
	t.Run("while it is dialled, which then serves the next request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr, dials := &Transport{MaxIdlePerHost: 1, IdleTimeout: time.Minute}, 0
			tr.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials++
				wait(2 * time.Second)
				return dialTo(func(c net.Conn) { heads(bufio.NewReader(c)); _, _ = io.WriteString(c, ok) })(ctx, network, addr)
			}
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
			defer cancel()
			if _, err := tr.RoundTrip(request(t, http.MethodGet, "").WithContext(ctx)); !errors.Is(err, cause) {
				t.Errorf("got error %v, want the cause", err)
			}
			wait(5 * time.Second)
			if get(t, tr); dials != 1 {
				t.Errorf("%d dials, want 1", dials)
			}
			tr.CloseIdleConnections()
		})
	})
}

func TestTrace(t *testing.T) {
	tr, _ := serve(t, says("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"+ok))
	var reused []bool
	var hints []string
	refusal := errors.New("no more")
	r := request(t, http.MethodGet, "")
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { reused = append(reused, i.Reused) },
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if hints = append(hints, h.Get("Link")); code != 103 || len(hints) == 3 {
				return refusal
			}
			return nil
		},
	}))
	for n := range 3 {
		if _, text, err := ask(t, tr, r); n < 2 && text != "ok" || n == 2 && !errors.Is(err, refusal) {
			t.Errorf("got %q, %v", text, err)
		}
	}
	if len(hints) != 3 || hints[0] != "a" || len(reused) != 3 || reused[0] || !reused[1] || !reused[2] {
		t.Errorf("hints %q, reused %v", hints, reused)
	}
}

func TestTunnel(t *testing.T) {
	tr, req := listen(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		heads(in)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello ")
		_, _ = io.Copy(c, in)
		_, _ = io.WriteString(c, "bye")
	})
	ctx, cancel := context.WithCancel(t.Context())
	r := req().WithContext(ctx)
	r.Header.Set("Upgrade", "echo")
	resp, err := tr.RoundTrip(r)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("got %+v, %v", resp, err)
	}
	cancel() // which ends requests, and this is none any more
	conn := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	defer conn.Close()
	if _, err := io.WriteString(conn, "ping "); err != nil {
		t.Error(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Error(err)
	}
	if all, err := io.ReadAll(conn); string(all) != "hello ping bye" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
}

// They are: the answer with its response; the watch of the context and what ends it;
// the text of the head, the table of fields, its groups and their values; the target
// of the request.
func TestAllocs(t *testing.T) {
	tr, req := listen(t, func(c net.Conn) {
		in, out := make([]byte, 1024), []byte(ok)
		for {
			if _, err := c.Read(in); err != nil {
				return
			}
			_, _ = c.Write(out)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, buf := req().WithContext(ctx), make([]byte, 64)
	if got := testing.AllocsPerRun(100, func() {
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
	}); got > 8 && !raceEnabled {
		t.Errorf("%v allocations, want at most 8", got)
	}
}

// BenchmarkRoundTrip compares the engine with net/http's transport.
func BenchmarkRoundTrip(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer s.Close()
	ours := &Transport{Dial: new(net.Dialer).DialContext, MaxIdlePerHost: 10}
	defer ours.CloseIdleConnections()
	theirs := &http.Transport{DisableCompression: true}
	defer theirs.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"http1": ours, "net-http": theirs} {
		b.Run(name, func(b *testing.B) {
			r := request(b, http.MethodGet, "")
			r.URL.Host = s.Listener.Addr().String()
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ask(b, rt, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
