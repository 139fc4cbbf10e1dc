package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	hello   = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	farther = "GET /farther HTTP/1.1\r\nHost: a\r\n\r\n"
)

// TestServerRefuses has requests that no handler may see, the status that they
// get and the word for what is wrong.
func TestServerRefuses(t *testing.T) {
	f := func(name, say string, status int, reason string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{0, 1, 3} {
				var words []string
				s := &Server{
					Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a handler got it") }),
					Refuse: func(w http.ResponseWriter, r *http.Request, err *ClientError) {
						if r.URL == nil || r.Header == nil || r.Body == nil || r.Proto == "" || r.RemoteAddr == "" {
							t.Errorf("half a request: %+v", r)
						}
						words = append(words, err.Reason)
						http.Error(w, err.Msg, err.Status)
					},
				}
				all := replies(t, play(t, s, say+hello, piece).got.Bytes())
				if len(all) != 1 || all[0].StatusCode != status || !all[0].Close {
					t.Fatalf("in pieces of %d: %d answers, the first %+v", piece, len(all), all)
				}
				if len(words) != 1 || words[0] != reason {
					t.Errorf("in pieces of %d: it says %q, want %q", piece, words, reason)
				}
			}
		})
	}
	line := func(name, line string, status int, reason string) {
		t.Helper()
		f(name, line+"\r\nHost: a\r\n\r\n", status, reason)
	}
	field := func(name, field, reason string) {
		t.Helper()
		f(name, "GET / HTTP/1.1\r\nHost: a\r\n"+field+"\r\n\r\n", 400, reason)
	}
	for _, bad := range []string{
		"GET", "GET /", "GET  / HTTP/1.1", "GET / HTTP/1.1 ", "GET /  HTTP/1.1", "GET\t/ HTTP/1.1", "GET /a\tb HTTP/1.1",
		"G@T / HTTP/1.1", "GET / http/1.1", "GET / HTTP/1.10", "GET / HTTP/1", "GET / HTTP/11", "GET / HTTP/a.1", "GET / HTTP/1.a",
		"GET /\x00 HTTP/1.1", "GET /\x7f HTTP/1.1", "GET / HTTP/1.1\r", "GET /\r HTTP/1.1", " GET / HTTP/1.1", "\tGET / HTTP/1.1",
		"\x16\x03\x01", ":a / HTTP/1.1", "\r\n\r\nGET / HTTP/1.1", "\rGET / HTTP/1.1",
	} {
		line("line "+strconv.Quote(bad), bad, 400, "bad_request_line")
	}
	for _, bad := range []string{"foo", "?", "%zz", "/%", "/%g0", "http://a:b/", "http://[::1/", "http://a b/", "1http://a/"} {
		if !strings.Contains(bad, " ") {
			line("target "+bad, "GET "+bad+" HTTP/1.1", 400, "bad_target")
		}
	}
	line("HTTP/2", "GET / HTTP/2.0", 505, "bad_version")
	line("HTTP/0.9", "GET / HTTP/0.9", 505, "bad_version")
	line("HTTP/9.9", "GET / HTTP/9.9", 505, "bad_version")
	f("no Host", "GET / HTTP/1.1\r\n\r\n", 400, "bad_host")
	f("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_host")
	f("space in Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_host")
	f("Host outside of ASCII", "GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400, "bad_host")
	f("two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_host")
	f("the preface of HTTP/2", preface, 400, "bad_method")
	for _, bad := range []string{"A : b", " A: b", "A", ": b", "A b: c", "A\x00: b", "A: \x00", "A: b\rc", "A: b\r\r", "A: b\x7f", "\xc3\xa4: b", "A: b\r\n c"} {
		field("field "+strconv.Quote(bad), bad, "bad_header")
	}
	field("LF", "A: b\nC: d", "bad_header")
	for _, bad := range []string{"", "+1", "-1", "1 1", "1,1", "0x1", "1a", "9223372036854775808", "99999999999999999999", "1_0"} {
		field("length "+bad, "Content-Length: "+bad, "bad_framing")
	}
	field("two lengths", "Content-Length: 1\r\nContent-Length: 1", "bad_framing")
	field("length and chunks", "Content-Length: 1\r\nTransfer-Encoding: chunked", "bad_framing")
	f("chunks in HTTP/1.0", "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_framing")
	for _, bad := range []string{"", "gzip", "gzip, chunked", "chunked, chunked", "chunked;a", "identity", "chunked\r\nTransfer-Encoding: chunked", "\x0bchunked"} {
		status, reason := 501, "bad_framing"
		if strings.HasPrefix(bad, "\x0b") {
			status, reason = 400, "bad_header"
		}
		f("coding "+strconv.Quote(bad), "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "+bad+"\r\n\r\n", status, reason)
	}
	for _, bad := range []string{"Content-Length", "a, transfer-encoding", "trailer", "a b"} {
		field("trailer "+bad, "Transfer-Encoding: chunked\r\nTrailer: "+bad, "bad_header")
	}
	f("too many lines", "GET / HTTP/1.1\r\nHost: a\r\n"+strings.Repeat("A:\r\n", maxLines)+"\r\n", 431, "head_too_large")
}

// TestRefusalByDefault: who has no words of his own says what is wrong in a line.
func TestRefusalByDefault(t *testing.T) {
	all := replies(t, play(t, &Server{}, "GET / HTTP/1.1\r\n\r\n", 0).got.Bytes())
	if len(all) != 1 || all[0].StatusCode != 400 || all[0].Text != "Bad Request: it needs one Host\n" {
		t.Errorf("got %+v", all)
	}
}

// TestRefusalThatPanics ends the connection, and nothing else.
func TestRefusalThatPanics(t *testing.T) {
	var told any
	s := &Server{
		Refuse:   func(http.ResponseWriter, *http.Request, *ClientError) { panic("help") },
		Panicked: func(_ *http.Request, value any, _ []byte) { told = value },
	}
	if c := play(t, s, "\r\r"+hello, 0); c.got.Len() > 0 || told != "help" {
		t.Errorf("got %q, told %v", &c.got, told)
	}
}

// TestHalfRequests: a client that leaves in the middle of a head gets nothing.
func TestHalfRequests(t *testing.T) {
	s := &Server{Handler: text("no"), Refuse: func(http.ResponseWriter, *http.Request, *ClientError) { t.Error("refused") }}
	whole := "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
	for cut := range len(whole) {
		if c := play(t, s, whole[:cut], 0); c.got.Len() > 0 {
			t.Errorf("%q is answered with %q", whole[:cut], &c.got)
		}
	}
}

// TestMaxHead: the head may have as many bytes, and not one more.
func TestMaxHead(t *testing.T) {
	for _, most := range []int{64, 4 << 10, readSize, readSize + 1, 100 << 10} {
		fits := "GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("a", most-len("GET / HTTP/1.1\r\nHost: a\r\nA: \r\n\r\n")) + "\r\n\r\n"
		over := strings.Replace(fits, "A: ", "A: a", 1)
		for say, want := range map[string]int{fits: 200, over: 431} {
			for _, piece := range []int{0, 1000} {
				all := replies(t, play(t, &Server{Handler: text("ok"), MaxHead: most}, say+hello, piece).got.Bytes())
				if len(all) != max(1, 3-want/200) || all[0].StatusCode != want {
					t.Errorf("a head of %d bytes, limit %d: %d answers, %d", len(say), most, len(all), all[0].StatusCode)
				}
			}
		}
	}
	endless := "GET /" + strings.Repeat("a", 300<<10)
	if all := replies(t, play(t, &Server{}, endless, 0).got.Bytes()); len(all) != 1 || all[0].StatusCode != 431 {
		t.Errorf("without a limit of its own: %+v", all)
	}
}

// TestTakenRequests has what handlers understand of good requests.
func TestTakenRequests(t *testing.T) {
	f := func(name, say string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for piece := range 20 {
				all := replies(t, play(t, &Server{Handler: http.HandlerFunc(echo)}, say, piece).got.Bytes())
				if len(all) != 1 || all[0].Text != strings.Join(want, "\n")+"\n" {
					t.Fatalf("in pieces of %d: %+v", piece, all)
				}
			}
		})
	}
	f("plain", hello, `GET / a HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("an empty line first", "\r\n"+hello, `GET / a HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", `GET /  HTTP/1.0 0 [] close=true`, `"" <nil>`)
	f("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", `GET / a HTTP/1.2 0 [] close=false`, `"" <nil>`)
	f("fields", "GET / HTTP/1.1\r\nhost:a\r\nb-c:\t 1 \r\nB-C:2\r\nD:\r\nE: \xff\tf\r\n\r\n",
		`GET / a HTTP/1.1 0 [] close=false`, `B-C=["1" "2"]`, `D=[""]`, `E=["\xff\tf"]`, `"" <nil>`)
	f("an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", `GET /  HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("a URL", "GET http://A/b?c HTTP/1.1\r\nHost: a\r\n\r\n", `GET http://A/b?c A HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("a URL and another Host", "GET http://b:1/ HTTP/1.1\r\nHost: a\r\n\r\n", `GET http://b:1/ b:1 HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", `CONNECT a:1 a:1 HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: b\r\n\r\n", `CONNECT /a b HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", `OPTIONS * a HTTP/1.1 0 [] close=false`, `"" <nil>`)
	f("another method", "a!#$%&'*+-.^_`|~1 / HTTP/1.1\r\nHost: a\r\n\r\n", "a!#$%&'*+-.^_`|~1 / a HTTP/1.1 0 [] close=false", `"" <nil>`)
	f("length", "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello", `PUT /a a HTTP/1.1 5 [] close=false`, `Content-Length=["05"]`, `"hello" <nil>`)
	f("length of zero", "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", `PUT /a a HTTP/1.1 0 [] close=false`, `Content-Length=["0"]`, `"" <nil>`)
	f("chunks", "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: A, c\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n000\r\nA: b\r\nD: e\r\nContent-Length: 3\r\n\r\n",
		`PUT /a a HTTP/1.1 -1 [chunked] close=false`, `"hello" <nil>`, `A=["b"]`, `C=[]`, `D=["e"]`)
	f("no chunks", "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", `PUT /a a HTTP/1.1 -1 [chunked] close=false`, `"" <nil>`)
	f("close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: a, Close\r\n\r\n"+hello, `GET / a HTTP/1.1 0 [] close=true`, `Connection=["a, Close"]`, `"" <nil>`)
	f("a cut body", "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello", `PUT /a a HTTP/1.1 6 [] close=false`, `Content-Length=["6"]`, `"hello" unexpected EOF`)
	f("bad chunks", "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n"+hello,
		`PUT /a a HTTP/1.1 -1 [chunked] close=false`, `"hel" the request is invalid: a chunk is longer than it says`)
}

// TestKeepAlive: when there is another request, and when there is none.
func TestKeepAlive(t *testing.T) {
	f := func(name, first string, h http.HandlerFunc, again bool, connection ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			method, _, _ := strings.Cut(first, " ")
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/farther" {
					h(w, r)
				}
			})}
			all := replies(t, play(t, s, first+farther, 0).got.Bytes(), method, "GET")
			if want := map[bool]int{true: 2, false: 1}[again]; len(all) != want {
				t.Fatalf("%d answers, want %d: %+v", len(all), want, all)
			}
			got := all[0].Header["Connection"]
			if all[0].Close && got == nil {
				got = []string{"close"} // http.ReadResponse takes it away
			}
			if !slices.Equal(got, connection) {
				t.Errorf("it says %q, want %q", got, connection)
			}
		})
	}
	head := func(method, version, fields string) string {
		return method + " / HTTP/" + version + "\r\nHost: a\r\n" + fields + "\r\n"
	}
	stay, leave := "Connection: keep-alive\r\n", "Connection: close\r\n"
	f("HTTP/1.1", hello, text("ok"), true)
	f("the client wants to end it", head("GET", "1.1", leave), text("ok"), false, "close")
	f("the handler wants to end it", hello, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "Close") }, false, "close")
	f("the handler says something else", hello, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "a, keep-alive") }, true, "a")
	f("HTTP/1.0", head("GET", "1.0", ""), text("ok"), false, "close")
	f("HTTP/1.0 that stays", head("GET", "1.0", stay), text("ok"), true, "keep-alive")
	f("HTTP/1.0 that stays, with nothing", head("GET", "1.0", stay), text(""), true, "keep-alive")
	f("HTTP/1.0 that stays, with a length", head("GET", "1.0", stay), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ok")
	}, true, "keep-alive")
	f("HTTP/1.0 that stays, HEAD", head("HEAD", "1.0", stay), text("ok"), true, "keep-alive")
	f("HTTP/1.0 that stays, 204", head("GET", "1.0", stay), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, true, "keep-alive")
	f("HTTP/1.0 that stays, without a length", head("GET", "1.0", stay), func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush() }, false, "close")
	f("HTTP/1.0 that stays, with trailers that go nowhere", head("GET", "1.0", stay), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "A")
		_, _ = io.WriteString(w, "ok")
		w.Header().Set(http.TrailerPrefix+"B", "c")
	}, true, "keep-alive")
	f("HTTP/1.0 that both stays and leaves", head("GET", "1.0", "Connection: keep-alive, close\r\n"), text("ok"), false, "close")
	f("a longer answer than it says", hello, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		_, _ = io.WriteString(w, "ok")
		if _, err := io.WriteString(w, "!"); !errors.Is(err, http.ErrContentLength) {
			t.Errorf("writing more: %v", err)
		}
	}, true)
}

// TestPipeline: ten requests in one write are answered in their order.
func TestPipeline(t *testing.T) {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", i, i*1000, strings.Repeat(strconv.Itoa(i), i*1000))
	}
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
		_, _ = io.Copy(w, r.Body)
	})}
	for _, piece := range []int{0, 1, 100, 10000} {
		all := replies(t, play(t, s, b.String(), piece).got.Bytes())
		for i, r := range all {
			if r.Text != "/"+strconv.Itoa(i)+strings.Repeat(strconv.Itoa(i), i*1000) {
				t.Errorf("answer %d: %.20q", i, r.Text)
			}
		}
		if len(all) != 10 {
			t.Errorf("in pieces of %d: %d answers", piece, len(all))
		}
	}
}

// TestHandOver: a connection that begins like HTTP/2 goes to who knows it, with all
// that has been read; later on it is a mistake.
func TestHandOver(t *testing.T) {
	for _, piece := range []int{0, 1, 7} {
		for _, before := range []string{"", hello} {
			var got []byte
			s := &Server{Handler: text("ok"), HTTP2: func(c net.Conn, read []byte) {
				rest, _ := io.ReadAll(c)
				got = slices.Concat(read, rest)
				_ = c.Close()
			}}
			c := play(t, s, before+preface+"more", piece)
			if before == "" && (string(got) != preface+"more" || c.got.Len() > 0) {
				t.Errorf("it got %q, the client %q", got, &c.got)
			}
			if before != "" && (got != nil || len(replies(t, c.got.Bytes())) != 2) {
				t.Errorf("after a request it got %q, the client %q", got, &c.got)
			}
		}
	}
}
