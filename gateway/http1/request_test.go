package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// written is what a request looks like to a server that reads until it is silent.
func written(t *testing.T, change func(*http.Request), body string) string {
	t.Helper()
	r := request(t, http.MethodGet, body)
	change(r)
	d := new(draft)
	if err := d.write(r, false); err != nil {
		t.Fatal(err)
	}
	if !hasBody(r) {
		return string(d.head)
	}
	client, server := net.Pipe()
	s := newSender(newConn(client, ""), r, d.head, 0)
	go func() {
		s.run()
		_ = client.Close()
	}()
	all, err := io.ReadAll(server)
	if err != nil {
		t.Error(err)
	}
	return string(all)
}

func TestRequestBytes(t *testing.T) {
	const first = "GET /path?q HTTP/1.1\r\nHost: a.example\r\n"
	f := func(name, body string, change func(*http.Request), want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			if got := written(t, change, body); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
	f("plain", "", func(*http.Request) {}, first+"\r\n")
	f("fields in order", "", func(r *http.Request) {
		r.Header = http.Header{"B": {"2", " 3 "}, "A": {""}, "User-Agent": {""}, "C": nil}
	}, first+"A: \r\nB: 2\r\nB: 3\r\n\r\n")
	f("framing is ours", "", func(r *http.Request) {
		r.Header = http.Header{"Content-Length": {"9"}, "transfer-encoding": {"chunked"}, "TRAILER": {"A"}, "host": {"b"}}
	}, first+"\r\n")
	f("another host", "", func(r *http.Request) { r.Host = "b.example:8080" }, "GET /path?q HTTP/1.1\r\nHost: b.example:8080\r\n\r\n")
	f("a zone", "", func(r *http.Request) { r.Host = "[fe80::1%eth0]:80" }, "GET /path?q HTTP/1.1\r\nHost: [fe80::1]:80\r\n\r\n")
	f("an escaped path", "", func(r *http.Request) {
		r.URL = &url.URL{Scheme: "http", Host: "a.example", Path: "/a b/c", RawPath: "/a%20b%2Fc"}
	}, "GET /a%20b%2Fc HTTP/1.1\r\nHost: a.example\r\n\r\n")
	f("no path", "", func(r *http.Request) { r.URL = &url.URL{Scheme: "http", Host: "a.example"} }, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	f("POST without a body", "", func(r *http.Request) { r.Method = "POST" }, "POST /path?q HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n")
	f("a length", "body", func(*http.Request) {}, first+"Content-Length: 4\r\n\r\nbody")
	f("chunks", "body", func(r *http.Request) { r.ContentLength = -1 }, first+"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
	f("chunks because nobody knows", "body", func(r *http.Request) { r.ContentLength = 0 }, first+"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
	f("trailers", "body", func(r *http.Request) {
		r.ContentLength, r.Trailer = -1, http.Header{"B": {"2"}, "A": nil, "C": {"bad\n", "3"}}
	}, first+"Transfer-Encoding: chunked\r\nTrailer: A, B, C\r\n\r\n4\r\nbody\r\n0\r\nB: 2\r\nC: 3\r\n\r\n")
	long := strings.Repeat("a", 2*maxJoined)
	f("a large head", "body", func(r *http.Request) { r.Header.Set("A", long) }, first+"Content-Length: 4\r\nA: "+long+"\r\n\r\nbody")
}

// What cannot be sent is refused before there is a connection, and its body closed.
func TestRefusedRequests(t *testing.T) {
	tr, conns := serve(t, says(ok))
	f := func(name string, change func(*http.Request)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			r := request(t, http.MethodPost, "body")
			body := &observed{Reader: r.Body}
			r.Body = body
			change(r)
			_, err := tr.RoundTrip(r)
			if _, ok := errors.AsType[*RequestError](err); !ok {
				t.Errorf("got error %v, want a RequestError", err)
			}
			if !body.closed.Load() || *conns != 0 {
				t.Errorf("body closed: %v, %d connections", body.closed.Load(), *conns)
			}
		})
	}
	f("method", func(r *http.Request) { r.Method = "GE T" })
	f("CONNECT", func(r *http.Request) { r.Method = http.MethodConnect })
	f("https", func(r *http.Request) { r.URL.Scheme = "https" })
	f("no host", func(r *http.Request) { r.URL.Host = "" })
	f("space in the query", func(r *http.Request) { r.URL.RawQuery = "a b" })
	f("a line in the query", func(r *http.Request) { r.URL.RawQuery = "a\r\nB: c" })
	f("a line in Host", func(r *http.Request) { r.Host = "a\r\nB: c" })
	f("name", func(r *http.Request) { r.Header["A b"] = []string{"c"} })
	f("no name", func(r *http.Request) { r.Header[""] = []string{"c"} })
	f("a line in a value", func(r *http.Request) { r.Header["A"] = []string{"b\r\nC: d"} })
	f("trailer", func(r *http.Request) { r.Trailer = http.Header{"A b": nil} })
	f("framing as a trailer", func(r *http.Request) { r.Trailer = http.Header{"content-length": nil} })
}
