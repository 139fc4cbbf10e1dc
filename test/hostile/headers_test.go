package hostile_test

import (
	"slices"
	"strings"
	"testing"
)

// without fails when the upstream has got any of the names.
func without(names ...string) func(*testing.T, *message) {
	return func(t *testing.T, m *message) {
		t.Helper()
		for _, name := range names {
			if v := m.values(name); len(v) > 0 {
				t.Errorf("%s: %q reached the upstream", name, v)
			}
		}
	}
}

// with fails when the upstream has not got exactly this value of name.
func with(name, value string) func(*testing.T, *message) {
	return func(t *testing.T, m *message) {
		t.Helper()
		if v := m.values(name); len(v) != 1 || v[0] != value {
			t.Errorf("%s: %q reached the upstream, want %q", name, v, value)
		}
	}
}

// Header fields that are malformed, ambiguous, or that only the gateway may set.
func TestHeaders(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, headerRows())
}

func headerRows() []row {
	alias := func(name, line string) row {
		return row{name: name, in: get("/", line), status: 400, reason: "header_alias"}
	}
	stripped := func(name, line string) row {
		header, _, _ := strings.Cut(line, ":")
		return row{name: name, in: get("/", line), status: 200, open: true, to: "GET /", check: without(header)}
	}
	twice := func(name string) row {
		return row{name: "H13 two lines of " + name, in: get("/", name+": a", strings.ToLower(name)+": b"), status: 400, reason: "duplicate_header"}
	}
	lines := func(n int) []string { return slices.Repeat([]string{"A: b"}, n) }
	return []row{
		{name: "H01 NUL", in: get("/", "A: b\x00c"), status: 400, reason: "bad_header"},
		{name: "H01 0x01", in: get("/", "A: b\x01c"), status: 400, reason: "bad_header"},
		{name: "H01 DEL", in: get("/", "A: b\x7fc"), status: 400, reason: "bad_header"},
		{name: "H02 NUL in the name", in: get("/", "A\x00: b"), status: 400, reason: "bad_header"},
		{name: "H02 space in the name", in: get("/", "A B: c"), status: 400, reason: "bad_header"},
		{name: "H02 UTF-8 in the name", in: get("/", "A\xc3\xa4: b"), status: 400, reason: "bad_header"},
		{name: "H02 no token", in: get("/", "A(B): c"), status: 400, reason: "bad_header"},
		{name: "H03 empty name", in: get("/", ": b"), status: 400, reason: "bad_header"},
		{name: "H04 no colon", in: get("/", "abc"), status: 400, reason: "bad_header"},
		alias("H05 forwarded", "X_Forwarded_For: 1.2.3.4"),
		alias("H05 lower case", "x_forwarded-for: 1.2.3.4"),
		alias("H05 real address", "X_Real_Ip: 1.2.3.4"),
		alias("H05 authorization", "Proxy_Authorization: a"),
		alias("H05 request id", "X_Request_Id: a"),
		stripped("H05 canary", "X_Canary: always"),
		alias("H05 original URL", "X_Original_Url: /admin"),
		alias("H05 content type", "Content_Type: a"),
		alias("F15 transfer coding", "Transfer_Encoding: chunked\r\nContent-Length: 0"),
		alias("F15 length", "Content_Length: 5"),
		alias("H06 forwarded", "X.Forwarded.For: 1.2.3.4"),
		alias("H06 other tokens", "X~Forwarded'For: 1.2.3.4"),
		stripped("H05 other name", "My_Header: a"),
		stripped("H06 other name", "My.Header: a"),
		{name: "H07 100 lines", in: get("/", lines(100)...), status: 200, open: true, to: "GET /"},
		{name: "H07 101 lines", in: get("/", lines(101)...), status: 431, reason: "header_fields"},
		{name: "H07 5000 lines", in: get("/", lines(5000)...), status: 431, reason: "head_too_large"},
		{name: "H08 15 KiB", in: get("/", "A: "+strings.Repeat("b", 15<<10)), status: 200, open: true, to: "GET /"},
		{name: "H08 24 KiB", in: get("/", "A: "+strings.Repeat("b", 24<<10)), status: 431, reason: "head_too_large"},
		{name: "H08 2 MiB", in: get("/", "A: "+strings.Repeat("b", 2<<20)), status: 431, reason: "head_too_large"},
		{name: "H08 2 MiB name", in: get("/", strings.Repeat("b", 2<<20)+": a"), status: 431, reason: "head_too_large"},
		{name: "H09 100 cookies", in: get("/", "Cookie: "+strings.Repeat("a=;", 99)+"a="), status: 200, open: true, to: "GET /"},
		{name: "H09 101 cookies", in: get("/", "Cookie: "+strings.Repeat("a=;", 100)+"a="), status: 431, reason: "cookies"},
		{name: "H09 101 cookies on two lines", in: get("/", "Cookie: "+strings.Repeat("a=;", 50)+"a=", "Cookie: "+strings.Repeat("a=;", 50)+"a="), status: 431, reason: "cookies"},
		{name: "H09 100000 cookies", in: get("/", "Cookie: "+strings.Repeat("a=;", 100_000)), status: 431, reason: "head_too_large"},
		{name: "H09 two lines", in: get("/", "Cookie: a=1", "Cookie: b=2"), status: 200, open: true, to: "GET /", check: with("Cookie", "a=1; b=2")},
		stripped("H10 proxy", "Proxy: http://evil"),
		stripped("H11 original URL", "X-Original-URL: /admin"),
		stripped("H11 original method", "X-Original-Method: GET"),
		stripped("H11 rewritten URL", "X-Rewrite-URL: /admin"),
		stripped("H11 forwarded URI", "X-Forwarded-Uri: /admin"),
		stripped("H11 forwarded prefix", "X-Forwarded-Prefix: /admin"),
		stripped("H11 forwarded port", "X-Forwarded-Port: 443"),
		stripped("H11 forwarded client certificate", "X-Forwarded-Client-Cert: a"),
		stripped("H11 real address", "X-Real-Ip: 1.2.3.4"),
		stripped("H12 method override", "X-HTTP-Method-Override: DELETE"),
		stripped("H12 other method overrides", "X-HTTP-Method: DELETE\r\nX-Method-Override: DELETE"),
		twice("Authorization"), twice("Content-Type"), twice("Origin"), twice("Range"), twice("User-Agent"), twice("Referer"),
		{name: "H13 expectation", in: get("/", "Expect: 100-continue", "Expect: 100-continue"), status: 400, reason: "duplicate_header"},
	}
}

// Who asks is for the gateway to say, whatever the client names in Connection
// and whatever it claims.
func TestIdentity(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{})
	e.run(t, identityRows())
}

func identityRows() []row {
	refused := func(name, tokens string) row {
		return row{name: name, in: get("/", "Connection: "+tokens, "Authorization: Bearer a"), status: 400, reason: "bad_connection"}
	}
	ours := func(t *testing.T, m *message) {
		t.Helper()
		with("X-Forwarded-For", "127.0.0.1")(t, m)
		with("X-Forwarded-Proto", "http")(t, m)
		with("X-Forwarded-Host", "a.example")(t, m)
		without("Forwarded", "X-Forwarded-Port")(t, m)
	}
	arm := func(want string) func(*testing.T, logLine) {
		return func(t *testing.T, line logLine) {
			t.Helper()
			if line.Arm != want {
				t.Errorf("arm %q, want %q", line.Arm, want)
			}
		}
	}
	id := func(wantSame bool, sent string) func(*testing.T, logLine) {
		return func(t *testing.T, line logLine) {
			t.Helper()
			if (line.ID == sent) != wantSame {
				t.Errorf("request id %q", line.ID)
			}
		}
	}
	hopByHop := without("Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Upgrade", "Connection")
	return []row{
		refused("I01 header of the gateway", "X-Forwarded-For"),
		refused("I01 another one", "close, X-Request-Id"),
		refused("I03 lower case", "x-real-ip"),
		refused("I03 alias", "x_forwarded_for"),
		refused("I04 authorization", "keep-alive, Authorization"),
		refused("I04 cookie", "cookie"),
		{
			name: "I04 canary", in: get("/forced", "X-Canary: always", "Connection: x-canary"), status: 200, open: true,
			to: "GET /forced", logged: arm("stable"), check: without("X-Canary"),
		},
		{
			name: "I04 header that a route reads", in: get("/fussy", "X-Tenant: a", "Connection: X-Tenant"),
			status: 200, open: true, to: "GET /fussy", route: "rest", check: without("X-Tenant"),
		},
		{name: "I04 without it", in: get("/fussy", "X-Tenant: a"), status: 200, open: true, to: "GET /fussy", route: "fussy", check: with("X-Tenant", "a")},
		{
			name: "I05 framing headers", in: post("/", "abc", "Connection: Host, Content-Length, Transfer-Encoding", "Content-Length: 3"),
			status: 200, open: true, to: "POST /", check: with("Content-Length", "3"),
		},
		{
			name: "I06 hop-by-hop headers",
			in:   get("/", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Proxy-Authorization: a", "TE: gzip", "Connection: upgrade, TE", "Upgrade: foo"), status: 200, open: true, to: "GET /", check: hopByHop,
		},
		refused("I07 17 tokens", strings.Repeat("a,", 16)+"a"),
		refused("I07 more than 1 KiB", strings.Repeat("a", 1025)),
		refused("I07 no token", "a b"),
		{
			name: "I08 forwarded from anybody", status: 200, open: true, to: "GET /", check: ours,
			in: get("/", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "Forwarded: for=1.2.3.4", "X-Forwarded-Port: 1"),
			logged: func(t *testing.T, line logLine) {
				if line.Client != "127.0.0.1" || line.Scheme != "http" {
					t.Errorf("logged as %s", line.Raw)
				}
			},
		},
		{name: "I17 scheme", in: get("/", "X-Forwarded-Proto: https", "X-Forwarded-Ssl: on"), status: 200, open: true, to: "GET /", check: ours},
		{name: "I18 canary for everybody", in: get("/forced", "X-Canary: always"), status: 200, open: true, to: "GET /forced", logged: arm("canary"), check: without("X-Canary")},
		{name: "I18 canary for some", in: get("/closed", "X-Canary: always"), status: 200, open: true, to: "GET /closed", logged: arm("stable"), check: without("X-Canary")},
		{name: "I18 arm by name", in: get("/closed", "X-Canary: canary"), status: 200, open: true, to: "GET /closed", logged: arm("stable"), check: without("X-Canary")},
		{name: "I18 claimed address", in: get("/closed", "X-Canary: always", "X-Forwarded-For: 10.0.0.1"), status: 200, open: true, to: "GET /closed", logged: arm("stable")},
		{name: "I19 forged cookie", in: get("/closed", "Cookie: arm=canary"), status: 200, open: true, to: "GET /closed", logged: arm("stable")},
		{name: "I19 forged signature", in: get("/closed", "Cookie: arm=canary.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), status: 200, open: true, to: "GET /closed", logged: arm("stable")},
		{name: "I19 repeated cookie", in: get("/closed", "Cookie: arm=canary; arm=stable; arm=canary"), status: 200, open: true, to: "GET /closed", logged: arm("stable")},
		{name: "I19 4 KiB", in: get("/closed", "Cookie: arm="+strings.Repeat("a", 4<<10)), status: 200, open: true, to: "GET /closed", logged: arm("stable")},
		{name: "I20 good id", in: get("/", "X-Request-Id: a.B-9_"), status: 200, open: true, to: "GET /", logged: id(true, "a.B-9_")},
		{name: "I20 SQL", in: get("/", "X-Request-Id: ' OR 1=1 --"), status: 200, open: true, to: "GET /", logged: id(false, "' OR 1=1 --")},
		{name: "I20 129 bytes", in: get("/", "X-Request-Id: "+strings.Repeat("a", 129)), status: 200, open: true, to: "GET /", logged: id(false, strings.Repeat("a", 129))},
		{name: "I20 two", in: get("/", "X-Request-Id: a", "X-Request-Id: b"), status: 200, open: true, to: "GET /", logged: id(false, "a")},
		{name: "I20 1 MiB", in: get("/", "X-Request-Id: "+strings.Repeat("a", 1<<20)), status: 431, reason: "head_too_large"},
		{name: "I20 second line smuggled", in: get("/", "X-Request-Id: a\rX-Evil: b"), status: 400, reason: "bad_header"},
	}
}

// Behind proxies that are trusted, the client is the right-most hop that is not.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, options{process: `trusted_proxies: [127.0.0.0/8, 10.0.0.0/8, 192.168.0.0/16]`})
	e.upstream.chains.Store(true)
	client := func(name, lines, client, upstream string) row {
		return row{
			name: name, in: get("/", lines), status: 200, open: true, to: "GET /", check: with("X-Forwarded-For", upstream),
			logged: func(t *testing.T, line logLine) {
				if line.Client != client {
					t.Errorf("client %q, want %q", line.Client, client)
				}
			},
		}
	}
	e.run(t, []row{
		client("I09 chain", "X-Forwarded-For: 1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2, 127.0.0.1"),
		client("I09 claims to the left", "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2, 127.0.0.1"),
		client("I09 two lines", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2, 127.0.0.1"),
		client("I10 unknown", "X-Forwarded-For: unknown", "127.0.0.1", "127.0.0.1"),
		client("I10 empty", "X-Forwarded-For: ", "127.0.0.1", "127.0.0.1"),
		client("I10 too many hops", "X-Forwarded-For: "+strings.Repeat("10.0.0.1, ", 1000)+"10.0.0.1", "127.0.0.1", "127.0.0.1"),
		client("I10 port and quotes", `X-Forwarded-For: "[2001:db8::1]:80"`, "2001:db8::1", `"[2001:db8::1]:80", 127.0.0.1`),
		client("I10 zone", "X-Forwarded-For: fe80::1%eth0", "fe80::1", "fe80::1%eth0, 127.0.0.1"),
		client("I11 mapped address", "X-Forwarded-For: 1.1.1.1, ::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1, ::ffff:10.0.0.1, 127.0.0.1"),
		client("I11 mapped client", "X-Forwarded-For: ::ffff:1.1.1.1, 192.168.0.7", "1.1.1.1", "::ffff:1.1.1.1, 192.168.0.7, 127.0.0.1"),
		{name: "I09 bad host", in: get("/", "X-Forwarded-Host: a/b"), status: 400, reason: "bad_host"},
		{name: "I09 other families", in: get("/", "Forwarded: for=6.6.6.6", "X-Real-Ip: 6.6.6.6"), status: 200, open: true, to: "GET /", check: with("X-Forwarded-For", "127.0.0.1")},
	})
}
