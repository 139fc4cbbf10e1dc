package http1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const okHead = "HTTP/1.1 200 OK\r\n"

// TestAnswers has answers that are good, what is read of them, and whether their
// connection is used again.
func TestAnswers(t *testing.T) {
	f := func(name, say, body string, again bool, checks ...func(*http.Response) bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			each := says(say)
			if !again {
				each = once(say)
			}
			tr, conns := serve(t, each)
			for range 2 {
				resp, got := get(t, tr)
				if got != body {
					t.Errorf("body %q, want %q", got, body)
				}
				for i, check := range checks {
					if !check(resp) {
						t.Errorf("check %d fails: %+v", i, resp)
					}
				}
			}
			if want := map[bool]int{true: 1, false: 2}[again]; *conns != want {
				t.Errorf("%d connections, want %d", *conns, want)
			}
		})
	}
	field := func(name string, want ...string) func(*http.Response) bool {
		return func(r *http.Response) bool { return cmp.Equal(r.Header[name], want) }
	}
	length := func(n int64) func(*http.Response) bool {
		return func(r *http.Response) bool { return r.ContentLength == n }
	}
	f("length", ok, "ok", true, length(2), field("Content-Length", "2"))
	f("no body", okHead+"Content-Length: 0\r\n\r\n", "", true, length(0), func(r *http.Response) bool { return r.Body == http.NoBody })
	f("chunks", okHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;a=b\r\n!\r\n000\r\n\r\n", "ok!", true, length(-1), field("Transfer-Encoding"),
		func(r *http.Response) bool { return cmp.Equal(r.TransferEncoding, []string{"chunked"}) })
	f("chunks in any case", okHead+"Transfer-Encoding: ChunkeD\r\n\r\nA \r\n0123456789\r\n0\r\n\r\n", "0123456789", true)
	f("trailers", okHead+"Transfer-Encoding: chunked\r\nTrailer: A, b\r\n\r\n0\r\na: 1\r\nC: 2\r\nC: 3\r\nContent-Length: 9\r\n\r\n", "", true, field("Trailer"),
		func(r *http.Response) bool {
			return cmp.Equal(r.Trailer, http.Header{"A": {"1"}, "B": nil, "C": {"2", "3"}})
		})
	f("to the end", okHead+"\r\nall of it", "all of it", false, length(-1), func(r *http.Response) bool { return r.Close })
	f("close", okHead+"Connection: x, Close\r\nContent-Length: 2\r\n\r\nok", "ok", false, func(r *http.Response) bool { return r.Close })
	f("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok", false, func(r *http.Response) bool { return r.ProtoMinor == 0 && r.Proto == "HTTP/1.0" })
	f("HTTP/1.0 that stays", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok", "ok", true)
	f("no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "", true, func(r *http.Response) bool { return r.Status == "200" })
	f("a reason", "HTTP/1.1 299 it is so\r\nContent-Length: 0\r\n\r\n", "", true, func(r *http.Response) bool { return r.Status == "299 it is so" && r.StatusCode == 299 })
	f("fields", okHead+"a: 1\r\nA:2\r\nx-Y-z:\t 3 \r\nEmpty:\r\nContent-Length: 0\r\n\r\n", "", true, field("A", "1", "2"), field("X-Y-Z", "3"), field("Empty", ""))
	f("LF", "HTTP/1.1 200 OK\nA: b\nContent-Length: 2\n\nok", "ok", true, field("A", "b"))
	f("folded", okHead+"A: b\r\n  c\r\n\td\r\nContent-Length: 0\r\n\r\n", "", true, field("A", "b c d"))
	f("equal lengths", okHead+"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "ok", true, field("Content-Length", "2"))
	f("100", "HTTP/1.1 100 Continue\r\n\r\n"+ok, "ok", true)
	f("204", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "", true)
	f("304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "", true, field("Content-Length", "2"))
	f("a large head", okHead+"A: "+strings.Repeat("a", 100<<10)+"\r\nContent-Length: 2\r\n\r\nok", "ok", true)
	f("more than was asked for", ok+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "ok", false)
	f("a body behind none", "HTTP/1.1 204 No Content\r\n\r\nevil", "", false)
}

// TestBadAnswers has answers that are refused before anybody sees them.
func TestBadAnswers(t *testing.T) {
	f := func(name, say string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			tr, _ := serve(t, once(say))
			resp, body, err := ask(t, tr, request(t, http.MethodGet, ""))
			if _, ok := errors.AsType[*AnswerError](err); !ok {
				t.Errorf("got %+v, %q and error %v, want an AnswerError", resp, body, err)
			}
		})
	}
	f("length and chunks", okHead+"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	f("chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("another coding", okHead+"Transfer-Encoding: gzip\r\n\r\n")
	f("two codings", okHead+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
	f("chunked twice", okHead+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	f("no coding", okHead+"Transfer-Encoding:\r\n\r\n0\r\n\r\n")
	f("different lengths", okHead+"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok")
	for _, v := range []string{"+2", "-2", "0x2", "2,2", "2 2", "", "2a", "99999999999999999999"} {
		f("length "+v, okHead+"Content-Length: "+v+"\r\n\r\nok")
	}
	f("HTTP/2", "HTTP/2.0 200 OK\r\n\r\n")
	f("HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n")
	f("no HTTP", "hello")
	f("nearly HTTP", "HTTP 200 OK\r\n\r\n")
	f("status of two digits", "HTTP/1.1 99 OK\r\n\r\n")
	f("status of four digits", "HTTP/1.1 2000 OK\r\n\r\n")
	f("status 099", "HTTP/1.1 099 OK\r\n\r\n")
	f("NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n")
	f("an empty line first", "\r\n"+ok)
	f("space before the colon", okHead+"A : b\r\n\r\n")
	f("space in a name", okHead+"A B: c\r\n\r\n")
	f("space before a name", okHead+" A: b\r\n\r\n")
	f("no name", okHead+": b\r\n\r\n")
	f("no colon", okHead+"A\r\n\r\n")
	f("CR in a value", okHead+"A: b\rc\r\n\r\n")
	f("CR CR LF", okHead+"A: b\r\r\n\r\n")
	f("NUL in a value", okHead+"A: b\x00\r\n\r\n")
	f("framing as a trailer", okHead+"Transfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n0\r\n\r\n")
	f("a head without end", okHead+strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 300))
	f("too many interim answers", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 6)+ok)
	f("a chunk without size", okHead+"Transfer-Encoding: chunked\r\n\r\n\r\nok\r\n0\r\n\r\n")
	f("a size that is none", okHead+"Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n")
	f("a negative size", okHead+"Transfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n")
	f("a size out of range", okHead+"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nok\r\n0\r\n\r\n")
	f("a size of 17 digits", okHead+"Transfer-Encoding: chunked\r\n\r\n00000000000000002\r\nok\r\n0\r\n\r\n")
	f("a size in front of something", okHead+"Transfer-Encoding: chunked\r\n\r\n2 x\r\nok\r\n0\r\n\r\n")
	f("a size that ends in LF", okHead+"Transfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n")
	f("a chunk that ends in LF", okHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n")
	f("a chunk that goes on", okHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nok!\r\n0\r\n\r\n")
	f("a long extension", okHead+"Transfer-Encoding: chunked\r\n\r\n2;"+strings.Repeat("a", 300)+"\r\nok\r\n0\r\n\r\n")
	f("many extensions", okHead+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200)+"0\r\n\r\n")
	f("a trailer that is none", okHead+"Transfer-Encoding: chunked\r\n\r\n0\r\na b: c\r\n\r\n")
}

// TestCutAnswers has answers that end too early. A body that was cut is never a
// whole one.
func TestCutAnswers(t *testing.T) {
	f := func(name, say string, want error) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			tr, _ := serve(t, once(say))
			if _, body, err := ask(t, tr, request(t, http.MethodGet, "")); !errors.Is(err, want) {
				t.Errorf("read %q, error %v, want %v", body, err, want)
			}
		})
	}
	f("nothing", "", io.EOF)
	f("in the status line", "HTTP/1.1 2", io.ErrUnexpectedEOF)
	f("between lines", okHead, io.ErrUnexpectedEOF)
	f("in the empty line", okHead+"Content-Length: 0\r\n\r", io.ErrUnexpectedEOF)
	f("before the body", okHead+"Content-Length: 2\r\n\r\n", io.ErrUnexpectedEOF)
	f("in the body", okHead+"Content-Length: 3\r\n\r\nok", io.ErrUnexpectedEOF)
	const chunked = okHead + "Transfer-Encoding: chunked\r\n\r\n"
	for cut := range len("2\r\nok\r\n0\r\nA: b\r\n\r\n") {
		f("in chunks", chunked+"2\r\nok\r\n0\r\nA: b\r\n\r\n"[:cut], io.ErrUnexpectedEOF)
	}
}

// The answer to HEAD has a length and no body; what follows is not the next answer.
func TestHead(t *testing.T) {
	for say, conns := range map[string]int{
		okHead + "Content-Length: 4\r\n\r\n":                      1,
		okHead + "Transfer-Encoding: chunked\r\n\r\n":             1,
		okHead + "Content-Length: 4\r\n\r\nevil":                  2,
		okHead + "Connection: close\r\nContent-Length: 4\r\n\r\n": 2,
	} {
		tr, n := serve(t, says(say))
		for range 2 {
			if _, body, err := ask(t, tr, request(t, http.MethodHead, "")); body != "" || err != nil {
				t.Errorf("read %q, %v", body, err)
			}
		}
		if *n != conns {
			t.Errorf("%d connections for %q, want %d", *n, say, conns)
		}
	}
}

// However small the pieces are in which an answer comes and is read, it is the same.
func TestPieces(t *testing.T) {
	say := okHead + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nA: b\r\n\r\n"
	for size := 1; size <= len(say); size++ {
		tr, conns := serve(t, func(c net.Conn, _ *http.Request) {
			for rest := []byte(say); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				_, _ = c.Write(rest[:min(size, len(rest))])
			}
		})
		for range 2 {
			resp, err := tr.RoundTrip(request(t, http.MethodGet, ""))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, resp.Body, make([]byte, size)); err != nil || got.String() != "abcde" || resp.Trailer.Get("A") != "b" {
				t.Errorf("in pieces of %d: %q, %v, %v", size, got.String(), resp.Trailer, err)
			}
			resp.Body.Close()
		}
		if *conns != 1 {
			t.Errorf("%d connections", *conns)
		}
	}
}
