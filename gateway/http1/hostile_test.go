package http1

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// TestManyFolds: lines that go on and on must not be copied for each of them.
func TestManyFolds(t *testing.T) {
	text := "A: b\r\n" + strings.Repeat(" c\r\n", 900) + "B: c\r\n"
	fields, err := parseFields(text)
	if err != nil || fields.Get("A") != "b"+strings.Repeat(" c", 900) || fields.Get("B") != "c" {
		t.Fatalf("%d fields, A of %d bytes, %v", len(fields), len(fields.Get("A")), err)
	}
	if n := testing.AllocsPerRun(1, func() { _, _ = parseFields(text) }); n > 100 {
		t.Errorf("%.0f allocations", n)
	}
}

func TestHostileAnswers(t *testing.T) {
	refused := func(name, say string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			tr, _ := serve(t, once(say))
			resp, body, err := ask(t, tr, request(t, http.MethodGet, ""))
			if _, ok := errors.AsType[*AnswerError](err); !ok {
				t.Errorf("got %t, %q and error %v, want an AnswerError", resp != nil, body, err)
			}
		})
	}
	var many strings.Builder
	for i := range 1001 {
		many.WriteString("A" + strconv.Itoa(i) + ":\n")
	}
	refused("many fields", okHead+many.String()+"\r\n")
	refused("many trailers", okHead+"Transfer-Encoding: chunked\r\n\r\n0\r\n"+many.String()+"\r\n")
	for _, trailer := range []string{"A: b\n\n", "A: b\r\n\n", "A: b\n\r\n", "A: b\nC: d\r\n\r\n"} {
		refused("LF in trailers "+strconv.Quote(trailer), okHead+"Transfer-Encoding: chunked\r\n\r\n0\r\n"+trailer)
	}
	refused("bad length of an interim answer", "HTTP/1.1 103 Early Hints\r\nContent-Length: x\r\n\r\n"+ok)
	refused("length and chunks of an interim answer", "HTTP/1.1 103 Early Hints\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"+ok)
	refused("a tunnel that was not asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
}

// TestTunnelWithoutUpgrade: 101 alone does not say that the protocol changes.
func TestTunnelWithoutUpgrade(t *testing.T) {
	for _, say := range []string{
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
	} {
		tr, _ := serve(t, once(say))
		r := request(t, http.MethodGet, "")
		r.Header.Set("Upgrade", "x")
		resp, _, err := ask(t, tr, r)
		if _, ok := errors.AsType[*AnswerError](err); !ok {
			t.Errorf("%q: got %t and error %v, want an AnswerError", say, resp != nil, err)
		}
	}
}

// TestTrailerNames: a list may have empty elements, and without chunks it means nothing.
func TestTrailerNames(t *testing.T) {
	f := func(name, say string, want int, kept bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			tr, _ := serve(t, says(say))
			resp, _ := get(t, tr)
			if len(resp.Trailer) != want || (resp.Header["Trailer"] != nil) != kept {
				t.Errorf("trailers %v, fields %v", resp.Trailer, resp.Header)
			}
		})
	}
	f("empty elements", okHead+"Trailer: ,A,, \r\nTrailer:\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1, false)
	f("no chunks", okHead+"Trailer: Content-Length, A B\r\nContent-Length: 1\r\n\r\nx", 0, true)
}

// TestBodyBehindNone: what a server says of a body that cannot be there may come
// later, when it would look like the next answer.
func TestBodyBehindNone(t *testing.T) {
	for name, field := range map[string]string{"length": "Content-Length: 5", "chunks": "Transfer-Encoding: chunked"} {
		t.Run(name, func(t *testing.T) {
			tr, conns := serve(t, says("HTTP/1.1 204 No Content\r\n"+field+"\r\n\r\n"))
			get(t, tr)
			get(t, tr)
			if *conns != 2 {
				t.Errorf("%d connections, want 2", *conns)
			}
		})
	}
}

// TestHeadLimit: whether a head is too large does not hang on how it arrives.
func TestHeadLimit(t *testing.T) {
	for _, more := range []int{0, 1} {
		tr, _ := serve(t, once(okHead+"A: "+strings.Repeat("a", 1000+more-len(okHead)-len("A: \r\n\r\n"))+"\r\n\r\n"))
		tr.MaxHead = 1000
		_, _, err := ask(t, tr, request(t, http.MethodGet, ""))
		if _, ok := errors.AsType[*AnswerError](err); ok != (more > 0) {
			t.Errorf("a head of %d bytes: %v", 1000+more, err)
		}
	}
}

// TestCloseIdleInUse: connections in use when it is called do not rest after it.
func TestCloseIdleInUse(t *testing.T) {
	tr, conns := serve(t, says(ok))
	resp, err := tr.RoundTrip(request(t, http.MethodGet, ""))
	if err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	p := make([]byte, 9)
	for err == nil {
		_, err = resp.Body.Read(p)
	}
	if n := len(tr.idle.conns["a.example:80"]); n != 0 {
		t.Errorf("%d rest", n)
	}
	get(t, tr)
	get(t, tr)
	if *conns != 2 {
		t.Errorf("%d connections, want 2: the next request begins anew", *conns)
	}
}

// TestTargets: what is not a path would be read as something else, or not at all.
func TestTargets(t *testing.T) {
	for _, u := range []*url.URL{{Path: "x"}, {Path: "x/y", RawQuery: "q"}, {Path: "*a"}} {
		u.Scheme, u.Host = "http", "a.example"
		tr, conns := serve(t, says(ok))
		r := request(t, http.MethodGet, "")
		r.URL = u
		_, _, err := ask(t, tr, r)
		if _, ok := errors.AsType[*RequestError](err); !ok || *conns > 0 {
			t.Errorf("%q: %v", u.Path, err)
		}
	}
}
