package middleware_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

var page = strings.Repeat("<p>hello, world</p>\n", 500)

// unpacked is a body without its coding.
func unpacked(t testing.TB, coding string, body io.Reader) string {
	t.Helper()
	switch coding {
	case "gzip":
		r, err := gzip.NewReader(body)
		if err != nil {
			t.Fatal(err)
		}
		body = r
	case "br":
		body = brotli.NewReader(body)
	case "zstd":
		r, err := zstd.NewReader(body, zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		body = r
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compressed is what becomes of an answer.
func compressed(t testing.TB, block, request string, h http.HandlerFunc) *httptest.ResponseRecorder {
	t.Helper()
	env, _ := orders(t)
	w := httptest.NewRecorder()
	middlewaretest.Build(t, env, block).Wrap(h).ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, request), new(gateway.Exchange)))
	return w
}

// html answers with a page; head are further "Name: value" of it.
func html(text string, head ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for _, line := range head {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, text) // into memory: cannot fail
	}
}

func TestCompressAccept(t *testing.T) {
	f := func(accept, want string) {
		t.Helper()
		t.Run(accept, func(t *testing.T) {
			w := compressed(t, "compress: {}", "GET /\nAccept-Encoding: "+accept, html(page, "Content-Length: "+strconv.Itoa(len(page)), `ETag: "a"`, "Accept-Ranges: bytes", "Vary: Origin"))
			got := w.Header().Get("Content-Encoding")
			if text := unpacked(t, got, w.Body); got != want || text != page {
				t.Errorf("coding %q and %d bytes, want %q", got, len(text), want)
			}
			tag, length, ranges := `W/"a"`, "", ""
			if want == "" {
				tag, length, ranges = `"a"`, strconv.Itoa(len(page)), "bytes"
			}
			h := w.Header()
			if h.Get("ETag") != tag || h.Get("Content-Length") != length || h.Get("Accept-Ranges") != ranges || strings.Join(h["Vary"], ", ") != "Origin, Accept-Encoding" {
				t.Errorf("%v", h)
			}
		})
	}
	f("gzip", "gzip")
	f("x-gzip", "gzip")
	f("gzip, deflate, br, zstd", "zstd")
	f("br;q=1.0, zstd;q=0.9", "br")
	f("BR", "br")
	f("*", "zstd")
	f("*;q=0.5, gzip", "gzip")
	f("gzip, *;q=0", "gzip")
	f("zstd;q=0, *", "br")
	f("gzip;q=0", "")
	f("identity, gzip;q=0.5", "")
	f("identity;q=0.5, gzip", "gzip")
	f("gzip;q=2", "")
	f("gzip;q=nonsense", "")
	f("deflate", "")
	f("", "")
}

func TestCompressLeavesAlone(t *testing.T) {
	f := func(name, request string, h http.HandlerFunc, vary string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			w, plain := compressed(t, "compress: {}", request+"\nAccept-Encoding: gzip", h), httptest.NewRecorder()
			h(plain, nil)
			if plain.Header().Add("Vary", vary); vary == "" {
				plain.Header().Del("Vary")
			}
			if diff := cmp.Diff(plain.Header(), w.Header()); diff != "" || plain.Code != w.Code || plain.Body.String() != w.Body.String() {
				t.Errorf("status %d, %d bytes, (-want +got):\n%s", w.Code, w.Body.Len(), diff)
			}
		})
	}
	status := func(code int, head ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			html("", head...)(headOnly{w}, r)
			w.WriteHeader(code)
			if code != http.StatusNoContent && code != http.StatusNotModified {
				_, _ = io.WriteString(w, page)
			}
		}
	}
	f("small", "GET /", html("small", "Content-Length: 5"), "Accept-Encoding")
	f("small, of unknown length", "GET /", html("small"), "Accept-Encoding")
	f("another type", "GET /", html(page, "Content-Type: image/png"), "")
	f("compressed upstream", "GET /", html(page, "Content-Encoding: br"), "")
	f("no-transform", "GET /", html(page, "Cache-Control: public, No-Transform"), "")
	f("events", "GET /", html(page, "Content-Type: text/event-stream"), "")
	f("206", "GET /", status(206, "Content-Range: bytes 0-1/2"), "")
	f("204", "GET /", status(204), "")
	f("304", "GET /", status(304, `ETag: "a"`), "")
	f("HEAD of unknown length", "HEAD /", func(w http.ResponseWriter, r *http.Request) {
		html("")(headOnly{w}, r)
		w.WriteHeader(200)
	}, "Accept-Encoding")
	f("upgrade", "GET /\nUpgrade: websocket", html(page), "")
}

// headOnly keeps a handler from writing.
type headOnly struct{ w http.ResponseWriter }

func (h headOnly) Header() http.Header         { return h.w.Header() }
func (h headOnly) Write(p []byte) (int, error) { return len(p), nil }
func (h headOnly) WriteHeader(int)             {}

func TestCompressHead(t *testing.T) {
	w := compressed(t, "compress: {}", "HEAD /\nAccept-Encoding: gzip", func(w http.ResponseWriter, r *http.Request) {
		html("", "Content-Length: 5000")(headOnly{w}, r)
		w.WriteHeader(200)
	})
	if w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Content-Length") != "" || w.Body.Len() != 0 {
		t.Errorf("%v, %d bytes", w.Header(), w.Body.Len())
	}
}

// What is flushed reaches the client whole, however little it is.
func TestCompressFlushes(t *testing.T) {
	for _, coding := range []string{"zstd", "br", "gzip"} {
		t.Run(coding, func(t *testing.T) {
			sent, seen := httptest.NewRecorder(), ""
			env, _ := orders(t)
			step := middlewaretest.Build(t, env, "compress: {}")
			r := middlewaretest.Request(t, "GET /\nAccept-Encoding: "+coding)
			step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				html("first")(w, r)
				if err := http.NewResponseController(w).Flush(); err != nil {
					t.Error(err)
				}
				seen = firstBytes(t, coding, bytes.Clone(sent.Body.Bytes()), len("first"))
				_, _ = io.WriteString(w, " second")
			})).ServeHTTP(sent, gateway.WithExchange(r, new(gateway.Exchange)))
			if all := unpacked(t, coding, sent.Body); seen != "first" || all != "first second" || !sent.Flushed {
				t.Errorf("saw %q, then %q", seen, all)
			}
		})
	}
}

// firstBytes are the first n of a body whose end is not there yet.
func firstBytes(t *testing.T, coding string, body []byte, n int) string {
	t.Helper()
	pipe, end := io.Pipe()
	defer func() { _ = pipe.Close() }() // never fails
	go func() { _, _ = end.Write(body) }()
	limited := make([]byte, n)
	var r io.Reader = brotli.NewReader(pipe)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(pipe)
	case "zstd":
		r, err = zstd.NewReader(pipe, zstd.WithDecoderConcurrency(1))
	}
	if err == nil {
		_, err = io.ReadFull(r, limited)
	}
	if err != nil {
		t.Error(err)
	}
	return string(limited)
}

// An answer that breaks off must not look whole, and its encoder is as good as new for the next one.
func TestCompressBrokenOff(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "compress: {encodings: [gzip]}")
	w := httptest.NewRecorder()
	r := gateway.WithExchange(middlewaretest.Request(t, "GET /\nAccept-Encoding: gzip"), new(gateway.Exchange))
	func() {
		defer func() {
			if v, _ := recover().(error); !errors.Is(v, http.ErrAbortHandler) {
				t.Errorf("recovered %v", v)
			}
		}()
		step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			html(page)(w, r)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})).ServeHTTP(w, r)
	}()
	in, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(in); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an answer without an end", err)
	}
	w = httptest.NewRecorder()
	step.Wrap(html(page)).ServeHTTP(w, r)
	if got := unpacked(t, "gzip", w.Body); got != page {
		t.Errorf("the next one has %d bytes", len(got))
	}
}

func TestCompressMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block, want string) {
		t.Helper()
		if diff := cmp.Diff([]string{want}, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("compress: {encodings: [deflate]}", `1:24: "deflate" is not known; write zstd, br or gzip`)
	f("compress: {encodings: [br, br]}", `1:28: "br" is there already`)
	f("compress: {encodings: []}", "1:12: names none; leave it out for zstd, br and gzip")
	f("compress: {min_size: 2MiB}", "1:22: is not from 0 to 1MiB: so much of an answer is held back")
	f("compress: {types: []}", "1:12: names none; leave it out for the usual ones")
	f("compress: {types: [html]}", `1:20: "html" is no media type; write type/subtype or type/*`)
}

func BenchmarkCompress(b *testing.B) {
	for _, coding := range []string{"zstd", "br", "gzip", "identity"} {
		b.Run(coding, func(b *testing.B) {
			env, _ := orders(b)
			h, w := middlewaretest.Build(b, env, "compress: {}").Wrap(html(page)), &recorder{h: http.Header{}}
			r := gateway.WithExchange(middlewaretest.Request(b, "GET /\nAccept-Encoding: "+coding), new(gateway.Exchange))
			b.SetBytes(int64(len(page)))
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				w.saw = w.saw[:0]
				h.ServeHTTP(w, r)
			}
		})
	}
}
