package canon

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// trustPeer makes the peer of all test requests a trusted proxy.
var trustPeer = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// headerOptions are the policy of the header tests.
var headerOptions = Options{Owned: []string{"X-User-Id", "x-user-roles", "X_Gw_User"}, Keep: []string{"x_tenant", "my.header", "X_Forwarded_For", ""}}

func repeat(line string, n int) []string {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = line
	}
	return lines
}

func TestRefusedHeaders(t *testing.T) {
	f := func(row string, want int, lines ...string) {
		t.Run(row, func(t *testing.T) {
			for _, trusted := range [][]netip.Prefix{nil, trustPeer} {
				o := headerOptions
				o.Trusted = trusted
				r := read(t, append([]string{"GET / HTTP/1.1"}, lines...)...)
				if got := refusal(t, NewPolicy(o), r); got != want {
					t.Errorf("%q, trusted %v: status %d; want %d", lines, trusted != nil, got, want)
				}
			}
		})
	}
	f("F15", 400, "Transfer_Encoding: chunked", "Content-Length: 0")
	f("H05", 400, "X_Forwarded_For: 127.0.0.1")
	f("H05 lower case", 400, "x_forwarded_for: 127.0.0.1")
	f("H05 mixed", 400, "X-Forwarded_For: 127.0.0.1")
	f("H05 owned", 400, "X_User_Id: 1")
	f("H05 owned with underscores", 400, "X_Gw_User: root")
	f("H05 prefix", 400, "X_Forwarded_Anything: 1")
	f("H05 credentials", 400, "X-Request_Id: 1")
	f("H05 cookie", 0, "Coo_kie: 1")
	f("H06", 400, "X.User.Id: 1")
	f("H06 other separators", 400, "X~User+Roles: admin")
	f("H07", 431, repeat("X-A: b", 101)...)
	f("H07 fits", 0, repeat("X-A: b", 100)...)
	f("H07 5000", 431, repeat("X-A: b", 5000)...)
	f("H07 different names", 431, func() (lines []string) {
		for i := range 101 {
			lines = append(lines, fmt.Sprintf("X-A-%d: b", i))
		}
		return lines
	}()...)
	f("H07 dropped lines count", 431, repeat("X_A: b", 101)...)
	f("H09", 431, "Cookie: "+strings.Repeat("a=;", 100))
	f("H09 fits", 0, "Cookie: "+strings.Repeat("a=;", 99)+"a=")
	f("H09 lines", 431, repeat("Cookie: a=; b=", 51)...)
	f("H13 Authorization", 400, "Authorization: Bearer a", "Authorization: Bearer a")
	f("H13 Content-Type", 400, "Content-Type: text/plain", "Content-Type: application/json")
	f("H13 Origin", 400, "Origin: https://a", "Origin: https://b")
	f("H13 Range", 400, "Range: bytes=0-1", "Range: bytes=2-3")
	f("H13 list headers", 0, "Accept: text/html", "Accept: text/plain")
	f("I01", 400, "Connection: X-User-Id, X-Forwarded-For")
	f("I02", 400, "Connection: X-User-Id")
	f("I03", 400, "connection: x-real-ip")
	f("I03 odd case", 400, "connection: close, x-uSER-roles")
	f("I03 alias", 400, "connection: x_user_roles")
	f("I04", 400, "Authorization: Bearer a", "Connection: Authorization")
	f("I04 cookie", 400, "Cookie: a=b", "Connection: cookie")
	f("I04 second line", 400, "Connection: close", "Connection: cookie")
	f("I05", 0, "Connection: Host, Content-Length, Transfer-Encoding")
	f("I07", 400, "Connection: "+strings.Repeat("a, ", 16)+"a")
	f("I07 fits", 0, "Connection: "+strings.Repeat("a, ", 15)+"a")
	f("I07 lines", 400, repeat("Connection: a", 17)...)
	f("I07 bytes", 400, "Connection: "+strings.Repeat("a", 1025))
	f("I07 empty tokens", 400, "Connection: "+strings.Repeat(",", 1025))
	f("no token", 400, "Connection: a b")
	f("U02", 400, "Connection: upgrade", "Upgrade: a\x80b")
	f("U02 space", 400, "Connection: upgrade", "Upgrade: a b")
	f("U11 owned", 400, "Transfer-Encoding: chunked", "Trailer: X-User-Id")
	f("U11 authorization", 400, "Transfer-Encoding: chunked", "Trailer: Authorization")
	f("U11 cookie", 400, "Transfer-Encoding: chunked", "Trailer: Cookie")
	f("U11 alias", 400, "Transfer-Encoding: chunked", "Trailer: X_User_Id")
	f("U11 ordinary", 0, "Transfer-Encoding: chunked", "Trailer: X-Checksum")
	f("U12", 417, "Expect: y 100-continue")
	f("U12 other", 417, "Expect: 200-ok")
	f("U12 two", 400, "Expect: 100-continue", "Expect: 100-continue")
	f("U12 good", 0, "Expect: 100-Continue")
}

// TestHeadersLeft says what policy and upstream see of the headers of a request
// that passes; Host is never among them.
func TestHeadersLeft(t *testing.T) {
	f := func(row string, want http.Header, lines ...string) {
		t.Run(row, func(t *testing.T) {
			if !strings.HasSuffix(lines[0], "HTTP/1.0") {
				lines = append([]string{"GET / HTTP/1.1"}, lines...)
			}
			r := read(t, lines...)
			if code := refusal(t, NewPolicy(headerOptions), r); code != 0 {
				t.Fatalf("refused with %d", code)
			}
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	none := http.Header{}
	f("plain", http.Header{"X-A": {"b"}, "Accept": {"a", "b"}}, "x-a: b", "accept: a", "ACCEPT: b")
	f("H05 dropped", none, "X_Other: a")
	f("H05 kept", http.Header{"X_tenant": {"a"}}, "X_TENANT: a")
	f("H06 dropped", none, "X.Other: a")
	f("H06 kept", http.Header{"My.header": {"a"}}, "my.header: a")
	f("H10", none, "Proxy: http://evil")
	f("H11", none, "X-Original-URL: /a", "X-Original-Host: a", "X-Rewrite-URL: /a", "X-Forwarded-Uri: /a",
		"X-Forwarded-Prefix: /a", "X-Forwarded-Port: 1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1")
	f("H12", none, "X-HTTP-Method-Override: DELETE", "X-HTTP-Method: DELETE", "X-Method-Override: DELETE")
	f("I04", none, "Connection: X-Tenant", "X-Tenant: a")
	f("I05", http.Header{"Content-Length": {"0"}}, "Connection: Content-Length", "Content-Length: 0")
	f("I06", none, "Keep-Alive: timeout=5", "Proxy-Connection: close", "Proxy-Authorization: Basic a", "TE: gzip",
		"Upgrade: foo", "Connection: keep-alive, te, keep-alive")
	f("I06 upgrade without Connection", none, "Upgrade: websocket")
	f("I08", none, "X-Forwarded-For: 1.1.1.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "Forwarded: for=1.1.1.1")
	f("I12 and I13", none, "X-User-Id: root", "x-user-roles: admin", "X-Gw-User: root")
	f("I16", none, "X-USER-ROLES: admin")
	f("I20 kept", http.Header{"X-Request-Id": {"a.b_c-1"}}, "X-Request-Id: a.b_c-1")
	f("I20 dropped", none, "X-Request-Id: ' OR 1=1")
	f("I20 two", none, "X-Request-Id: a", "X-Request-Id: b")
	f("TE", http.Header{"Te": {"trailers"}}, "TE: gzip;q=0.5, Trailers", "Connection: TE")
	f("TE exact", http.Header{"Te": {"trailers"}}, "TE: trailers")
	f("cookies are one line", http.Header{"Cookie": {"a=1; b=2"}}, "Cookie: a=1", "Cookie: b=2")
	f("trailer without chunks", none, "Trailer: X-User-Id", "Connection: Content-Length, close", "X_A: b")
	f("U01", none, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
	f("U01 case", none, "Connection: upgrade", "Upgrade: H2C")
	f("U01 in a list", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, "Connection: Upgrade", "Upgrade: h2c, websocket")
	f("U03", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, "Connection: keep-alive, Upgrade", "Upgrade: websocket")
	f("U03 version", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"foo/1.1"}}, "Connection: upgrade", "Upgrade: foo/1.1")
	f("U05", none, "GET / HTTP/1.0", "Host: a", "Connection: Upgrade", "Upgrade: websocket")
	f("U12 on HTTP/1.0", none, "GET / HTTP/1.0", "Host: a", "Expect: 100-continue")
	f("U14", http.Header{"Expect": {"100-continue"}}, "Expect: 100-continue")
}

// TestNonCanonicalKeys is row I16 seen from the other side: keys that no parser
// leaves behind, as careless code would set them.
func TestNonCanonicalKeys(t *testing.T) {
	f := func(key string, want int) {
		t.Run("I16 "+key, func(t *testing.T) {
			r := read(t, "GET / HTTP/1.1")
			r.Header[key] = []string{"1"}
			if got := refusal(t, NewPolicy(headerOptions), r); got != want {
				t.Errorf("status %d; want %d", got, want)
			}
			if want == 0 && len(r.Header) != 0 {
				t.Errorf("left: %v", r.Header)
			}
		})
	}
	f("x-user-id", 400)
	f("X-USER-ID", 400)
	f("x-forwarded-for", 400)
	f("authorization", 400)
	f("Transfer-Encoding", 400)
	f("x-a", 0)
	f("", 0)
	f("X A", 400)
	f("X-User-Id ", 400)
	f("X-Üser", 400)
}

func TestRequestID(t *testing.T) {
	f := func(in string, want bool) {
		t.Helper()
		if got := RequestID(in); got != want {
			t.Errorf("RequestID(%q) = %v", in, got)
		}
	}
	f("a", true)
	f("0f8fad5b-d9cb-469f-a165-70867728950e", true)
	f("A.b_C-9", true)
	f(strings.Repeat("a", 128), true)
	f(strings.Repeat("a", 129), false)
	f("", false)
	f("a b", false)
	f("a\r\nb", false)
	f("'; DROP TABLE", false)
	f("ü", false)

	x := &gateway.Exchange{ID: "ours"}
	if _, err := NewPolicy(Options{}).Request(read(t, "GET / HTTP/1.1", "X-Request-Id: theirs"), x); err != nil || x.ID != "theirs" {
		t.Errorf("I20: id %q, %v", x.ID, err)
	}
	if _, err := NewPolicy(Options{}).Request(read(t, "GET / HTTP/1.1", "X-Request-Id: the irs"), x); err != nil || x.ID != "theirs" {
		t.Errorf("I20: id %q, %v", x.ID, err)
	}
}

func TestOwnedBeatsTrust(t *testing.T) {
	p := NewPolicy(Options{Trusted: trustPeer, Owned: []string{"X-User-Id", "X-Forwarded-Host"}})
	r := read(t, "GET / HTTP/1.1", "X-User-Id: root", "X-Forwarded-Host: a.example")
	if code := refusal(t, p, r); code != 0 || len(r.Header) != 0 {
		t.Errorf("status %d, left %v", code, r.Header)
	}
}

func TestCanonicalName(t *testing.T) {
	for _, name := range []string{"A", "Accept", "X-A-1", "Www-Authenticate", "1-A", "X--A", "X-", "-A"} {
		if !canonicalName(name) || http.CanonicalHeaderKey(name) != name {
			t.Errorf("%q is canonical", name)
		}
	}
	for _, name := range []string{"", "a", "accept", "X-a", "AccepT", "X_a", "X.a", "X a", "X\x80", "1-a", "X--a"} {
		if canonicalName(name) {
			t.Errorf("%q is not canonical", name)
		}
	}
}
