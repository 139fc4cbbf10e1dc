package canon

import (
	"bufio"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pithead/pithead/gateway"
)

// checkPath holds a canonical path against an independent reader, net/url.
func checkPath(t *testing.T, path string, allow Encoded) {
	t.Helper()
	decoded, err := url.PathUnescape(path)
	if err != nil {
		t.Fatalf("%q cannot be decoded: %v", path, err)
	}
	if !strings.HasPrefix(decoded, "/") || strings.Contains(decoded, "//") || strings.ContainsAny(decoded, "\\\x00?#\r\n") || !utf8.ValidString(decoded) {
		t.Errorf("%q decodes to %q", path, decoded)
	}
	if segments := strings.Split(decoded, "/"); slices.Contains(segments, "..") || slices.Contains(segments, ".") {
		t.Errorf("%q holds a dot segment", decoded)
	}
	if allow == 0 && strings.ContainsAny(decoded, "%;") {
		t.Errorf("%q decodes to %q, of which nothing was allowed", path, decoded)
	}
	parsed, err := url.ParseRequestURI(path)
	if err != nil {
		t.Fatalf("net/url refuses %q: %v", path, err)
	}
	u := &url.URL{}
	if SetPath(u, path); u.Path != parsed.Path || u.RawPath != parsed.RawPath || u.EscapedPath() != path || u.RequestURI() != path {
		t.Errorf("%q: SetPath made %q %q, net/url %q %q", path, u.Path, u.RawPath, parsed.Path, parsed.RawPath)
	}
}

func FuzzPath(f *testing.F) {
	for _, mutate := range mutators {
		f.Add(mutate("/admin/x"), uint8(0))
		f.Add(mutate("/a%2fdmin"), uint8(AnyEncoded))
	}
	f.Fuzz(func(t *testing.T, in string, allowed uint8) {
		allow := Encoded(allowed) & AnyEncoded
		path, used, err := Path(in, allow)
		if status(t, err) != 0 {
			return
		}
		checkPath(t, path, allow)
		again, usedAgain, err := Path(path, allow)
		if err != nil || again != path || usedAgain != used || used&^allow != 0 {
			t.Errorf("not a fixpoint: %q became %q, then %q, %v", in, path, again, err)
		}
		if err := Rewrite(&url.URL{Path: "/x", RawPath: ""}, path); (err == nil) != (used == 0) {
			t.Errorf("Rewrite to %q: %v", path, err)
		}
	})
}

func FuzzHost(f *testing.F) {
	for _, host := range []string{"a", "A.b.:80", "[::1]:80", "[::1%25a]", "a..b", "a:0", "192.0.2.1", "xn--a", "a,b", "a@b"} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, port, err := Host(in)
		if status(t, err) != 0 {
			return
		}
		for _, scheme := range []string{"http", "https"} {
			joined := joinHost(in, name, port, scheme)
			again, portAgain, err := Host(joined)
			if err != nil || again != name || joined != joinHost(joined, again, portAgain, scheme) {
				t.Errorf("not a fixpoint: %q became %q, then %q, %v", in, joined, again, err)
			}
			u, err := url.Parse(scheme + "://" + joined + "/")
			if err != nil || u.Hostname() != strings.Trim(name, "[]") || u.Port() != portAgain || u.User != nil || u.Path != "/" {
				t.Errorf("net/url reads %q as %+v, %v", joined, u, err)
			}
		}
		if name != strings.ToLower(name) || strings.HasSuffix(name, ".") || strings.ContainsAny(name, " /\\@#?,%") {
			t.Errorf("%q became %q", in, name)
		}
	})
}

// FuzzRequest holds whatever net/http parses against the promises of the
// package comment.
func FuzzRequest(f *testing.F) {
	f.Add("GET /%41//b?c HTTP/1.1\r\nHost: A.example.\r\nX_Forwarded_For: 1\r\n\r\n", false)
	f.Add("GET http://a/b HTTP/1.1\r\nHost: b\r\nX-Forwarded-For: 8.8.8.8, 1.1.1.1, 10.0.0.1\r\n\r\n", true)
	f.Add("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close, X-A, upgrade\r\nUpgrade: h2c, b\r\nX-A: b\r\nContent-Length: 0\r\n\r\n", false)
	f.Add("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-B\r\nTE: gzip, trailers\r\nCookie: a\r\nCookie: b\r\n\r\n0\r\n\r\n", false)
	f.Add("OPTIONS * HTTP/1.0\r\nExpect: 100-continue\r\nX-User-Id: 1\r\nx.tenant: 1\r\n\r\n", true)
	plain, trusting := headerOptions, headerOptions
	trusting.Trusted = trustPeer
	policies := map[bool]*Policy{false: NewPolicy(plain), true: NewPolicy(trusting)}
	f.Fuzz(func(t *testing.T, raw string, trusted bool) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		p, x := policies[trusted], &gateway.Exchange{}
		_, err = p.Request(r, x)
		if !x.Client.IsValid() || x.Scheme == "" || x.Trusted != trusted {
			t.Errorf("the client is not known: %+v", x)
		}
		if status(t, err) != 0 {
			return
		}
		checkRequest(t, r, trusted)
		before := r.Clone(t.Context())
		if _, err := p.Request(r, x); err != nil || r.Host != before.Host || *r.URL != *before.URL || r.RequestURI != before.RequestURI {
			t.Errorf("not a fixpoint: %+v, %v", r, err)
		}
	})
}

func checkRequest(t *testing.T, r *http.Request, trusted bool) {
	t.Helper()
	checkPath(t, r.URL.EscapedPath(), 0)
	if r.URL.Scheme+r.URL.Host+r.URL.Opaque+r.URL.Fragment != "" || r.URL.User != nil || r.RequestURI != r.URL.RequestURI() {
		t.Errorf("target %q is left as %#v", r.RequestURI, r.URL)
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		t.Errorf("the query cannot be parsed: %v", err)
	}
	for name, values := range r.Header {
		if name != http.CanonicalHeaderKey(name) || len(values) == 0 {
			t.Errorf("%q is left", name)
		}
		if name == "X_tenant" || name == "My.header" {
			continue
		}
		plain := strings.ToLower(name)
		if strings.ContainsAny(plain, "_.~+") || strings.HasPrefix(plain, "x-user-") || plain == "proxy" || plain == "keep-alive" {
			t.Errorf("%q is left", name)
		}
		if strings.HasPrefix(plain, "x-forwarded-") && (!trusted || plain != "x-forwarded-for" && plain != "x-forwarded-host") {
			t.Errorf("%q is left", name)
		}
	}
	if c := r.Header["Connection"]; c != nil && (c[0] != "Upgrade" || r.Header.Get("Upgrade") == "") || c == nil && r.Header["Upgrade"] != nil {
		t.Errorf("Connection %q, Upgrade %q", c, r.Header["Upgrade"])
	}
}
