package canon

import (
	"crypto/tls"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// seen is what is left of a target for policy and upstream.
type seen struct{ Host, Path, RawPath, Query, URI string }

func TestTarget(t *testing.T) {
	f := func(row, line, host string, want seen) {
		t.Helper()
		t.Run(row, func(t *testing.T) {
			r := read(t, line, "Host: "+host)
			if code := refusal(t, NewPolicy(Options{AllowEncoded: AnyEncoded}), r); code != 0 {
				t.Fatalf("refused with %d", code)
			}
			got := seen{r.Host, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.RequestURI}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if r.URL.Scheme != "" || r.URL.Host != "" || r.URL.User != nil || r.URL.Opaque != "" {
				t.Errorf("more than a path is left: %#v", r.URL)
			}
		})
	}
	f("plain", "GET /a?b HTTP/1.1", "a.example", seen{"a.example", "/a", "", "b", "/a?b"})
	f("P09", "GET //evil/x HTTP/1.1", "a.example", seen{"a.example", "/evil/x", "", "", "/evil/x"})
	f("P12", "GET /%41dmin HTTP/1.1", "a.example", seen{"a.example", "/Admin", "", "", "/Admin"})
	f("P15", "GET /a%2fb(%28 HTTP/1.1", "a.example", seen{"a.example", "/a/b((", "/a%2Fb(%28", "", "/a%2Fb(%28"})
	f("P17", "GET /a?x=/public/../.. HTTP/1.1", "a.example", seen{"a.example", "/a", "", "x=/public/../..", "/a?x=/public/../.."})
	f("P18", "GET //evil.com/x%20.. HTTP/1.1", "a.example", seen{"a.example", "/evil.com/x ..", "", "", "/evil.com/x%20.."})
	f("T10", "GET / HTTP/1.1", "a.example.", seen{"a.example", "/", "", "", "/"})
	f("T11", "GET / HTTP/1.1", "A.Example:80", seen{"a.example", "/", "", "", "/"})
	f("T12", "GET http://B.example/x?y HTTP/1.1", "a.example", seen{"b.example", "/x", "", "y", "/x?y"})
	f("T12 no path", "GET http://b.example HTTP/1.1", "b.example", seen{"b.example", "/", "", "", "/"})
	f("T12 query without path", "GET http://b.example?x HTTP/1.1", "b.example", seen{"b.example", "/", "", "x", "/?x"})
	f("T23", "GET /\xc3\xa9?\xe9 HTTP/1.1", "a.example", seen{"a.example", "/é", "", "%E9", "/%C3%A9?%E9"})
	f("sub-delimiters", "GET /a!(b) HTTP/1.1", "a.example", seen{"a.example", "/a!(b)", "/a!(b)", "", "/a!(b)"})
	f("encoded sub-delimiters", "GET /a%28b HTTP/1.1", "a.example", seen{"a.example", "/a(b", "", "", "/a%28b"})
}

func TestRefusedTargets(t *testing.T) {
	f := func(row, line string, want int) {
		t.Run(row, func(t *testing.T) {
			if got := refusal(t, NewPolicy(Options{}), read(t, line)); got != want {
				t.Errorf("%q: status %d; want %d", line, got, want)
			}
		})
	}
	f("P01", "GET /pub/../admin HTTP/1.1", 400)
	f("P02", "GET /pub/%2e%2e/admin HTTP/1.1", 400)
	f("P03", "GET /pub%2f..%2fadmin HTTP/1.1", 400)
	f("P04", `GET /pub\admin HTTP/1.1`, 400)
	f("P05", "GET /admin%00 HTTP/1.1", 400)
	f("P06", "GET /admin;x/ HTTP/1.1", 400)
	f("P07", "GET /a%3fb HTTP/1.1", 400)
	f("P08", "GET /%252e%252e/ HTTP/1.1", 400)
	f("P10", "GET /%c0%ae%c0%ae/ HTTP/1.1", 400)
	f("P19", "GET /?a;b HTTP/1.1", 400)
	f("P19 escape", "GET /?a=%zz HTTP/1.1", 400)
	f("T05", "PRI * HTTP/1.1", 400)
	f("T13 ftp", "GET ftp://example.com/ HTTP/1.1", 400)
	f("T13 file", "GET file:///etc/passwd HTTP/1.1", 400)
	f("T13 opaque", "GET http:example.com HTTP/1.1", 400)
	f("T13 no authority", "GET http:/x HTTP/1.1", 400)
	f("T14", "GET http://user@example.com/ HTTP/1.1", 400)
	f("T14 empty user", "GET http://@example.com/ HTTP/1.1", 400)
	f("T15", "GET * HTTP/1.1", 400)
	f("T16", "OPTIONS * HTTP/1.1", 405)
	f("T16 absolute", "OPTIONS http://example.com HTTP/1.1", 405)
	f("T17", "CONNECT example.com:443 HTTP/1.1", 405)
	f("T17 path", "CONNECT /x HTTP/1.1", 405)
	f("T18", "TRACE / HTTP/1.1", 405)
	f("T18 track", "TRACK / HTTP/1.1", 405)
	f("T19 lower case is another method", "get / HTTP/1.1", 405)
	f("T19 long", strings.Repeat("A", 33)+" / HTTP/1.1", 400)
	f("T19 WebDAV", "VERSION-CONTROL / HTTP/1.1", 0)
	f("T21", "GET /a#b HTTP/1.1", 400)
	f("T21 query", "GET /a?b#c HTTP/1.1", 400)
	f("T25", "GET /"+strings.Repeat("a", 8<<10)+" HTTP/1.1", 414)
	f("T25 fits", "GET /"+strings.Repeat("a", 8<<10-1)+" HTTP/1.1", 0)
	f("T25 query", "GET /?"+strings.Repeat("a", 8<<10)+" HTTP/1.1", 414)
	f("T07", "GET / HTTP/1.0", 400)
}

func TestMethodsAllow(t *testing.T) {
	r := read(t, "TRACE / HTTP/1.1")
	if code := refusal(t, NewPolicy(Options{AllowTrace: true}), r); code != 0 {
		t.Errorf("T18: TRACE refused with %d although a route names it", code)
	}
	_, err := NewPolicy(Options{AllowTrace: true}).Request(read(t, "CONNECT a:443 HTTP/1.1"), &gateway.Exchange{})
	if e := gateway.AsError(err); e.Status != 405 || e.Allow == "" {
		t.Errorf("T17: got %+v", e)
	}
	for _, method := range []string{"", "G T", "G\x00T", "G\u00e9T"} {
		r := read(t, "GET / HTTP/1.1")
		r.Method = method
		if code := refusal(t, NewPolicy(Options{}), r); code != 400 {
			t.Errorf("T19: method %q: status %d", method, code)
		}
	}
}

// TestHTTP2Targets covers what HTTP/2 lets through to a handler.
func TestHTTP2Targets(t *testing.T) {
	f := func(row, authority, path string, hosts []string, want int) {
		t.Run(row, func(t *testing.T) {
			r := read(t, "GET / HTTP/1.1")
			u, err := url.ParseRequestURI(path)
			if err != nil {
				t.Fatal(err)
			}
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
			r.Host, r.URL, r.RequestURI, r.TLS = authority, u, path, &tls.ConnectionState{}
			if hosts != nil {
				r.Header["Host"] = hosts
			}
			if got := refusal(t, NewPolicy(Options{}), r); got != want {
				t.Errorf("status %d; want %d", got, want)
			}
			if r.Header["Host"] != nil && want == 0 {
				t.Error("a Host field is left")
			}
		})
	}
	f("plain", "a.example", "/", nil, 0)
	f("H214 space", "a b", "/", nil, 400)
	f("H214 slash", "a/b", "/", nil, 400)
	f("H214 comma", "a,b", "/", nil, 400)
	f("H215", "a.example", "/", []string{"b.example"}, 400)
	f("H215 same", "a.example", "/", []string{"A.example"}, 0)
	f("H216", "a.example", "/", []string{"a.example", "a.example"}, 400)
	f("H216 neither", "", "/", nil, 400)
	f("H217", "a.example", "http://evil/x", nil, 400)
	f("H217 same host", "a.example", "http://a.example/x", nil, 400)
	f("H218", "a.example", "*", nil, 400)
	f("H218 number sign", "a.example", "/a#b", nil, 400)
	f("H212 space", "a.example", "/ HTTP/1.1", nil, 400)
}

// TestHTTP2Length has lengths of which net/http makes zero without a word.
func TestHTTP2Length(t *testing.T) {
	f := func(value string, length int64, want int) {
		t.Run("H222 "+value, func(t *testing.T) {
			r := read(t, "POST / HTTP/1.1")
			r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
			r.Header["Content-Length"], r.ContentLength = []string{value}, length
			if got := refusal(t, NewPolicy(Options{}), r); got != want {
				t.Errorf("status %d; want %d", got, want)
			}
		})
	}
	f("3", 3, 0)
	f("0", 0, 0)
	f("03", 3, 0)
	f("+3", 0, 400)
	f("3, 3", 0, 400)
	f("", 0, 400)
	f("99999999999999999999", 0, 400)
}

// TestSyntheticRequests are requests that no server has parsed, as `explain`
// makes them.
func TestSyntheticRequests(t *testing.T) {
	f := func(name string, u url.URL, want int) {
		t.Run(name, func(t *testing.T) {
			r := read(t, "GET / HTTP/1.1")
			r.URL, r.RequestURI, r.RemoteAddr = &u, "", ""
			if got := refusal(t, NewPolicy(Options{}), r); got != want {
				t.Errorf("status %d; want %d", got, want)
			}
		})
	}
	f("path", url.URL{Path: "/a b"}, 0)
	f("host", url.URL{Scheme: "http", Host: "example.com", Path: "/"}, 0)
	f("T12", url.URL{Scheme: "http", Host: "other.example", Path: "/"}, 400)
	f("T25", url.URL{Path: "/" + strings.Repeat("a", 8<<10)}, 414)
	f("fragment", url.URL{Path: "/", Fragment: "a"}, 400)
	f("no path", url.URL{}, 400)
	f("P15", url.URL{Path: "/a", RawPath: "/../b"}, 400)
}

func TestRequestReportsEncodings(t *testing.T) {
	p := NewPolicy(Options{AllowEncoded: Slash | Percent})
	for line, want := range map[string]Encoded{
		"GET /a HTTP/1.1": 0, "GET /a%2fb HTTP/1.1": Slash, "GET /100%25 HTTP/1.1": Percent, "GET /%20 HTTP/1.1": 0,
	} {
		if used, err := p.Request(read(t, line), &gateway.Exchange{}); used != want || err != nil {
			t.Errorf("%s: used %b, %v; want %b", line, used, err, want)
		}
	}
}
