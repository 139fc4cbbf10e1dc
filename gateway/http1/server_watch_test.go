package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: a client that leaves while its handler works ends the context of the
// request, whatever sort of body it had.
func TestWatch(t *testing.T) {
	for name, say1 := range map[string]string{
		"no body":    hello,
		"length":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"chunks":     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"a cut body": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var cause error
				c, gone := pipe(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					<-r.Context().Done()
					cause = r.Context().Err()
				})})
				say(t, c, say1)
				<-time.After(time.Second)
				_ = c.Close()
				<-gone
				if !errors.Is(cause, context.Canceled) {
					t.Errorf("the context ended with %v", cause)
				}
			})
		})
	}
}

// TestWatchKeepsBytes: what comes while a handler works is the next request, also
// when that has begun to come before.
func TestWatchKeepsBytes(t *testing.T) {
	for _, ahead := range []string{"", farther, farther + hello, farther[:1], farther[:20], farther + hello[:5]} {
		t.Run(ahead, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := farther + hello + farther
				c, _ := pipe(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					select {
					case <-r.Context().Done():
						t.Error("it takes the client for gone")
					case <-time.After(time.Second):
					}
					_, _ = io.WriteString(w, r.URL.Path)
				})})
				go func() { _, _ = io.WriteString(c, "GET /first HTTP/1.1\r\nHost: a\r\n\r\n"+ahead) }()
				synctest.Wait()
				<-time.After(500 * time.Millisecond) // somebody is looking by now
				go func() { _, _ = io.WriteString(c, all[len(ahead):]) }()
				in := bufio.NewReader(c)
				for _, want := range []string{"/first", "/farther", "/", "/farther"} {
					if got := listenTo(t, in, "GET").Text; got != want {
						t.Fatalf("the answer is to %q, want %q", got, want)
					}
				}
			})
		})
	}
}

// TestWatchAndPanics: the byte of the next request makes no difference to an end.
func TestWatchAndPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, gone := pipe(t, &Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			<-time.After(time.Second)
			panic(http.ErrAbortHandler)
		})})
		say(t, c, hello)
		<-time.After(100 * time.Millisecond)
		say(t, c, "G")
		<-gone
		if rest, _ := io.ReadAll(c); len(rest) > 0 {
			t.Errorf("it says %q", rest)
		}
	})
}

// TestContextEnds: with its request, and no sooner.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		var seen []context.Context
		s := &Server{
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if r.Context().Err() != nil || r.Context().Value(key{}) != "value" {
					t.Errorf("context %v", r.Context())
				}
				seen = append(seen, r.Context())
			}),
		}
		s.Context = func(c net.Conn) context.Context { return context.WithValue(t.Context(), key{}, "value") }
		c, _ := pipe(t, s)
		in := bufio.NewReader(c)
		for i := range 3 {
			say(t, c, hello)
			listenTo(t, in, "GET")
			synctest.Wait()
			if seen[i].Err() == nil {
				t.Error("the context lives on")
			}
		}
	})
}

// TestReadsAfterTheHandler: a body cannot be read when its handler has returned, and a
// read that is under way ends.
func TestReadsAfterTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		under, after := make(chan error, 1), make(chan error, 1)
		c, gone := pipe(t, &Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				_, err := io.Copy(io.Discard, r.Body)
				under <- err
				_, err = r.Body.Read(make([]byte, 1))
				after <- err
			}()
			<-time.After(time.Second)
		})})
		say(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello")
		_, _ = io.Copy(io.Discard, c)
		<-gone
		if err := <-under; err == nil {
			t.Error("the body came to an end")
		}
		if err := <-after; !errors.Is(err, http.ErrBodyReadAfterClose) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestTimeouts has how long a client may take for what, in seconds, with 3 for a head
// and 10 between requests.
func TestTimeouts(t *testing.T) {
	f := func(name string, open float64, words ...any) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{HeaderTimeout: 3 * time.Second, IdleTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					<-time.After(100 * time.Second) // a handler may take longer
					if _, err := io.Copy(w, r.Body); err != nil {
						t.Error(err)
					}
				})}
				c, gone := pipe(t, s)
				got := new(strings.Builder)
				go func() { _, _ = io.Copy(got, c) }()
				begun := time.Now()
				for _, word := range words {
					switch word := word.(type) {
					case float64:
						<-time.After(time.Duration(word * float64(time.Second)))
					case string:
						_, _ = io.WriteString(c, word)
					}
				}
				<-gone
				if d := time.Since(begun).Seconds(); d != open {
					t.Errorf("it was open for %g s, want %g", d, open)
				}
			})
		})
	}
	f("nothing comes", 3)
	f("half a head", 3, 2.0, hello[:5])
	f("a byte a second", 3, "G", 1.0, "E", 1.0, "T", 0.5, " ")
	f("an answer", 110, hello)
	f("half of another request", 103, hello, 50.0, "GE")
	f("half of another request, sent ahead", 103, hello+"GE")
	f("half of another request, later", 108, hello, 105.0, "GE", 1.0, "T")
	f("two requests", 215, hello, 105.0, hello)
	f("two requests in a piece", 210, hello+hello)
	f("a slow body", 150, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 140.0, "hello")
}

// TestNoTimeouts: without limits a connection waits for ever.
func TestNoTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipe(t, &Server{Handler: text("ok")})
		in := bufio.NewReader(c)
		for range 3 {
			for _, b := range []byte(hello) {
				<-time.After(24 * time.Hour)
				say(t, c, string(b))
			}
			if got := listenTo(t, in, "GET").Text; got != "ok" {
				t.Errorf("got %q", got)
			}
		}
	})
}

// TestResting: it is asked between requests, unless the next one is here already.
func TestResting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &Server{Handler: text("ok"), Resting: func(net.Conn) bool { asked++; return asked < 3 }}
		c, gone := pipe(t, s)
		in := bufio.NewReader(c)
		for range 3 {
			go func() { _, _ = io.WriteString(c, hello+hello) }()
			listenTo(t, in, "GET")
			listenTo(t, in, "GET")
		}
		<-gone
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestDeadlinesOfHandlers: those that a handler sets hold for its own request.
func TestDeadlinesOfHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pipe(t, &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rc := http.NewResponseController(w)
			if r.URL.Path == "/farther" {
				if err := errors.Join(rc.SetReadDeadline(time.Now().Add(time.Second)), rc.SetWriteDeadline(time.Now().Add(time.Second))); err != nil {
					t.Error(err)
				}
			}
			_, _ = io.WriteString(w, "ok")
		})})
		in := bufio.NewReader(c)
		for _, words := range []string{farther, hello, hello} {
			say(t, c, words)
			if got := listenTo(t, in, "GET").Text; got != "ok" {
				t.Errorf("got %q", got)
			}
			<-time.After(time.Minute)
		}
	})
}
