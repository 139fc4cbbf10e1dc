package hostile_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a client that speaks HTTP/2 frame by frame, and encodes whatever it
// is told to.
type frames struct {
	*http2.Framer
	conn net.Conn
	next uint32
	hpack.Encoder
	block bytes.Buffer
}

// outcome is what became of a stream.
type outcome struct {
	status string
	reset  http2.ErrCode
	goAway bool
	closed bool
}

func (o outcome) String() string {
	switch {
	case o.closed:
		return "closed"
	case o.goAway:
		return "GOAWAY " + o.reset.String()
	case o.status == "":
		return "RST_STREAM " + o.reset.String()
	}
	return o.status
}

func (e *edge) dialHTTP2(tb testing.TB) *frames {
	tb.Helper()
	c := e.dial(tb)
	if e.tls != nil {
		config := e.tls.Clone()
		config.NextProtos = []string{"h2"}
		secure := tls.Client(c, config)
		if err := secure.HandshakeContext(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		if p := secure.ConnectionState().NegotiatedProtocol; p != "h2" {
			tb.Fatalf("negotiated %q", p)
		}
		c = secure
	}
	send(tb, c, http2.ClientPreface)
	f := &frames{Framer: http2.NewFramer(c, c), conn: c, next: 1}
	f.Encoder = *hpack.NewEncoder(&f.block)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.AllowIllegalWrites = true
	if err := f.WriteSettings(); err != nil {
		tb.Fatal(err)
	}
	return f
}

// open sends a head, which ends the stream unless a body follows.
func (f *frames) open(tb testing.TB, fields []string, body *string) (stream uint32) {
	tb.Helper()
	f.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		if err := f.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			tb.Fatal(err)
		}
	}
	stream = f.next
	f.next += 2
	first, rest := cutAt(f.block.Bytes(), 16<<10)
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: body == nil})
	for len(rest) > 0 && err == nil {
		first, rest = cutAt(rest, 16<<10)
		err = f.WriteContinuation(stream, len(rest) == 0, first)
	}
	if body != nil && err == nil {
		err = f.WriteData(stream, true, []byte(*body))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return stream
}

func cutAt(b []byte, n int) (first, rest []byte) { return b[:min(n, len(b))], b[min(n, len(b)):] }

// wait reads until the stream is answered or refused.
func (f *frames) wait(tb testing.TB, stream uint32) outcome {
	tb.Helper()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			if isTimeout(err) {
				tb.Fatal("no answer on the stream")
			}
			return outcome{closed: true}
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream {
				return outcome{status: frame.PseudoValue("status")}
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return outcome{reset: frame.ErrCode}
			}
		case *http2.GoAwayFrame:
			if frame.ErrCode != http2.ErrCodeNo {
				return outcome{goAway: true, reset: frame.ErrCode}
			}
		}
	}
}

// h2Row is a request in HTTP/2 and its outcome: a status, or "refused" for a
// reset or a 400.
type h2Row struct {
	name   string
	fields []string // after the usual pseudo headers, of which those given here replace
	body   *string
	raw    bool // fields are all there is
	want   string
	to     string
}

func (r *h2Row) all(scheme string) []string {
	if r.raw {
		return r.fields
	}
	all := []string{":method", "GET", ":scheme", scheme, ":path", "/", ":authority", "a.example"}
	var rest []string
	for i := 0; i < len(r.fields); i += 2 {
		replaced := false
		for j := 0; j < len(all); j += 2 {
			if all[j] == r.fields[i] {
				all[j+1], replaced = r.fields[i+1], true
			}
		}
		if !replaced {
			rest = append(rest, r.fields[i], r.fields[i+1])
		}
	}
	return append(all, rest...)
}

func h2(name, want string, fields ...string) h2Row {
	return h2Row{name: name, want: want, fields: fields}
}

// http2Rows are refused on every kind of listener.
func http2Rows(scheme string) []h2Row {
	body := "abc"
	post := func(name, want string, fields ...string) h2Row {
		return h2Row{name: name, want: want, body: &body, fields: append([]string{":method", "POST"}, fields...)}
	}
	raw := func(name string, fields ...string) h2Row {
		return h2Row{name: name, want: "refused", raw: true, fields: fields}
	}
	const refused = "refused"
	rows := []h2Row{
		{name: "plain", want: "200", to: "GET /"},
		h2("H210 upper-case name", refused, "Abc", "x"), h2("H210 CRLF in a value", refused, "a", "b\r\nc: d"),
		h2("H210 LF in a value", refused, "a", "b\nc"), h2("H210 NUL in a value", refused, "a", "b\x00c"),
		h2("H210 CRLF in a name", refused, "a\r\nb", "c"), h2("H210 colon in a name", refused, "a:b", "c"),
		h2("H210 empty name", refused, "", "a"), h2("H210 space in a name", refused, "a b", "c"),
		h2("H211 unknown pseudo header", refused, ":foo", "a"),
		raw("H211 method twice", ":method", "GET", ":method", "POST", ":scheme", scheme, ":path", "/", ":authority", "a"),
		raw("H211 path twice", ":method", "GET", ":scheme", scheme, ":path", "/", ":path", "/admin", ":authority", "a"),
		raw("H211 late pseudo header", ":method", "GET", ":scheme", scheme, ":authority", "a", "b", "c", ":path", "/"),
		raw("H211 no method", ":scheme", scheme, ":path", "/", ":authority", "a"),
		raw("H211 no path", ":method", "GET", ":scheme", scheme, ":authority", "a"),
		raw("H211 status in a request", ":method", "GET", ":scheme", scheme, ":path", "/", ":authority", "a", ":status", "200"),
		h2("H212 empty path", refused, ":path", ""), h2("H212 no slash", refused, ":path", "admin"),
		h2("H212 CRLF in the path", refused, ":path", "/ HTTP/1.1\r\nX: y\r\n\r\nGET /admin"),
		h2("H212 space in the path", refused, ":path", "/ HTTP/1.1"), h2("H212 space in the method", refused, ":method", "GET /admin"),
		h2("H212 CRLF in the method", refused, ":method", "GET\r\nX"), h2("H212 empty method", refused, ":method", ""),
		h2("H212 bad scheme", refused, ":scheme", "ftp"), h2("H212 CRLF in the scheme", refused, ":scheme", "http://a\r\nb"),
		h2("H213 CRLF in the authority", refused, ":authority", "a\r\nX: y"), h2("H213 userinfo", refused, ":authority", "user@a"),
		h2("H214 space", refused, ":authority", "a b"), h2("H214 slash", refused, ":authority", "a/b"), h2("H214 comma", refused, ":authority", "a,b"),
		h2("H214 bad port", refused, ":authority", "a:99999x"), h2("H214 empty label", refused, ":authority", "a..b"),
		h2("H215 another host", refused, "host", "b"),
		h2("H216 two hosts", refused, "host", "a.example", "host", "b"), h2("H216 the same host twice", refused, "host", "a.example", "host", "a.example"),
		raw("H216 no host at all", ":method", "GET", ":scheme", scheme, ":path", "/"),
		h2("H217 absolute path", refused, ":path", "http://evil/x"), h2("H217 own absolute path", refused, ":path", scheme+"://a.example/x"),
		h2("H218 asterisk", refused, ":path", "*"), h2("H218 number sign", refused, ":path", "/#x"), h2("H218 query", refused, ":path", "?a"),
		h2("H219 connection", refused, "connection", "close"), h2("H219 upgrade", refused, "upgrade", "websocket"),
		h2("H219 coding", refused, "transfer-encoding", "chunked"), h2("H219 TE", refused, "te", "gzip"),
		h2("H219 keep-alive", refused, "keep-alive", "a"), h2("H219 proxy-connection", refused, "proxy-connection", "a"),
		post("H220 length below the body", refused, "content-length", "2"), post("H221 length above the body", refused, "content-length", "9"),
		post("H222 two lengths", refused, "content-length", "3", "content-length", "4"), post("H222 length +3", refused, "content-length", "+3"),
		post("H222 list of lengths", refused, "content-length", "3, 3"),
		raw("H223 extended CONNECT", ":method", "CONNECT", ":protocol", "websocket", ":scheme", scheme, ":path", "/", ":authority", "a"),
		raw("T17 CONNECT", ":method", "CONNECT", ":authority", "a:443"),
		h2("T18 TRACE", "405", ":method", "TRACE"), h2("T16 OPTIONS asterisk", "405", ":method", "OPTIONS", ":path", "*"),
		h2("T25 8 KiB and a byte", "414", ":path", "/"+strings.Repeat("a", 8<<10)),
		h2("P01 dot segments", refused, ":path", "/pub/../admin"), h2("P03 encoded slash", refused, ":path", "/pub%2f..%2fadmin"),
		h2("P21 no slash", refused, ":path", "app.Admin/Delete", "content-type", "application/grpc"),
		h2("H05 alias", refused, "x_forwarded_for", "1.2.3.4"), h2("H13 authorization twice", refused, "authorization", "a", "authorization", "b"),
		h2("H07 101 fields", "431", repeated("a", "b", 101)...),
		h2("H204 101 crumbs", "431", repeated("cookie", "a=b", 101)...),
		h2("H08 24 KiB by reference", "431", repeated("a", strings.Repeat("b", 2000), 12)...),
		h2("H08 24 KiB in many fields", refused, repeated("a", strings.Repeat("b", 4<<10), 6)...),
		h2("H08 24 KiB in one field", refused, "a", strings.Repeat("b", 24<<10)),
		{name: "H204 100 crumbs", want: "200", to: "GET /", fields: repeated("cookie", "a=b", 99)},
		{name: "H09 host beside the authority", want: "200", to: "GET /", fields: []string{"host", "a.example"}},
		{name: "H11 stripped", want: "200", to: "GET /", fields: []string{"x-original-url", "/admin", "x-forwarded-for", "6.6.6.6", "proxy", "a"}},
		{name: "P09 slashes", want: "200", to: "GET /admin/x", fields: []string{":path", "//admin//x"}},
		{name: "H228 trailers", want: "200", to: "GET /", fields: []string{"te", "trailers"}},
	}
	return rows
}

func repeated(name, value string, n int) (fields []string) {
	for range n {
		fields = append(fields, name, value)
	}
	return fields
}

// Requests in HTTP/2 that have no counterpart in HTTP/1, or another one for
// another reader, are refused; the connection goes on with its other streams.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]options{
		"h2c": {listener: "protocols: [h1, h2c]"},
		"TLS": {tls: true},
	} {
		scheme := "http"
		if o.tls {
			scheme = "https"
		}
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, o)
			for _, r := range http2Rows(scheme) {
				t.Run(r.name, func(t *testing.T) { e.oneStream(t, &r, scheme) })
			}
			if n := e.failures(); n != 0 {
				t.Errorf("%d failures of the endpoint", n)
			}
			if n := e.metric(t, `request_errors_total\{cause="(upstream|network|gateway)"[^}]*\}`); n != 0 {
				t.Errorf("%v requests that somebody else than the client has broken", n)
			}
		})
	}
}

func (e *edge) oneStream(t *testing.T, r *h2Row, scheme string) {
	t.Helper()
	f := e.dialHTTP2(t)
	defer func() { _ = f.conn.Close() }()
	before := e.upstream.got.Load()
	got := f.wait(t, f.open(t, r.all(scheme), r.body))
	if r.want == "refused" && got.status != "" && got.status != "400" && got.status != "405" || r.want != "refused" && got.status != r.want {
		t.Errorf("got %s, want %s", got, r.want)
	}
	defer e.upstream.checkStrict(t)
	if r.to != "" {
		if m := e.upstream.wait(t); m.method+" "+m.target != r.to {
			t.Errorf("the upstream got %s %s", m.method, m.target)
		}
		return
	}
	if m := e.upstream.next(); m != nil {
		t.Errorf("the upstream got %s %s", m.method, m.target)
	}
	if n := e.upstream.got.Load(); n != before && r.body == nil {
		t.Errorf("the upstream got %d bytes", n-before)
	}
	if got.closed || got.goAway {
		return
	}
	if got := f.wait(t, f.open(t, (&h2Row{}).all(scheme), nil)); got.status != "200" {
		t.Errorf("the next stream got %s", got)
	}
	e.upstream.wait(t)
}

// T05: without h2c the preface of HTTP/2 is no request.
func TestPrefaceOnHTTP1(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, []row{{name: "T05", in: http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", status: 400, reason: "bad_method"}})
}

// H203 and N7: a header block of references to one large field costs the sender
// a byte for each 4 KiB that the receiver would hold. It is refused at 16 KiB, and
// what is held for it stays below four times what was sent.
func TestHeaderBomb(t *testing.T) {
	e := newEdge(t, options{listener: "protocols: [h1, h2c]"})
	const references = 1 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f := e.dialHTTP2(t)
	defer func() { _ = f.conn.Close() }()
	f.block.Reset()
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}, {"a", strings.Repeat("b", 4000)}} {
		if err := f.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	head := f.block.Bytes()
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head, EndStream: true})
	reference := bytes.Repeat([]byte{0x80 | 62}, 16<<10) // the newest entry of the dynamic table
	for sent := 0; err == nil && sent < references; sent += len(reference) {
		err = f.WriteContinuation(1, sent+len(reference) >= references, reference)
	}
	got := f.wait(t, 1) // whether it could all be sent or not
	if got.status != "431" && got.status != "" {
		t.Errorf("got %s", got)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4*references {
		t.Errorf("%d bytes are held for it", grown)
	}
	if n := e.upstream.got.Load(); n != 0 {
		t.Errorf("the upstream got %d bytes", n)
	}
}

// H201: streams that are reset as soon as they are opened end the connection, and
// no more of them run at a time than the listener allows.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{listener: "protocols: [h1, h2c], limits: {streams: 4}"})
	release := make(chan struct{})
	e.upstream.script.Store(&script{play: func(c net.Conn, _ *bufio.Reader, _ *message) {
		<-release
		_, _ = io.WriteString(c, plainAnswer)
	}})
	f := e.dialHTTP2(t)
	defer func() { _ = f.conn.Close() }()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, f.conn)
	}()
	fields, most := (&h2Row{}).all("http"), int64(0)
	for n := range 10_000 {
		f.block.Reset()
		for i := 0; i < len(fields); i += 2 {
			if err := f.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
				t.Fatal(err)
			}
		}
		id := uint32(2*n + 1)
		err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.block.Bytes(), EndHeaders: true, EndStream: true})
		if err != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
		most = max(most, e.upstreams()[0].Endpoints[0].Active)
	}
	<-ended // the gateway closes the connection, or patience is over
	close(release)
	if most > 4 {
		t.Errorf("%d requests at a time, want 4 at most", most)
	}
	if n := e.upstream.conns.Load(); n > 600 {
		t.Errorf("%d of 10000 requests reached the upstream", n)
	}
	if n := e.failures(); n != 0 {
		t.Errorf("%d failures of the endpoint", n)
	}
	e.upstream.script.Store(&script{})
	if got := e.exchange(t, get("/")); got.status != 200 {
		t.Errorf("the next request got %d", got.status)
	}
}
