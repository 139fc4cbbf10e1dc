package hostile_test

import (
	"strings"
	"testing"
)

func rawHost(host string) string { return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n" }

// The request line and the host: what is no request of ours is refused before
// anything else looks at it.
func TestTargets(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, targetRows())
}

func targetRows() []row {
	hostIs := func(want string) func(*testing.T, *message) {
		return func(t *testing.T, m *message) {
			t.Helper()
			if got := m.values("Host")[0]; got != want {
				t.Errorf("host %q upstream, want %q", got, want)
			}
		}
	}
	badHost := func(name, host string) row {
		return row{name: name, in: rawHost(host), status: 400, reason: "bad_host"}
	}
	return []row{
		{name: "T01 HTTP/0.9", in: "GET /\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T02 HTTP/1.2", in: "GET / HTTP/1.2\r\nHost: a\r\n\r\n", status: 200, open: true, to: "GET /"},
		{name: "T03 HTTP/1.10", in: "GET / HTTP/1.10\r\nHost: a\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T03 HTTP/01.1", in: "GET / HTTP/01.1\r\nHost: a\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T03 lower case", in: "GET / http/1.1\r\nHost: a\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T04 HTTP/2.0 as text", in: "GET / HTTP/2.0\r\nHost: a\r\n\r\n", status: 505, reason: "bad_version"},
		{name: "T05 preface", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 400, reason: "bad_method"},
		{name: "T05 PRI as a method", in: "PRI / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, reason: "bad_method"},
		{name: "T06 no Host", in: "GET / HTTP/1.1\r\n\r\n", status: 400, reason: "bad_host"},
		{name: "T06 empty Host", in: rawHost(""), status: 400, reason: "bad_host"},
		{name: "T07 HTTP/1.0 without Host", in: "GET / HTTP/1.0\r\n\r\n", status: 400, reason: "bad_host"},
		{name: "T08 two Hosts", in: get("/", "Host: b"), status: 400, reason: "bad_host"},
		{name: "T08 the same Host twice", in: get("/", "Host: a.example"), status: 400, reason: "bad_host"},
		{name: "T09 userinfo", in: rawHost("a@b"), status: 400, reason: "bad_host"},
		{name: "T09 slash", in: rawHost("a/b"), status: 400, reason: "bad_host"},
		{name: "T09 space", in: rawHost("a b"), status: 400, reason: "bad_host"},
		{name: "T09 number sign", in: rawHost("a#b"), status: 400, reason: "bad_host"},
		badHost("T10 comma", "a,b"),
		badHost("T10 bad port", "a:99999x"),
		badHost("T10 port too large", "a:65536"),
		badHost("T10 empty port", "a:"),
		badHost("T10 port zero", "a:0"),
		badHost("T10 open bracket", "[::1"),
		badHost("T10 zone", "[fe80::1%25eth0]"),
		badHost("T10 empty label", "a..b"),
		badHost("T10 only a dot", "."),
		badHost("T10 two dots at the end", "a.."),
		badHost("T10 percent", "a%2eb"),
		badHost("T10 long label", strings.Repeat("a", 64)+".b"),
		{name: "T10 dot at the end", in: "GET /host HTTP/1.1\r\nHost: a.example.\r\n\r\n", status: 200, open: true, to: "GET /host", route: "host", check: hostIs("a.example")},
		{name: "T10 own port", in: "GET /host HTTP/1.1\r\nHost: a.example:80\r\n\r\n", status: 200, open: true, to: "GET /host", route: "host", check: hostIs("a.example")},
		{name: "T10 IPv6", in: rawHost("[::0001]:8080"), status: 200, open: true, to: "GET /", check: hostIs("[::1]:8080")},
		{name: "T11 case", in: "GET /host HTTP/1.1\r\nHost: A.EXAMPLE\r\n\r\n", status: 200, open: true, to: "GET /host", route: "host", check: hostIs("a.example")},
		{name: "T12 absolute form", in: get("http://a.example/host"), status: 200, open: true, to: "GET /host", route: "host", check: hostIs("a.example")},
		{name: "T12 two hosts", in: "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", status: 200, open: true, to: "GET /", check: hostIs("b.example")},
		{name: "T13 ftp", in: get("ftp://a.example/"), status: 400, reason: "bad_target"},
		{name: "T13 file", in: get("file:///etc/passwd"), status: 400, reason: "bad_target"},
		{name: "T13 no host", in: get("http:///x"), status: 400, reason: "bad_target"},
		{name: "T13 opaque", in: get("http:x"), status: 400, reason: "bad_target"},
		{name: "T14 userinfo", in: get("http://user:secret@a.example/"), status: 400, reason: "bad_target"},
		{name: "T14 fragment", in: get("http://a.example/#x"), status: 400, reason: "bad_path"},
		{name: "T15 asterisk", in: get("*"), status: 400, reason: "bad_target"},
		{name: "T15 asterisk and more", in: request("OPTIONS", "*/x"), status: 400, reason: "bad_target"},
		{name: "T16 OPTIONS asterisk", in: request("OPTIONS", "*"), status: 405, reason: "method_not_allowed"},
		{name: "T17 CONNECT", in: "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", status: 405, reason: "method_not_allowed"},
		{name: "T17 CONNECT with a body", in: "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 27\r\n\r\nGET /admin HTTP/1.1\r\nX: y\r\n", status: 405, reason: "method_not_allowed"},
		{name: "T17 CONNECT with a path", in: request("CONNECT", "/admin"), status: 405, reason: "method_not_allowed"},
		{name: "T18 TRACE", in: request("TRACE", "/"), status: 405, reason: "method_not_allowed"},
		{name: "T18 TRACK", in: request("TRACK", "/"), status: 405, reason: "method_not_allowed"},
		{name: "T19 no token", in: request("G@T(", "/"), status: 400, reason: "bad_request_line"},
		{name: "T19 lower case", in: request("get", "/"), status: 405, reason: "method_not_allowed"},
		{name: "T19 33 bytes", in: request(strings.Repeat("A", 33), "/"), status: 400, reason: "bad_method"},
		{name: "T19 64 KiB", in: request(strings.Repeat("A", 64<<10), "/"), status: 431, reason: "head_too_large"},
		{name: "T20 two spaces", in: "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T20 tab", in: "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", status: 400, reason: "bad_request_line"},
		{name: "T20 space in the target", in: get("/a b"), status: 400, reason: "bad_request_line"},
		{name: "T20 no slash", in: get("admin"), status: 400, reason: "bad_target"},
		{name: "T20 only a query", in: get("?a"), status: 400, reason: "bad_target"},
		{name: "T21 fragment", in: get("/admin#x"), status: 400, reason: "bad_path"},
		{name: "T21 fragment of a query", in: get("/admin?a#x"), status: 400, reason: "bad_query"},
		{name: "T22 NUL", in: get("/a\x00b"), status: 400, reason: "bad_request_line"},
		{name: "T22 0x01", in: get("/a\x01b"), status: 400, reason: "bad_request_line"},
		{name: "T22 DEL", in: get("/a\x7fb"), status: 400, reason: "bad_request_line"},
		{name: "T22 control character in the query", in: get("/a?b\x01"), status: 400, reason: "bad_request_line"},
		{name: "T23 raw bytes", in: get("/\xff\xfe"), status: 400, reason: "bad_path"},
		{name: "T25 8 KiB", in: get("/" + strings.Repeat("a", 8<<10-1)), status: 200, open: true, to: "GET /" + strings.Repeat("a", 8<<10-1)},
		{name: "T25 8 KiB and a byte", in: get("/" + strings.Repeat("a", 8<<10)), status: 414, reason: "target_too_long"},
		{name: "T25 8 KiB of query", in: get("/?" + strings.Repeat("a", 8<<10)), status: 414, reason: "target_too_long"},
		{name: "T25 2 MiB", in: get("/" + strings.Repeat("a", 2<<20)), status: 431, reason: "head_too_large"},
		{name: "P20 64 KiB of dots", in: get("/" + strings.Repeat("../", 64<<10/3)), status: 431, reason: "head_too_large"},
	}
}
