package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHijack: a handler that takes the connection gets all that has come behind its
// request, and whatever comes later.
func TestHijack(t *testing.T) {
	f := func(name, first, early, head string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var taken net.Conn
				s := &Server{Hijacked: func(c net.Conn) { taken = c }}
				s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-time.After(time.Second) // somebody watches by now, and has read a byte
					if head != "" {
						w.WriteHeader(http.StatusOK)
					}
					nc, rw, err := http.NewResponseController(w).Hijack()
					if err != nil || nc != taken {
						t.Fatal(err)
					}
					if _, err := r.Body.Read(make([]byte, 1)); err == nil {
						t.Error("the body can still be read")
					}
					checkTaken(t, w)
					if rw.Reader.Buffered() < min(len(early), 1) {
						t.Errorf("%d bytes are ahead of %q", rw.Reader.Buffered(), early)
					}
					go func() { // for longer than the handler
						defer nc.Close()
						<-time.After(time.Hour)
						_, _ = io.CopyN(rw.Writer, rw.Reader, int64(len(early+"later.")))
						_ = rw.Flush()
					}()
				})
				c, gone := pipe(t, s)
				go func() { _, _ = io.WriteString(c, first+early+"later.") }()
				in := bufio.NewReader(c)
				if head != "" {
					if line, err := in.ReadString('\n'); err != nil || line != head {
						t.Errorf("%q, %v", line, err)
					}
					for line := ""; line != "\r\n"; {
						line, _ = in.ReadString('\n')
					}
				}
				<-gone
				got := make([]byte, len(early+"later."))
				if _, err := io.ReadFull(in, got); err != nil || string(got) != early+"later." {
					t.Errorf("%q, %v", got, err)
				}
				_ = c.Close()
			})
		})
	}
	f("nothing ahead", hello, "", "")
	f("bytes ahead", hello, "early ", "")
	f("many bytes ahead", hello, strings.Repeat("early ", 1000), "")
	f("behind a head", hello, "early ", "HTTP/1.1 200 OK\r\n")
	f("behind a body", byLengthOf+"5\r\n\r\n", "hello", "")
	f("another request ahead", hello, farther, "")
}

// checkTaken says of a writer whose connection was taken that it does nothing.
func checkTaken(t *testing.T, w http.ResponseWriter) {
	t.Helper()
	w.WriteHeader(500)
	n, err := io.WriteString(w, "no")
	_, _, again := http.NewResponseController(w).Hijack()
	flushed := http.NewResponseController(w).Flush()
	if n > 0 || !errors.Is(err, http.ErrHijacked) || !errors.Is(again, http.ErrHijacked) || !errors.Is(flushed, http.ErrHijacked) {
		t.Errorf("%d %v, %v, %v", n, err, again, flushed)
	}
}

// TestHijackWhileSomebodyReads: a read of the body that is under way ends, and the
// deadline that ended it is gone.
func TestHijackWhileSomebodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			read := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, r.Body)
				read <- err
			}()
			<-time.After(time.Second)
			nc, rw, err := http.NewResponseController(w).Hijack()
			if err != nil || <-read == nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if line, err := rw.ReadString('.'); line != "later." || err != nil {
				t.Errorf("%q, %v", line, err)
			}
		})}
		c, gone := pipe(t, s)
		say(t, c, byLengthOf+"100\r\n\r\nhello")
		<-time.After(time.Minute)
		say(t, c, "later.")
		<-gone
	})
}

// TestPanicAfterHijack: it is told, and the connection is left to who has it.
func TestPanicAfterHijack(t *testing.T) {
	var told any
	var nc net.Conn
	s := &Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, _, _ = http.NewResponseController(w).Hijack()
			panic("help")
		}),
		Panicked: func(_ *http.Request, value any, _ []byte) { told = value },
	}
	c, gone := tcp(t, s)
	say(t, c, hello)
	<-gone
	if told != "help" {
		t.Errorf("told %v", told)
	}
	say(t, nc, "still there")
	_ = nc.Close()
	if got, err := io.ReadAll(c); string(got) != "still there" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestHijackOfTheDead: a connection that cannot take the head is not given away.
func TestHijackOfTheDead(t *testing.T) {
	c := &script{rest: []byte(hello)}
	s := &Server{Hijacked: func(net.Conn) { t.Error("taken") }, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = c.Close()
		w.WriteHeader(200)
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it says %v", err)
		}
	})}
	s.Serve(c)
}
