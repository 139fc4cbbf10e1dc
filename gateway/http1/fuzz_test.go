package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/gateway/grammar"
)

// FuzzAnswer reads what a server says, in pieces of two sizes and with net/http.
func FuzzAnswer(f *testing.F) {
	for _, s := range answers {
		f.Add([]byte(s), false, uint8(1))
		f.Add([]byte(s), true, uint8(7))
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool, split uint8) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		all, err := hearOurs(t, data, method, 0)
		parts, errParts := hearOurs(t, data, method, int(split)+1)
		if diff := cmp.Diff(all, parts); diff != "" || (err == nil) != (errParts == nil) {
			t.Fatalf("in one piece (%v) and in pieces of %d (%v):\n%s", err, int(split)+1, errParts, diff)
		}
		if err != nil {
			return
		}
		c := newTape(data, 0)
		theirs, err := hear(&http.Transport{DialContext: c.dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 1 << 20}, method)
		if err != nil {
			if !stricter(data, err) {
				t.Fatalf("net/http refuses it: %v\n%q\n%+v", err, data, all)
			}
			return
		}
		level(all, theirs)
		if diff := cmp.Diff(theirs, all, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("-net/http +http1:\n%s", diff)
		}
	})
}

// hearOurs asks with the engine, and looks after its connection: it is closed, or
// it rests and everything that had come was part of the answer.
func hearOurs(t *testing.T, data []byte, method string, piece int) (*got, error) {
	c := newTape(data, piece)
	tr := &Transport{Dial: c.dial, MaxIdlePerHost: 1}
	g, err := hear(tr, method)
	rests := len(tr.idle.conns["server:80"])
	switch {
	case c.closed() == (rests > 0):
		t.Fatalf("closed %t, %d rest", c.closed(), rests)
	case rests > 0 && err != nil:
		t.Fatalf("the connection is used again after %v", err)
	}
	tr.CloseIdleConnections()
	if more := newTape(slices.Concat(data, []byte("!")), 0); rests > 0 && piece == 0 && len(data) < readSize {
		tr.Dial = more.dial
		if _, _ = hear(tr, method); !more.closed() {
			t.Fatal("the connection is used again with something behind the answer")
		}
	}
	if !c.closed() {
		t.Fatal("the connection was forgotten")
	}
	return g, err
}

// aroundSemicolon is optional space that RFC 9112 section 7.1.1 allows.
var aroundSemicolon = regexp.MustCompile(`(?m)^[0-9a-fA-F]+[ \t]+;`)

// stricter says whether net/http refuses what the engine takes on purpose.
func stricter(data []byte, err error) bool {
	switch err.Error() {
	case "invalid byte in chunk length":
		return aroundSemicolon.Match(data)
	case "http: suspiciously long trailer after chunked body":
		return len(data) > 4<<10 // the size of its buffer
	}
	return false
}

// level takes away what the two do differently on purpose.
func level(ours, theirs *got) {
	// net/http makes a Cache-Control of Pragma; who passes answers on does not.
	if p := ours.Header["Pragma"]; len(p) > 0 && p[0] == "no-cache" && ours.Header["Cache-Control"] == nil {
		delete(theirs.Header, "Cache-Control")
	}
	// net/http takes Connection away where it says close; Close says so, too.
	if ours.Close && theirs.Header["Connection"] == nil {
		delete(ours.Header, "Connection")
	}
	// net/http names the coding even where no body comes.
	if ours.Coding == nil && len(theirs.Body) == 0 {
		theirs.Coding = nil
	}
	// The length of a tunnel means nothing.
	if ours.Code == http.StatusSwitchingProtocols {
		theirs.Length = 0
	}
	// Fields that frame do not count among trailers (RFC 9110 section 6.5.1).
	for _, fields := range []http.Header{theirs.Header, theirs.Trailer} {
		for _, values := range fields {
			for i := range values { // net/http leaves the space of a line that goes on with nothing
				values[i] = grammar.Trim(values[i])
			}
		}
	}
	maps.DeleteFunc(theirs.Trailer, func(name string, _ []string) bool { return isFraming(name) })
}

// answers are seeds: each form of an answer, and what has broken readers before.
var answers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: 1\r\nC: 2\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 ; a\r\nhello\r\n00\r\nContent-Length: 9\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
	"HTTP/1.1 200\r\nA: b\n c\r\n\td\r\nPragma: no-cache\r\n\n",
	"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 100 Continue\r\nContent-Length: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nTrailer: Date\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTrailer: ,A,, \r\nContent-Length: 1\r\n\r\nx",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello",
	"HTTP/1.1 101 Switching Protocols\r\nContent-Length: 2\r\n\r\nhello",
	"HTTP/1.1 200\nTransfer-Encoding: Chunked\n\n0\r\n0:\n\n", "HTTP/1.1 200\nTransfer-Encoding: Chunked\n\n0\r\n0:\n\r\n",
	"HTTP/1.0 101 \nConnection:Upgrade\n\n0", "HTTP/1.1 101 \nConnection:Upgrade\n\n0",
	"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 \r\nContent-Length:\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
	"HTTP/2.0 200 OK\r\n\r\n",
}

// FuzzRequest writes a request, which is either refused or read back by net/http as
// it was.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/a?b=c", "example.org", "X-A", "b", []byte(nil), false, "", "")
	f.Add("POST", "/a b%2f\r\n", "example.org:80", "content-length", "3", []byte("hello"), true, "X-T", "v")
	f.Add("PUT", "/", "[fe80::1%25eth0]", "Transfer-Encoding", "chunked", []byte("hello"), false, "X-T", "v")
	f.Add("OPTIONS", "*", "a b", "Host", "other", []byte("x"), true, "Content-Length", "3")
	f.Add("G T", "//x", "", "A:", "b\r\nC: d", []byte(""), true, "A", "b\nc")
	f.Add("0", "*", "0", "0", "0", []byte("0"), true, "0", "\x02")
	f.Add("", "x", "h", "Expect", "100-continue", []byte("0\r\n\r\n"), true, "a", " b ")
	f.Fuzz(func(t *testing.T, method, target, host, name, value string, body []byte, chunked bool, trailer, trailed string) {
		path, query, _ := strings.Cut(target, "?")
		c := newTape([]byte("HTTP/1.1 204 No Content\r\n\r\n"), 0)
		req := &http.Request{
			Method: method, Host: host, Header: http.Header{name: {value}},
			URL: &url.URL{Scheme: "http", Host: "server", Path: path, RawQuery: query},
		}
		closed := 0
		if len(body) > 0 || chunked {
			open := c.open
			c.open = func() {} // the server answers when it has got all
			req.Body = &watchedBody{bytes.NewReader(body), func() { closed++; open() }}
			if req.ContentLength = int64(len(body)); chunked {
				req.ContentLength, req.Trailer = lengthUnknown, http.Header{}
				if trailer != "" {
					req.Trailer[trailer] = []string{trailed}
				}
			}
		}
		tr := &Transport{Dial: c.dial, ContinueTimeout: time.Millisecond}
		resp, err := tr.RoundTrip(req)
		if req.Body != nil && closed != 1 {
			t.Errorf("the body was closed %d times", closed)
		}
		if err != nil {
			if _, ok := errors.AsType[*RequestError](err); !ok || c.sent.Len() > 0 {
				t.Fatalf("%v, after %q", err, &c.sent)
			}
			return
		}
		_ = resp.Body.Close()
		checkSent(t, req, body, c.sent.Bytes())
	})
}

// watchedBody says when it is closed.
type watchedBody struct {
	io.Reader
	close func()
}

func (b *watchedBody) Close() error {
	b.close()
	return nil
}

// checkSent compares a request with what net/http reads of what was sent for it.
func checkSent(t *testing.T, req *http.Request, body, sent []byte) {
	r := bufio.NewReader(bytes.NewReader(sent))
	read, err := http.ReadRequest(r)
	if err != nil {
		t.Fatalf("%v:\n%q", err, sent)
	}
	data, err := io.ReadAll(read.Body)
	if err != nil || r.Buffered() > 0 {
		t.Fatalf("%v, %d bytes behind\n%q", err, r.Buffered(), sent)
	}
	// A trailer that cannot be sent has been announced all the same.
	maps.DeleteFunc(read.Trailer, func(_ string, values []string) bool { return values == nil })
	method, host := req.Method, req.Host
	if method == "" {
		method = http.MethodGet
	}
	if host == "" {
		host = "server"
	}
	header, trailer := asRead(req.Header), asRead(req.Trailer)
	if req.ContentLength > 0 {
		header["Content-Length"] = []string{strconv.FormatInt(req.ContentLength, 10)}
	} else if req.Body == nil && slices.Contains([]string{"POST", "PUT", "PATCH"}, method) {
		header["Content-Length"] = []string{"0"}
	}
	if p := header["Pragma"]; len(p) > 0 && p[0] == "no-cache" {
		header["Cache-Control"] = []string{"no-cache"} // net/http's own
	}
	type message struct {
		Method, Target, Host string
		Header, Trailer      http.Header
		Body                 []byte
		Length               int64
	}
	want := message{method, req.URL.RequestURI(), withoutZone(host), header, trailer, body, req.ContentLength}
	have := message{read.Method, read.RequestURI, read.Host, read.Header, read.Trailer, data, read.ContentLength}
	if diff := cmp.Diff(want, have, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("-meant +read:\n%s%q", diff, sent)
	}
}

// asRead is what a reader makes of fields, without those that are not sent.
func asRead(fields http.Header) http.Header {
	out := make(http.Header)
	for name, values := range fields {
		for _, value := range values {
			if isFraming(name) || strings.EqualFold(name, "Host") || value == "" && name == "User-Agent" || !grammar.IsValue(value) {
				continue
			}
			name := textproto.CanonicalMIMEHeaderKey(name)
			out[name] = append(out[name], textproto.TrimString(value))
		}
	}
	return out
}

// FuzzChunks reads a body in chunks that are cut, adorned and followed as the fuzzer
// likes. What is valid must be read, and what is read must be the body.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("hello, world"), []byte{1, 5, 2}, "", "", "", uint8(0))
	f.Add([]byte("hello, world"), []byte{12}, ";a=b", "X-A", "b", uint8(1))
	f.Add([]byte("hello, world"), []byte{3, 3}, " ; a=\"b\"", "Content-Length", "3", uint8(3))
	f.Add([]byte("hello, world"), []byte{3, 3}, ";\n", "A", "b\r\n\r\nHTTP/1.1 200 OK", uint8(3))
	f.Add([]byte("0"), []byte("0"), " ", "0", "0\r\n ", uint8(3))
	f.Add(bytes.Repeat([]byte("x"), 300), []byte{0x1f, 255, 1}, ";a", "a", "", uint8(200))
	f.Fuzz(func(t *testing.T, body, cuts []byte, extension, name, value string, size uint8) {
		var b bytes.Buffer
		b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		rest := body
		for _, cut := range append(slices.Clone(cuts), 255) {
			for n := min(len(rest), int(cut)); n > 0; n = min(len(rest), int(cut)) * int(cut/255) {
				b.WriteString(strconv.FormatInt(int64(n), 16) + extension + "\r\n")
				b.Write(rest[:n])
				b.WriteString("\r\n")
				rest = rest[n:]
			}
		}
		b.WriteString("0" + extension + "\r\n")
		if name != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
		b.WriteString("\r\n")
		ours, err := readChunks(&Transport{Dial: newTape(b.Bytes(), int(size)).dial}, int(size)%64+1)
		plain := extension == "" || len(extension) < 16 && extension[0] == ';' && grammar.IsToken(extension[1:])
		if err != nil {
			if plain && (name == "" || grammar.IsToken(name) && grammar.IsValue(value)) {
				t.Fatalf("%v: %q", err, &b)
			}
			return
		}
		if bytes.HasPrefix(body, ours.Body) && len(ours.Body) < len(body) && plain {
			t.Fatalf("%q is not all of %q", ours.Body, body)
		}
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b.Bytes())), nil)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := io.ReadAll(resp.Body)
		if err != nil {
			if !stricter(b.Bytes(), err) {
				t.Fatalf("net/http refuses it: %v\n%q", err, &b)
			}
			return
		}
		maps.DeleteFunc(resp.Trailer, func(name string, _ []string) bool { return isFraming(name) })
		for _, values := range resp.Trailer {
			for i := range values { // net/http leaves the space of a line that goes on with nothing
				values[i] = grammar.Trim(values[i])
			}
		}
		if diff := cmp.Diff(got{Body: theirs, Trailer: resp.Trailer}, *ours, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("-net/http +http1:\n%s%q", diff, &b)
		}
	})
}
