package http1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// inChunks is a body in chunks of a size.
func inChunks(body string, size int) string {
	var b strings.Builder
	for body != "" {
		n := min(size, len(body))
		b.WriteString(strconv.FormatInt(int64(n), 16) + "\r\n" + body[:n] + "\r\n")
		body = body[n:]
	}
	return b.String() + "0\r\n\r\n"
}

const (
	byLengthOf = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: "
	chunkedTo  = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// TestUnreadBodies: what a handler leaves of a body is passed over, if it is little;
// otherwise the connection ends, and the client knows.
func TestUnreadBodies(t *testing.T) {
	f := func(name string, size, read int, again, told bool) {
		t.Helper()
		body := strings.Repeat("GET /b HTTP/1.1\r\n", size/17+1)[:size]
		for kind, first := range map[string]string{"length": byLengthOf + strconv.Itoa(size) + "\r\n\r\n" + body, "chunks": chunkedTo + inChunks(body, 10000)} {
			t.Run(name+", "+kind, func(t *testing.T) {
				s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if n, err := io.ReadFull(r.Body, make([]byte, read)); n != read && r.URL.Path == "/body" {
						t.Errorf("read %d: %v", n, err)
					}
					_ = r.Body.Close()
					if n, err := r.Body.Read(make([]byte, 1)); n > 0 || err == nil {
						t.Errorf("a closed body is read: %d %v", n, err)
					}
					_, _ = io.WriteString(w, r.URL.Path)
				})}
				all := replies(t, play(t, s, first+farther, 5000).got.Bytes())
				if want := map[bool]int{true: 2, false: 1}[again]; len(all) != want || all[0].Text != "/body" {
					t.Fatalf("%d answers, want %d: %+v", len(all), want, all)
				}
				if all[0].Close != told && kind == "length" {
					t.Errorf("it says close: %t, want %t", all[0].Close, told)
				}
			})
		}
	}
	f("none of little", 100, 0, true, false)
	f("half of little", 100, 50, true, false)
	f("all but the end", 100, 100, true, false)
	f("none of 100 KiB", 100<<10, 0, true, false)
	f("some of 100 KiB", 100<<10, 20000, true, false)
	f("none of as much as is passed over", lingerBytes, 0, true, false)
	f("none of too much", lingerBytes+readSize+1, 0, false, true)
	f("some of too much", 1<<20, 20000, false, true)
	f("so much of too much that the rest is little", 1<<20, 1<<20-100, true, false)
}

// TestBrokenRequestBodies: behind a body that is none there is no request, and the client
// is told so if there is still time.
func TestBrokenRequestBodies(t *testing.T) {
	for _, body := range []string{"x\r\n", "3\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "\r\n", "0\r\nA b: c\r\n\r\n", "0\nA: b\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "0\r\nA: b\n\r\n", "0\r\nA: b\r\n\n", "ffffffffffffffff\r\n", strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200) + "0\r\n\r\n"} {
		for _, reads := range []bool{true, false} {
			var failed error
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/farther" {
					t.Errorf("%.30q has a request behind it", body)
				}
				if reads {
					_, failed = io.Copy(io.Discard, r.Body)
				}
				w.WriteHeader(http.StatusTeapot)
			})}
			all := replies(t, play(t, s, chunkedTo+body+farther, 0).got.Bytes())
			if len(all) != 1 || all[0].StatusCode != http.StatusTeapot || reads && !all[0].Close {
				t.Errorf("%.30q: %+v", body, all)
			}
			bad, ok := errors.AsType[*ClientError](failed)
			if reads && (!ok || bad.Status != 400 || bad.Reason != badFraming) {
				t.Errorf("%.30q: %v", body, failed)
			}
		}
	}
}

// TestTrailersOfRequests: they are there at the end, and names that were announced are
// there before.
func TestTrailersOfRequests(t *testing.T) {
	s := &Server{MaxHead: 1000, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := (http.Header{"A": nil, "B": nil}); !cmp.Equal(r.Trailer, want) {
			t.Errorf("before: %v", r.Trailer)
		}
		_, err := io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strconv.Itoa(len(r.Trailer))+r.Trailer.Get("A")+r.Trailer.Get("C"))
		if err != nil {
			_, _ = io.WriteString(w, err.Error())
		}
	})}
	say := strings.Replace(chunkedTo, "\r\n\r\n", "\r\nTrailer: a, b\r\n\r\n", 1) + "1\r\nx\r\n0\r\nA: 1\r\nC: 2\r\nTransfer-Encoding: x\r\n"
	for piece := range 30 {
		all := replies(t, play(t, s, say+"\r\n", piece).got.Bytes())
		if len(all) != 1 || all[0].Text != "312" {
			t.Fatalf("in pieces of %d: %+v", piece, all)
		}
	}
	all := replies(t, play(t, s, say+"D: "+strings.Repeat("d", 1000)+"\r\n\r\n", 0).got.Bytes())
	if len(all) != 1 || !strings.Contains(all[0].Text, "too large") || !all[0].Close {
		t.Errorf("trailers over the limit: %+v", all)
	}
}

// TestExpect has clients that wait for a word before they send their body.
func TestExpect(t *testing.T) {
	f := func(name, fields string, h http.HandlerFunc, continues, again bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Server{Handler: h}
				c, gone := pipe(t, s)
				in := bufio.NewReader(c)
				say(t, c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"+fields+"\r\n")
				first := listenTo(t, in, "POST")
				if (first.StatusCode == 100) != continues {
					t.Fatalf("got %d", first.StatusCode)
				}
				if continues {
					say(t, c, "hello")
					first = listenTo(t, in, "POST")
				}
				if first.StatusCode != 200 || first.Close == again {
					t.Errorf("got %+v", first)
				}
				if again {
					go func() { _, _ = io.WriteString(c, strings.Replace(hello, "GET", "HEAD", 1)) }()
					listenTo(t, in, "HEAD")
					return
				}
				begun := time.Now()
				if <-gone; time.Since(begun) > 0 {
					t.Errorf("it waited %v for what may never come", time.Since(begun))
				}
			})
		})
	}
	const expects = "Expect: 100-Continue\r\n"
	f("it is read", expects, echo, true, true)
	f("it is not read", expects, text("ok"), false, false)
	f("it is read too late", expects, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "ok")
		_ = http.NewResponseController(w).Flush()
		_ = r.Body.Close()
	}, false, false)
	f("the handler says it", expects, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 0 {
			w.WriteHeader(100)
		}
		_, _ = io.Copy(w, r.Body)
	}, true, true)
	f("somebody else reads it", expects, func(w http.ResponseWriter, r *http.Request) {
		done := make(chan error)
		go func() {
			_, err := io.Copy(io.Discard, r.Body)
			done <- err
		}()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, "ok")
	}, true, true)
}

// TestNothingToExpect: no word where none is awaited.
func TestNothingToExpect(t *testing.T) {
	for _, words := range []string{
		"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
	} {
		if all := replies(t, play(t, &Server{Handler: http.HandlerFunc(echo)}, words, 0).got.Bytes()); len(all) != 1 || all[0].StatusCode != 200 {
			t.Errorf("%q: %+v", words, all)
		}
	}
}

// TestTooLateToContinue: no word comes in the middle of an answer.
func TestTooLateToContinue(t *testing.T) {
	for _, flushed := range []bool{true, false} {
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "first ")
			if flushed {
				flush(w)
			}
			_, _ = io.Copy(w, r.Body)
		})}
		all := replies(t, play(t, s, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", 0).got.Bytes())
		if len(all) != 1 || all[0].Text != "first hello" || !all[0].Close {
			t.Errorf("got %+v", all)
		}
	}
}

// TestSlowRest: the rest of a body that nobody reads is not waited for much longer
// than its answer.
func TestSlowRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, gone := pipe(t, &Server{Handler: text("ok")})
		say(t, c, byLengthOf+"1000\r\n\r\nhello")
		in := bufio.NewReader(c)
		if r := listenTo(t, in, "POST"); r.Text != "ok" {
			t.Errorf("got %+v", r)
		}
		begun := time.Now()
		<-gone
		if d := time.Since(begun); d != lingerFor {
			t.Errorf("it waited for %v", d)
		}
	})
}

// TestLinger: a client that goes on sending what nobody wants still reads its answer.
func TestLinger(t *testing.T) {
	for name, first := range map[string]string{
		"a body that nobody reads": byLengthOf + "10000000\r\n\r\n",
		"no request":               "GET\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, gone := tcp(t, &Server{Handler: text("ok")})
			say(t, c, first+strings.Repeat("x", 100<<10))
			in := bufio.NewReader(c)
			r := listenTo(t, in, "POST")
			say(t, c, strings.Repeat("x", 100<<10))
			if rest, err := io.ReadAll(in); !r.Close || len(rest) > 0 || err != nil {
				t.Errorf("got %+v, %q behind it, then %v", r, rest, err)
			}
			_ = c.CloseWrite()
			<-gone
		})
	}
}
