package http1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/google/go-cmp/cmp"
)

// use is one way to use a ResponseWriter.
type use struct {
	name    string
	handler http.HandlerFunc
	fields  string                    // of the request
	level   func(ours, theirs *heard) // takes away what this does differently on purpose
	modern  bool                      // not compared in HTTP/1.0: ours sends no trailers there, and no interim answers
}

func write(w io.Writer, s string) { _, _ = io.WriteString(w, s) }

func flush(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// sized announces a length and writes another one, perhaps.
func sized(announced, written int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(announced))
		write(w, strings.Repeat("x", written))
	}
}

// status answers with a status and a body, for which there may be no room.
func status(code int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Add(fields[i], fields[i+1])
		}
		w.WriteHeader(code)
		write(w, "body")
	}
}

// whole reads a body before it answers with it.
func whole(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(body)
}

// uses are those that this house makes of a ResponseWriter, and the odd ones.
var uses = []use{
	{name: "nothing", handler: func(http.ResponseWriter, *http.Request) {}},
	{name: "a status alone", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }},
	{name: "a word", handler: func(w http.ResponseWriter, _ *http.Request) { write(w, "ok") }},
	{name: "no word", handler: func(w http.ResponseWriter, _ *http.Request) { write(w, "") }},
	{name: "two words", handler: func(w http.ResponseWriter, _ *http.Request) { write(w, "a"); write(w, "b") }},
	{name: "an error", handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "so it is", http.StatusServiceUnavailable) }},
	{name: "a type", handler: status(200, "Content-Type", "text/x")},
	{name: "a redirect", handler: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusPermanentRedirect) }},
	{name: "cookies", handler: status(200, "Set-Cookie", "a=b", "Set-Cookie", "c=d", "Vary", "a")},
	{name: "a value with a line", handler: status(200, "A", "b\r\nC: d", "E", " f ")},
	{name: "fields that are none", handler: status(200, "A B", "c", "D:", "e")},
	{name: "a date", handler: status(200, "Date", "mine")},
	{name: "no date", handler: func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = nil }, level: func(_, theirs *heard) {
		theirs.Header["Date"] = []string{"now"} // nil has no date there; here only an empty list has none
	}},
	{name: "the body that came", handler: whole},
	{name: "201", handler: status(201, "Location", "/a")},
	{name: "204", handler: status(204)},
	{name: "204 with a length", handler: status(204, "Content-Length", "4")},
	{name: "205", handler: status(205)},
	{name: "206", handler: status(206, "Content-Range", "bytes 0-3/9", "Content-Length", "4")},
	{name: "304", handler: status(304, "Etag", `"a"`)},
	{name: "304 with a length", handler: status(304, "Content-Length", "4", "Content-Type", "text/x"), level: func(ours, _ *heard) {
		if ours.Code == 304 { // passed on as the upstream has it; caches may want to know
			delete(ours.Header, "Content-Type")
		}
	}},
	{name: "299", handler: status(299)},
	{name: "999", handler: status(999)},
	{name: "two statuses", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(400); w.WriteHeader(500) }},
	{name: "a length", handler: sized(10, 10)},
	{name: "a length of zero", handler: sized(0, 0)},
	{name: "a large length", handler: sized(100_000, 100_000)},
	{name: "less than the length", handler: sized(10, 5)},
	{name: "nothing of the length", handler: sized(10, 0)},
	{name: "small", handler: func(w http.ResponseWriter, _ *http.Request) { write(w, strings.Repeat("x", 2000)) }},
	{name: "large", handler: func(w http.ResponseWriter, _ *http.Request) { write(w, strings.Repeat("x", 100_000)) }},
	{name: "many pieces", handler: func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1000 {
			write(w, strings.Repeat("x", i))
		}
	}},
	{name: "flushed pieces", handler: func(w http.ResponseWriter, _ *http.Request) {
		for i := range 10 {
			write(w, strings.Repeat("x", i))
			flush(w)
		}
	}},
	{name: "flushed at once", handler: func(w http.ResponseWriter, _ *http.Request) { flush(w); write(w, "ok") }},
	{name: "flushed and nothing", handler: func(w http.ResponseWriter, _ *http.Request) { flush(w); flush(w) }},
	{name: "flushed with a length", handler: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		flush(w)
		write(w, "ok")
	}},
	{name: "copied", handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("hello")) }},
	{name: "copied, large", handler: func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, io.LimitReader(strings.NewReader(strings.Repeat("x", 99_999)), 1e6))
	}},
	{name: "close", handler: status(200, "Connection", "close")},
	{modern: true, name: "trailers", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A, B")
		write(w, "x")
		w.Header().Set("A", "1")
	}},
	{modern: true, name: "trailers and nothing else", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A")
		w.WriteHeader(200)
		w.Header().Set("A", "1")
	}},
	{modern: true, name: "trailers nobody knew of", handler: func(w http.ResponseWriter, _ *http.Request) {
		write(w, "x")
		flush(w)
		w.Header().Set(http.TrailerPrefix+"A", "1")
		w.Header().Add(http.TrailerPrefix+"A", "2")
	}},
	{modern: true, name: "trailers nobody knew of, late", handler: func(w http.ResponseWriter, _ *http.Request) {
		write(w, "x")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}, level: func(ours, theirs *heard) { // net/http loses them
		if cmp.Equal(ours.Trailer, http.Header{"A": {"1"}}) {
			*theirs = *ours
		}
	}},
	{modern: true, name: "trailers with a length", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1")
		write(w, "x")
		w.Header().Set(http.TrailerPrefix+"A", "1")
	}},
	{modern: true, name: "interim", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "a")
		w.WriteHeader(103)
		w.Header().Set("Link", "b")
		w.WriteHeader(103)
		write(w, "ok")
	}},
	{name: "abort", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{name: "panic", handler: func(http.ResponseWriter, *http.Request) { panic(errors.New("help")) }},
	{name: "abort of a length", handler: func(w http.ResponseWriter, _ *http.Request) {
		sized(9, 5)(w, nil)
		flush(w)
		panic(http.ErrAbortHandler)
	}},
	{name: "abort of chunks", handler: func(w http.ResponseWriter, _ *http.Request) {
		write(w, "ok")
		flush(w)
		panic(http.ErrAbortHandler)
	}},
	{name: "expect, read", handler: whole, fields: "Expect: 100-continue\r\n"},
	{name: "expect, unread", handler: status(413), fields: "Expect: 100-continue\r\n"},
	{name: "full duplex", handler: func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			panic(err)
		}
		write(w, "first")
		flush(w)
		_, _ = io.Copy(w, r.Body)
	}},
	{name: "unread", handler: func(w http.ResponseWriter, r *http.Request) { _ = r.Body.Close(); write(w, "ok") }},
}
