package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnswerSizes: bodies and pieces of all sizes around those of the buffer come as
// they were written, whatever says where they end, and another answer behind them.
func TestAnswerSizes(t *testing.T) {
	sizes := []int{0, 1, 15, 16, 17, 255, 256, writeSize - 300, writeSize - 200, writeSize - 100, 4*writeSize + 3, 200_000}
	for d := range 12 {
		sizes = append(sizes, writeSize-8+d)
	}
	for _, size := range sizes {
		body := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, piece := range []int{1000, writeSize - 2, writeSize, 100_000} {
			for _, mode := range []string{"plain", "length", "flush", "read"} {
				for _, large := range []int{0, writeSize / 2, 20_000} {
					s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("X-Large", strings.Repeat("x", large))
						writeIn(t, w, body, piece, mode)
					})}
					all := replies(t, play(t, s, hello+hello, 0).got.Bytes())
					if len(all) != 2 || all[0].Text != string(body) || all[1].Text != string(body) || len(all[1].Header.Get("X-Large")) != large {
						t.Fatalf("%d bytes in pieces of %d, %s, head of %d: %d answers", size, piece, mode, large, len(all))
					}
				}
			}
		}
	}
}

func writeIn(t *testing.T, w http.ResponseWriter, body []byte, piece int, mode string) {
	if mode == "length" {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if mode == "read" {
		if n, err := w.(io.ReaderFrom).ReadFrom(bytes.NewReader(body)); n != int64(len(body)) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		return
	}
	for len(body) > 0 {
		n, err := w.Write(body[:min(piece, len(body))])
		if n != min(piece, len(body)) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		body = body[n:]
		if mode == "flush" {
			w.(http.Flusher).Flush()
		}
	}
}

// TestWrites: an answer that fits leaves with one write, and a chunk with one.
func TestWrites(t *testing.T) {
	f := func(name string, h http.HandlerFunc, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			if c := play(t, &Server{Handler: h}, hello, 0); c.writes != want {
				t.Errorf("%d writes, want %d", c.writes, want)
			}
		})
	}
	flush := func(w http.ResponseWriter) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}
	f("nothing", text(""), 1)
	f("a little", text("ok"), 1)
	f("10 KiB", text(strings.Repeat("x", 10<<10)), 1)
	f("10 KiB in pieces", func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			_, _ = io.WriteString(w, strings.Repeat("x", 100))
		}
	}, 1)
	f("a megabyte of known length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 1e6))
	}, 2)
	f("two chunks", func(w http.ResponseWriter, _ *http.Request) {
		for range 2 {
			_, _ = io.WriteString(w, "ok")
			flush(w)
		}
	}, 3)
	f("a head ahead", func(w http.ResponseWriter, _ *http.Request) {
		flush(w)
		flush(w)
		_, _ = io.WriteString(w, "ok")
	}, 3)
}

// TestAnswerHeads has what is in the heads of answers, as it stands there.
func TestAnswerHeads(t *testing.T) {
	f := func(name, method string, h func(http.ResponseWriter, http.Header), want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Date"] = []string{}
				h(w, w.Header())
			})}
			got := play(t, s, method+" / HTTP/1.1\r\nHost: a\r\n\r\n", 0).got.String()
			lines := "HTTP/1.1 " + strings.Join(want, "\r\n")
			if diff := cmp.Diff(lines, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	write := func(w io.Writer, s string) { _, _ = io.WriteString(w, s) }
	f("plain", "GET", func(w http.ResponseWriter, _ http.Header) { write(w, "ok") }, "200 OK", "Content-Length: 2", "", "ok")
	f("nothing", "GET", func(http.ResponseWriter, http.Header) {}, "200 OK", "Content-Length: 0", "", "")
	f("HEAD", "HEAD", func(w http.ResponseWriter, _ http.Header) { write(w, "ok") }, "200 OK", "Content-Length: 2", "", "")
	f("HEAD of who knows what", "HEAD", func(http.ResponseWriter, http.Header) {}, "200 OK", "", "")
	f("HEAD with a length", "HEAD", func(_ http.ResponseWriter, h http.Header) { h.Set("Content-Length", "5") }, "200 OK", "Content-Length: 5", "", "")
	f("204", "GET", func(w http.ResponseWriter, h http.Header) {
		h.Set("Content-Length", "5")
		w.WriteHeader(204)
		if _, err := io.WriteString(w, "hello"); !errors.Is(err, http.ErrBodyNotAllowed) {
			t.Errorf("writing says %v", err)
		}
	}, "204 No Content", "", "")
	f("another status", "GET", func(w http.ResponseWriter, _ http.Header) { w.WriteHeader(299) }, "299 status code 299", "Content-Length: 0", "", "")
	f("999", "GET", func(w http.ResponseWriter, _ http.Header) { w.WriteHeader(999) }, "999 status code 999", "Content-Length: 0", "", "")
	f("the first status counts", "GET", func(w http.ResponseWriter, _ http.Header) {
		w.WriteHeader(404)
		w.WriteHeader(500)
		w.WriteHeader(103)
	}, "404 Not Found", "Content-Length: 0", "", "")
	f("fields", "GET", func(w http.ResponseWriter, h http.Header) {
		maps.Copy(h, http.Header{"B": {"2", " 3\t"}, "A": {"1"}, "C": {""}, "D": {}, "x-y": {"\xff\t."}})
		w.WriteHeader(200)
		h.Set("E", "too late")
	}, "200 OK", "A: 1", "B: 2", "B: 3", "C: ", "x-y: \xff\t.", "Content-Length: 0", "", "")
	f("fields that are none", "GET", func(_ http.ResponseWriter, h http.Header) {
		maps.Copy(h, http.Header{"A B": {"1"}, "": {"1"}, "A\r\nB": {"1"}, "C": {"d\r\n\r\ne\x00\x7f"}, "Content-length": {"9"}, "TRANSFER-ENCODING": {"x"}, "Trailer": {"x y, content-length"}})
	}, "200 OK", "C: d    e  ", "Content-Length: 0", "", "")
	f("lengths that are none", "GET", func(w http.ResponseWriter, h http.Header) {
		h["Content-Length"] = []string{"2", "2"}
		write(w, "ok!")
	}, "200 OK", "Content-Length: 3", "", "ok!")
	f("chunks", "GET", func(w http.ResponseWriter, _ http.Header) {
		write(w, "hello")
		w.(http.Flusher).Flush()
		write(w, strings.Repeat("x", 16))
	}, "200 OK", "Transfer-Encoding: chunked", "", "5", "hello", "10", "xxxxxxxxxxxxxxxx", "0", "", "")
	f("trailers", "GET", func(w http.ResponseWriter, h http.Header) {
		h.Set("Trailer", "b, A")
		h.Add("Trailer", "C, content-length")
		write(w, "x")
		h.Set("A", "1\n2")
		h.Add("B", "3")
		h.Add("B", "4")
		h.Set("D", "no")
		h.Set(http.TrailerPrefix+"E", "5")
		h.Set(http.TrailerPrefix+"Content-Length", "5")
		h.Set(http.TrailerPrefix+"F G", "5")
	}, "200 OK", "Trailer: B, A, C", "Transfer-Encoding: chunked", "", "1", "x", "0", "A: 1 2", "B: 3", "B: 4", "E: 5", "", "")
	f("interim", "GET", func(w http.ResponseWriter, h http.Header) {
		h.Set("Link", "a")
		w.WriteHeader(103)
		h.Del("Link")
		w.WriteHeader(102)
		write(w, "ok")
	}, "103 Early Hints", "Link: a", "", "HTTP/1.1 102 Processing", "", "HTTP/1.1 200 OK", "Content-Length: 2", "", "ok")
}

// TestDate: each answer says when it was made, unless its handler does.
func TestDate(t *testing.T) {
	for _, date := range [][]string{nil, {"today"}, {}} {
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if date != nil {
				w.Header()["Date"] = date
			}
		})}
		got := replies(t, play(t, s, hello, 0).got.Bytes())[0].Header["Date"]
		if date != nil && !cmp.Equal(got, date) && len(date)+len(got) > 0 {
			t.Errorf("it says %q, want %q", got, date)
		}
		if _, err := http.ParseTime(strings.Join(got, "")); date == nil && err != nil {
			t.Error(err)
		}
	}
}

// TestBrokenAnswers: an answer that is not what it says is not taken for whole, and
// nothing comes behind it.
func TestBrokenAnswers(t *testing.T) {
	f := func(name string, h http.HandlerFunc, want string, told bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var value any
			s := &Server{Handler: h, Panicked: func(r *http.Request, v any, stack []byte) {
				if value = v; r.URL.Path != "/" || !bytes.Contains(stack, []byte("TestBrokenAnswers")) {
					t.Errorf("%v %s", r.URL, stack)
				}
			}}
			got := play(t, s, hello+hello, 0).got.String()
			_, body, _ := strings.Cut(got, "\r\n\r\n")
			if body != want || want == "" && got != "" {
				t.Errorf("got %q, want the body %q", got, want)
			}
			if (value != nil) != told {
				t.Errorf("told %v", value)
			}
		})
	}
	f("too short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "ok")
	}, "ok", false)
	f("nothing of it", func(w http.ResponseWriter, _ *http.Request) { panic("help") }, "", true)
	f("nothing of it, on purpose", func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "", false)
	f("nothing of it, in other words", func(w http.ResponseWriter, _ *http.Request) {
		panic(fmt.Errorf("enough: %w", http.ErrAbortHandler))
	}, "", false)
	f("nothing but what nobody has seen", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
		panic(http.ErrAbortHandler)
	}, "", false)
	f("some of what was announced", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "ok")
		panic(http.ErrAbortHandler)
	}, "ok", false)
	f("some chunks", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, "!")
		panic("help")
	}, "2\r\nok\r\n1\r\n!\r\n", true)
}

// TestBadStatus: a status that cannot be is a mistake of the handler's.
func TestBadStatus(t *testing.T) {
	for _, status := range []int{-1, 0, 99, 1000} {
		var told any
		s := &Server{
			Handler:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }),
			Panicked: func(_ *http.Request, v any, _ []byte) { told = v },
		}
		if c := play(t, s, hello, 0); c.got.Len() > 0 || told != "http1: status "+strconv.Itoa(status) {
			t.Errorf("status %d: %q, told %v", status, &c.got, told)
		}
	}
}

// TestWritesFail: a handler notices that writes fail, and no more is tried.
func TestWritesFail(t *testing.T) {
	var failed []error
	c := &script{rest: []byte(hello + hello)}
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = c.Close()
		rc := http.NewResponseController(w)
		_, _ = io.WriteString(w, "ok")
		failed = append(failed, rc.Flush())
		_, err := w.Write(make([]byte, 2*writeSize))
		failed = append(failed, err, rc.Flush())
	})}
	s.Serve(c)
	if len(failed) != 3 || failed[0] == nil || failed[1] == nil || failed[2] == nil || c.got.Len() > 0 {
		t.Errorf("%v, %q", failed, &c.got)
	}
}
