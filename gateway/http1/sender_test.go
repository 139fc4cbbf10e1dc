package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// observed is a body that remembers that it was closed.
type observed struct {
	io.Reader
	closed atomic.Bool
}

func (b *observed) Close() error {
	b.closed.Store(true)
	return nil
}

// raw makes a transport whose one connection in memory is served byte by byte.
func raw(t *testing.T, play func(c net.Conn, in *bufio.Reader)) *Transport {
	t.Helper()
	tr, _ := serve(t, nil)
	tr.Dial = dialTo(func(c net.Conn) { play(c, bufio.NewReader(c)) })
	return tr
}

// heads takes the head of a request.
func heads(in *bufio.Reader) string {
	var all strings.Builder
	for {
		line, err := in.ReadString('\n')
		all.WriteString(line)
		if err != nil || line == "\r\n" {
			return all.String()
		}
	}
}

// An answer may come before the end of the request, which then ends with it.
func TestEarlyAnswer(t *testing.T) {
	for _, length := range []int64{-1, 10} {
		synctest.Test(t, func(t *testing.T) {
			tr := raw(t, func(c net.Conn, in *bufio.Reader) {
				heads(in)
				_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
				_, _ = io.Copy(io.Discard, in)
			})
			body, more := io.Pipe()
			r := request(t, http.MethodPost, "x")
			r.Body, r.ContentLength = body, length
			go func() { _, _ = io.WriteString(more, "first") }()
			resp, text, err := ask(t, tr, r)
			if err != nil || resp.StatusCode != 413 || text != "no" {
				t.Fatalf("got %+v, %q, %v", resp, text, err)
			}
			if _, err := io.WriteString(more, "second"); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the body is still read: %v", err)
			}
		})
	}
}

// A body that fails, or is not as long as it should be, makes no whole request.
func TestBrokenBodies(t *testing.T) {
	failed := errors.New("the client has left")
	f := func(name string, length int64, in io.Reader, want error) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var got string
			over := make(chan struct{})
			tr := raw(t, func(_ net.Conn, in *bufio.Reader) {
				defer close(over)
				heads(in)
				rest, _ := io.ReadAll(in)
				got = string(rest)
			})
			r := request(t, http.MethodPost, "x")
			body := &observed{Reader: in}
			r.Body, r.ContentLength = body, length
			if _, err := tr.RoundTrip(r); !errors.Is(err, want) {
				t.Errorf("got error %v, want %v", err, want)
			}
			if <-over; strings.HasSuffix(got, "0\r\n\r\n") || length >= 0 && int64(len(got)) >= length {
				t.Errorf("the server got %q of %d bytes", got, length)
			}
			if !body.closed.Load() {
				t.Error("the body is open")
			}
		})
	}
	broken := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text), &failing{failed}) }
	f("with a length", 10, broken("12345"), failed)
	f("in chunks", -1, broken("12345"), failed)
	f("that is checked at its end", 5, broken("12345"), failed)
	f("too short", 10, strings.NewReader("12345"), errShort)
	f("too long", 3, strings.NewReader("12345"), errLong)
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// RFC 9110 section 10.1.1.
func TestExpectation(t *testing.T) {
	f := func(name, word string, sent bool, status int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := raw(t, func(c net.Conn, in *bufio.Reader) {
					heads(in)
					synctest.Wait()
					if in.Buffered() > 0 {
						t.Error("the body did not wait")
					}
					_, _ = io.WriteString(c, word)
					if sent {
						_, _ = io.ReadFull(in, make([]byte, 4))
						_, _ = io.WriteString(c, ok)
					}
					if n, _ := io.Copy(io.Discard, in); n > 0 {
						t.Errorf("%d bytes more", n)
					}
				})
				start := time.Now()
				r := request(t, http.MethodPost, "body")
				r.Header.Set("Expect", "100-continue")
				resp, _, err := ask(t, tr, r)
				if err != nil || resp.StatusCode != status {
					t.Fatalf("got %+v, %v", resp, err)
				}
				if waited := time.Since(start); waited > 0 != (word == "") {
					t.Errorf("took %v", waited)
				}
				tr.CloseIdleConnections()
			})
		})
	}
	f("welcome", "HTTP/1.1 100 Continue\r\n\r\n", true, 200)
	f("unwelcome", "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", false, 417)
	f("silence", "", true, 200)
}

// A connection whose request has no end is not used again; one whose request ends a
// moment after the answer is.
func TestReuseAfterABody(t *testing.T) {
	tr, conns := serve(t, says(ok))
	for _, length := range []int64{4, -1} {
		for range 3 {
			r := request(t, http.MethodPost, "body")
			r.ContentLength = length
			if _, text, err := ask(t, tr, r); text != "ok" || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
		}
	}
	if *conns != 1 {
		t.Errorf("%d connections, want 1", *conns)
	}
}
