package http1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/gateway/grammar"
)

// understood is what a server makes of a request.
type understood struct {
	Method, Target, Host, Proto, URL string
	Header, Trailer                  http.Header
	Length                           int64
	Coding                           []string
	Close                            bool
	Body                             string
	Whole                            bool // the body came to its end
}

func understand(r *http.Request) understood {
	fields := []any{r.URL.Scheme, r.URL.Opaque, r.URL.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.ForceQuery, r.URL.OmitHost}
	u := understood{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Proto: r.Proto, URL: fmt.Sprintf("%s %v", r.URL, fields),
		Header: r.Header, Length: r.ContentLength, Coding: r.TransferEncoding, Close: r.Close,
	}
	body, err := io.ReadAll(r.Body)
	u.Body, u.Whole, u.Trailer = string(body), err == nil, r.Trailer
	return u
}

// conversation is what a server understood of all that a client said.
type conversation struct {
	Requests []understood
	Refused  []ClientError
}

// converse has the engine read data in pieces of a size.
func converse(t *testing.T, data []byte, piece int) (v conversation, c *script) {
	s := &Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u := understand(r)
			v.Requests = append(v.Requests, u)
			_, _ = fmt.Fprintf(w, "%d", len(u.Body))
		}),
		Refuse: func(w http.ResponseWriter, _ *http.Request, err *ClientError) {
			v.Refused = append(v.Refused, *err)
			w.WriteHeader(err.Status)
		},
		HTTP2:    nil,
		Panicked: func(_ *http.Request, value any, stack []byte) { t.Errorf("%v\n%s", value, stack) },
	}
	return v, play(t, s, string(data), piece)
}

// FuzzServer reads what a client says, in pieces of two sizes and with net/http:
// whatever the engine takes for a request is one to net/http, with the same meaning.
func FuzzServer(f *testing.F) {
	for _, s := range requests {
		f.Add([]byte(s), uint8(0))
		f.Add([]byte(hello+s+farther), uint8(6))
	}
	f.Fuzz(func(t *testing.T, data []byte, split uint8) {
		all, c := converse(t, data, 0)
		parts, _ := converse(t, data, int(split)+1)
		for _, v := range []*conversation{&all, &parts} {
			clear(v.Refused) // which of several mistakes is seen first depends on the pieces
		}
		if diff := cmp.Diff(all, parts); diff != "" {
			t.Fatalf("-in one piece +in pieces of %d:\n%s%q", int(split)+1, diff, data)
		}
		checkAnswers(t, &all, c.got.Bytes())
		in := bufio.NewReader(bytes.NewReader(data))
		for i := range all.Requests {
			ours := &all.Requests[i]
			if b, _ := in.Peek(2); string(b) == "\r\n" {
				_, _ = in.Discard(2) // RFC 9112 section 2.2: one empty line goes for nothing
			}
			req, err := http.ReadRequest(in)
			if err != nil {
				t.Fatalf("request %d: net/http refuses it: %v\n%q\n%+v", i, err, data, ours)
			}
			theirs := understand(req)
			switch {
			case !ours.Whole && i < len(all.Requests)-1:
				t.Fatalf("request %d: there is another one behind half a body\n%q", i, data)
			case ours.Whole == theirs.Whole:
			case !laxerBody(data, ours):
				t.Fatalf("request %d: the body is whole: %t, to net/http: %t\n%q", i, ours.Whole, theirs.Whole, data)
			default:
				return // net/http does not know where the next one begins
			}
			levelRequests(ours, &theirs)
			if diff := cmp.Diff(theirs, *ours, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("request %d: -net/http +http1:\n%s%q", i, diff, data)
			}
		}
	})
}

// checkAnswers compares what a client hears with what there was to answer.
func checkAnswers(t *testing.T, v *conversation, got []byte) {
	in, answers := bufio.NewReader(bytes.NewReader(got)), 0
	for _, u := range v.Requests {
		if listenToAll(t, in, u.Method) != fmt.Sprint(len(u.Body)) && u.Method != http.MethodHead {
			t.Fatalf("answer %d of %q", answers, got)
		}
		answers++
	}
	for range v.Refused {
		if listenToAll(t, in, http.MethodGet) != "" {
			t.Fatalf("refusal %d of %q", answers, got)
		}
	}
	if rest, _ := io.ReadAll(in); len(rest) > 0 || len(v.Refused) > 1 {
		t.Fatalf("%q behind the answers, %d were refused", rest, len(v.Refused))
	}
}

// listenToAll reads an answer and the interim ones before it.
func listenToAll(t *testing.T, in *bufio.Reader, method string) string {
	for {
		if r := listenTo(t, in, method); r.StatusCode >= 200 {
			return r.Text
		}
	}
}

// laxerBody says whether the engine takes chunks that net/http refuses, or the other
// way round, on purpose.
func laxerBody(data []byte, ours *understood) bool {
	if len(ours.Coding) == 0 {
		return false
	}
	// net/http takes lines of chunks and trailers that end in LF, and names of
	// trailers that are no tokens; its trailers must fit into its buffer.
	return !ours.Whole || aroundSemicolon.Match(data) || len(data) > 4<<10
}

// levelRequests takes away what the two do differently on purpose.
func levelRequests(ours, theirs *understood) {
	if len(ours.Coding) > 0 && !ours.Whole { // how far they came is no part of the meaning
		ours.Body, theirs.Body, ours.Trailer, theirs.Trailer = "", "", nil, nil
	}
	// net/http makes a Cache-Control of Pragma; who passes requests on does not.
	if p := ours.Header["Pragma"]; len(p) > 0 && p[0] == "no-cache" && ours.Header["Cache-Control"] == nil {
		delete(theirs.Header, "Cache-Control")
	}
	for _, values := range theirs.Trailer {
		for i := range values { // net/http leaves the space of a line that goes on with nothing
			values[i] = grammar.Trim(values[i])
		}
	}
	// Fields that frame do not count among trailers (RFC 9110 section 6.5.1).
	maps.DeleteFunc(theirs.Trailer, func(name string, _ []string) bool { return isFraming(name) })
}

// requests are seeds: each form of a request, and what has broken readers before.
var requests = []string{
	hello, farther, hello + hello, "\r\n" + hello, "\r\n\r\n" + hello,
	"GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET / HTTP/1.7\r\nHost: a\r\nPragma: no-cache\r\n\r\n",
	"HEAD /a?b#c HTTP/1.1\r\nHost: a:1\r\nConnection: a, close\r\n\r\n",
	"GET http://u:p@b/c HTTP/1.1\r\nHost: a\r\n\r\n", "GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", "GET a:b HTTP/1.1\r\nHost: a\r\n\r\n", "GET //a/b HTTP/1.1\r\nHost:\r\n\r\n",
	"CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT /a HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT a@b:1 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT http://a HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: A, B\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: 1\r\nC: 2\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 ; a\r\nhello\r\n00\r\nContent-Length: 9\r\nA: b\r\n c\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200\r\nTrailer: A\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\nA: b\nC: d\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1%25x]\r\n\r\n", preface, "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
}

// FuzzResponse has a handler follow a script, whose answer must be exactly one, with
// the body that was written, and the next one behind it; or the connection ends.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("s200 w5 f w7"), false, false, false)
	f.Add([]byte("l12 w5 f w7"), true, false, true)
	f.Add([]byte("l12 w5 f w8 w6"), false, false, true)
	f.Add([]byte("l3 w9"), false, false, false)
	f.Add([]byte("s304 l3 w9"), false, false, false)
	f.Add([]byte("s204 w9 f"), false, false, false)
	f.Add([]byte("i103 i100 t1 W9 r9 T2 f"), false, false, true)
	f.Add([]byte("w999 W99 r99 w0 f f t1 h90"), false, true, false)
	f.Add([]byte("f W16 a"), false, true, false)
	f.Add([]byte("h200 c w1"), false, true, true)
	f.Add([]byte("s100 s101 s999"), false, false, false)
	f.Fuzz(func(t *testing.T, steps []byte, head, old, stays bool) {
		first := "POST"
		if head {
			first = "HEAD"
		}
		version := map[bool]string{true: "1.0", false: "1.1"}[old]
		connection := map[bool]string{true: "keep-alive", false: "te"}[stays]
		var a *acted
		s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/farther" {
				_, _ = io.WriteString(w, "farther")
				return
			}
			a = &acted{w: w, status: 200, head: head, old: old}
			a.follow(steps)
		})}
		c := play(t, s, first+" / HTTP/"+version+"\r\nHost: a\r\nConnection: "+connection+"\r\nContent-Length: 5\r\n\r\nhello"+farther, 0)
		a.check(t, first, c.got.Bytes())
	})
}

// checkBody compares the body that came with the one that was written.
func (a *acted) checkBody(t *testing.T, resp *http.Response, got []byte) (whole bool) {
	body, err := io.ReadAll(resp.Body)
	want := a.body
	if a.head || resp.StatusCode == 101 || resp.StatusCode == 204 || resp.StatusCode == 304 {
		want = nil
	}
	switch {
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		t.Fatalf("%v: %q", err, got)
	case err != nil && !a.broken():
		t.Fatalf("the body is cut: %q", got)
	case err == nil && a.broken() && !a.silent(resp):
		t.Fatalf("a broken answer is whole: %q", got)
	case err == nil && !bytes.Equal(body, want) && !a.broken(), !bytes.HasPrefix(want, body):
		t.Fatalf("the body is %d bytes %.50q, want %d %.50q", len(body), body, len(want), want)
	}
	if err == nil && len(resp.TransferEncoding) > 0 && !a.head && !slices.Equal(resp.Trailer["Late"], a.late) {
		t.Fatalf("trailer %q, want %q: %q", resp.Trailer["Late"], a.late, got)
	}
	return err == nil
}

// silent says whether a client cannot see that an answer was broken off.
func (a *acted) silent(resp *http.Response) bool {
	return a.head || resp.StatusCode == 204 || resp.StatusCode == 304 || resp.StatusCode == 101 || a.old && resp.ContentLength < 0 ||
		resp.ContentLength == int64(len(a.body)) && strings.Contains(a.done, "a")
}
