package canon

import (
	"net/url"
	"strings"
	"testing"
)

func TestHost(t *testing.T) {
	tests := []struct{ row, in, name, port string }{
		{row: "plain", in: "example.com", name: "example.com"},
		{row: "port", in: "example.com:8080", name: "example.com", port: "8080"},
		{row: "single label", in: "localhost", name: "localhost"},
		{row: "underscore", in: "my_service.internal", name: "my_service.internal"},
		{row: "A-label", in: "XN--Bcher-Kva.example", name: "xn--bcher-kva.example"},
		{row: "IPv4", in: "192.0.2.1:80", name: "192.0.2.1", port: "80"},
		{row: "IPv6", in: "[::1]", name: "[::1]"},
		{row: "IPv6 port", in: "[2001:DB8:0::1]:443", name: "[2001:db8::1]", port: "443"},
		{row: "longest label", in: strings.Repeat("a", 63) + ".b", name: strings.Repeat("a", 63) + ".b"},
		{row: "T10 trailing dot", in: "Example.com.", name: "example.com"},
		{row: "T10 trailing dot before a port", in: "example.com.:81", name: "example.com", port: "81"},
		{row: "T11", in: "EXAMPLE.com", name: "example.com"},

		{row: "T07", in: ""},
		{row: "T09 at", in: "a@b"},
		{row: "T09 slash", in: "a/b"},
		{row: "T09 space", in: "a b"},
		{row: "T09 number sign", in: "a#b"},
		{row: "T10 comma", in: "a,b"},
		{row: "T10 port", in: "a:99999x"},
		{row: "T10 port too large", in: "a:65536"},
		{row: "T10 port zero", in: "a:0"},
		{row: "T10 port leading zero", in: "a:080"},
		{row: "T10 port empty", in: "a:"},
		{row: "T10 port sign", in: "a:+80"},
		{row: "T10 two ports", in: "a:80:80"},
		{row: "T10 open bracket", in: "[::1"},
		{row: "T10 closing bracket", in: "::1]"},
		{row: "T10 no bracket", in: "::1"},
		{row: "T10 IPv4 in brackets", in: "[127.0.0.1]"},
		{row: "T10 name in brackets", in: "[a]"},
		{row: "T10 zone", in: "[fe80::1%eth0]"},
		{row: "T10 encoded zone", in: "[fe80::1%25eth0]"},
		{row: "T10 after the bracket", in: "[::1]x"},
		{row: "T10 empty label", in: "a..b"},
		{row: "T10 leading dot", in: ".a"},
		{row: "T10 dot", in: "."},
		{row: "T10 two trailing dots", in: "a.."},
		{row: "T10 port only", in: ":80"},
		{row: "T10 long label", in: strings.Repeat("a", 64)},
		{row: "T10 long name", in: strings.Repeat("a.", 127) + "a"},
		{row: "Unicode", in: "bücher.example"},
		{row: "percent", in: "a%2eb"},
		{row: "backslash", in: `a\b`},
		{row: "null", in: "a\x00b"},
		{row: "CRLF", in: "a\r\nb"},
		{row: "H214 question mark", in: "a?b"},
	}
	for _, test := range tests {
		t.Run(test.row, func(t *testing.T) {
			name, port, err := Host(test.in)
			if code := status(t, err); name != test.name || port != test.port || (code == 400) != (test.name == "") {
				t.Fatalf("Host(%q) = %q, %q, %v; want %q, %q", test.in, name, port, err, test.name, test.port)
			}
		})
	}
}

func TestJoinHost(t *testing.T) {
	f := func(in, scheme, want string) {
		t.Helper()
		name, port, err := Host(in)
		if err != nil {
			t.Fatal(err)
		}
		got := joinHost(in, name, port, scheme)
		if got != want {
			t.Errorf("%s://%s became %q; want %q", scheme, in, got, want)
		}
		if n, p := SplitHost(got); n != name || p != port && p != "" {
			t.Errorf("SplitHost(%q) = %q, %q", got, n, p)
		}
		if u := (&url.URL{Host: got}); strings.Trim(name, "[]") != u.Hostname() {
			t.Errorf("net/url sees %q", u.Hostname())
		}
	}
	f("a.example", "http", "a.example")
	f("A.example:80", "http", "a.example")
	f("a.example:443", "https", "a.example")
	f("a.example:443", "http", "a.example:443")
	f("a.example:80", "https", "a.example:80")
	f("A.example.:8080", "http", "a.example:8080")
	f("[::1]", "http", "[::1]")
	f("[::1]:80", "http", "[::1]")
	f("[0:0::1]:8080", "http", "[::1]:8080")
}
