package http1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadlineIsNoFarewell: a handler that bounds the reads of its body has not lost
// its client when that time is over, and the connection serves the next request.
func TestDeadlineIsNoFarewell(t *testing.T) {
	const small = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	f := func(name, first string, handler func(control *http.ResponseController, r *http.Request)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := pipe(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path != "/farther" {
						handler(http.NewResponseController(w), r)
						<-time.After(time.Minute)
					}
					if err := r.Context().Err(); err != nil {
						t.Errorf("the context of %s ended: %v", r.URL.Path, err)
					}
					_, _ = io.WriteString(w, r.URL.Path)
				})})
				in := bufio.NewReader(c)
				for _, words := range []string{first, farther} {
					say(t, c, words)
					listenTo(t, in, http.MethodGet)
				}
			})
		})
	}
	f("for a body", small, func(control *http.ResponseController, r *http.Request) {
		_ = control.SetReadDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.Copy(io.Discard, r.Body)
	})
	f("over before the watch", small, func(control *http.ResponseController, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = control.SetReadDeadline(time.Unix(1, 0))
	})
	f("over during the watch", hello, func(control *http.ResponseController, _ *http.Request) {
		<-time.After(time.Second)
		_ = control.SetReadDeadline(time.Unix(1, 0))
	})
}

// TestLeavingAfterADeadline: the deadline for a body does not end the watch over the
// client that comes after it.
func TestLeavingAfterADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		c, gone := pipe(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
			_, _ = io.Copy(io.Discard, r.Body)
			begun := time.Now()
			<-r.Context().Done()
			took = time.Since(begun)
		})})
		say(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		<-time.After(time.Minute)
		_ = c.Close()
		<-gone
		if took != time.Minute {
			t.Errorf("the client left after a minute, which was noticed after %v", took)
		}
	})
}

// TestContextEndsBeforeLingering: what a handler has left behind is not kept alive
// while the connection waits for the rest of a body that nobody wants.
func TestContextEndsBeforeLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Time, 1)
		begun := time.Now()
		c, gone := pipe(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				<-r.Context().Done()
				ended <- time.Now()
			}()
		})})
		say(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
		listenTo(t, bufio.NewReader(c), http.MethodPost)
		<-gone
		if took := (<-ended).Sub(begun); took != 0 {
			t.Errorf("the context ended after %v", took)
		}
	})
}

// TestLocalAddress: who tells an upstream where the client has connected to finds it
// where net/http has it.
func TestLocalAddress(t *testing.T) {
	var seen net.Addr
	c, _ := tcp(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen, _ = r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	})})
	say(t, c, hello)
	listenTo(t, bufio.NewReader(c), http.MethodGet)
	if seen == nil || seen.String() != c.RemoteAddr().String() {
		t.Errorf("got %v, want %v", seen, c.RemoteAddr())
	}
}
