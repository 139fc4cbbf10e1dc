package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
)

// TestMistakesOfOurs end one connection, not the process.
func TestMistakesOfOurs(t *testing.T) {
	var told any
	s := &Server{
		Handler:  text("hello"),
		Resting:  func(net.Conn) bool { panic("a mistake") },
		Panicked: func(r *http.Request, value any, _ []byte) { told = r.RemoteAddr + " " + value.(string) },
	}
	c := play(t, s, hello, 0)
	if all := replies(t, c.got.Bytes()); len(all) != 1 || told != "192.0.2.1:1234 a mistake" {
		t.Errorf("%d answers, told of %v", len(all), told)
	}
}

// TestHandlerThatEndsItsGoroutine, as a failing test does, must not leave the client
// waiting.
func TestHandlerThatEndsItsGoroutine(t *testing.T) {
	c, gone := tcp(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { runtime.Goexit() })})
	say(t, c, hello)
	if rest, _ := io.ReadAll(c); len(rest) > 0 {
		t.Errorf("it says %q", rest)
	}
	<-gone
}

// TestSwitchingWithoutTaking: after a 101 no request is read.
func TestSwitchingWithoutTaking(t *testing.T) {
	served := 0
	c := play(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served++
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "chat")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})}, hello+hello, 0)
	if served != 1 || !strings.HasPrefix(c.got.String(), "HTTP/1.1 101 ") {
		t.Errorf("%d requests, %q", served, c.got.String())
	}
}

// TestLastAnswerToAPipeline: a client that has sent more than is answered would lose
// the last answer to a reset (RFC 9112 section 9.6).
func TestLastAnswerToAPipeline(t *testing.T) {
	c, gone := tcp(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "last")
	})})
	// More than one read takes, less than lingering does.
	say(t, c, strings.Repeat("GET /"+strings.Repeat("a", 1000)+" HTTP/1.1\r\nHost: a\r\n\r\n", 100))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-gone
	in := bufio.NewReader(c)
	if got := listenTo(t, in, http.MethodGet); got.Text != "last" || !got.Close {
		t.Errorf("got %q, close %v", got.Text, got.Close)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

// TestHalfAPreface: HTTP/2 gets what begins like it as a whole; what only pretends to
// must not get another reader of requests.
func TestHalfAPreface(t *testing.T) {
	f := func(name, words string, taken bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{0, 1, 17, 18} {
				var read []byte
				s := &Server{Handler: text("hello"), HTTP2: func(c net.Conn, b []byte) {
					read = b
					_ = c.Close()
				}}
				c := play(t, s, words, piece)
				if got := read != nil; got != taken || taken && !strings.HasPrefix(words, string(read)) {
					t.Errorf("%d bytes at a time: taken with %q, want %v", piece, read, taken)
				}
				if !taken && !strings.HasPrefix(c.got.String(), "HTTP/1.1 400 ") {
					t.Errorf("%d bytes at a time: the answer is %q", piece, c.got.String())
				}
			}
		})
	}
	f("whole", preface+"frames", true)
	f("then a request", preface[:18]+"GET / HTTP/1.1\nHost: a\n\n", false)
	f("then the end", preface[:18], false)
	f("but for a letter", preface[:20]+"N\r\n\r\n", false)
}

// TestWaitingPreface: what may become a preface is waited for.
func TestWaitingPreface(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var read string
		c, gone := pipe(t, &Server{HTTP2: func(c net.Conn, b []byte) {
			read = string(b)
			_ = c.Close()
		}})
		say(t, c, preface[:19])
		synctest.Wait()
		say(t, c, preface[19:])
		<-gone
		if read != preface {
			t.Errorf("it got %q", read)
		}
	})
}
