package middleware_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const (
	client4 = "192.0.2.1"
	client6 = "2001:db8::1"
)

// asked is one request about which a limit of one is asked.
type asked struct {
	request string
	caller
}

func from(client string) asked {
	return asked{"GET /", caller{client: client}}
}

func says(lines string) asked {
	return asked{"GET /\n" + lines, caller{client: client4}}
}

// Requests go through a limit of one for each key: what passes (+) has a new key, what
// is refused (-) that of one before it. An exclamation mark is a 400.
func TestRateLimitKeys(t *testing.T) {
	f := func(name, settings string, want string, requests ...asked) {
		t.Helper()
		limitCase(t, name, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h"+settings+"}")
			got := ""
			for _, r := range requests {
				a := asks(t, env, step, r.request, r.caller)
				got += map[int]string{200: "+", 429: "-", 400: "!"}[a.Status]
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	subject := func(s string) asked { return asked{"GET /", caller{client4, s}} }
	at := func(url string) asked { return asked{"GET " + url, caller{client: client4}} }

	f("client", "", "++--", from("192.0.2.1"), from("192.0.2.2"), from("192.0.2.1"), from("192.0.2.2"))
	f("client by network", ", ipv4_prefix: 24", "+-+", from("192.0.2.1"), from("192.0.2.2"), from("192.0.3.1"))
	f("R02: addresses of one /64", "", "+--+", from("2001:db8::1"), from("2001:db8::2"), from("2001:db8::ffff:0:0:1"), from("2001:db8:0:1::1"))
	f("R02: a single address", ", ipv6_prefix: 128", "++-", from("2001:db8::1"), from("2001:db8::2"), from("2001:db8::2"))
	f("a client on a Unix socket", "", "+-+", asked{"GET /", caller{}}, asked{"GET /", caller{}}, from("0.0.0.0"))
	f("subject, as it is", ", key: subject", "++-", subject("ada"), subject("Ada"), subject("ada"))
	f("nobody is the client", ", key: subject", "+-+", subject(""), from("192.0.2.1"), from("192.0.2.2"))
	f("an address is no subject", ", key: subject", "++", subject(""), subject("192.0.2.1"))
	f("host", ", key: host", "+--+", at("http://a.example/"), at("http://A.example:80/"), at("http://a.example./x"), at("http://b.example/"))
	f("header", ", key: header:x-user", "++-", says("X-User: ada"), says("X-User: bob"), says("X-User: ada"))
	f("cookie", ", key: cookie:id", "++-", says("Cookie: a=1; id=x"), says("Cookie: id=y"), says("Cookie: id=x; a=2"))
	f("query", ", key: query:q", "++-", at("/?q=x"), at("/?q=y&p=1"), at("/?p=2&q=%78"))
	f("a combination", ", key: [client, header:x-user]", "+++-", says("X-User: ada"), says("X-User: bob"),
		asked{"GET /\nX-User: ada", caller{client: client6}}, says("X-User: ada"))
	f("parts do not run together", ", key: [header:a, header:b]", "++", says("A: xy\nB: z"), says("A: x\nB: yz"))
	f("the same value of another part", ", key: [header:a, header:b]", "++", says("A: x\nB: y"), says("A: y\nB: x"))
	f("all", ", key: all", "+-", from("192.0.2.1"), from("192.0.2.2"))
	f("R04: capitals and spaces", ", key: header:x-user", "+-----", says("X-User: ada b"), says("X-User: Ada B"), says("X-User: ADAB"),
		says("X-User:   ada   b"), says("X-User: ada\tb"), says("X-User: adab "))
	f("R04: Unicode", ", key: header:x-user", "+----", says("X-User: adä"), says("X-User: ada\u0308"), says("X-User: ａｄａ"), says("X-User: \u200b"), from("192.0.2.1"))
	f("R04: a megabyte", ", key: header:x-user", "++-", says("X-User: "+strings.Repeat("A", 1<<20)), says("X-User: "+strings.Repeat("a", 1<<20-1)), says("X-User: "+strings.Repeat("a", 1<<20)))
	f("two values are none", ", key: header:x-user", "+-", says("X-User: ada\nX-User: bob"), says("X-User: bob\nX-User: eve"))
	f("two cookies are none", ", key: cookie:id", "+-", says("Cookie: id=x; id=y"), says("Cookie: id=y; id=x"))
	f("two parameters are none", ", key: query:q", "+-", at("/?q=x&q=y"), at("/?q=y&q=x"))
	f("missing: client", ", key: header:x-user", "+-+", says("A: 1"), says("A: 2"), asked{"GET /", caller{client: client6}})
	f("missing: reject", ", key: header:x-user, on_missing: reject", "!+-", says("A: 1"), says("X-User: ada"), says("X-User: ada"))
	f("missing: skip", ", key: header:x-user, on_missing: skip", "+++-", says("A: 1"), says("A: 1"), says("X-User: ada"), says("X-User: ada"))
	f("R03: a new API key each time", "", "+--", says("X-Api-Key: 1"), says("X-Api-Key: 2"), says("Authorization: Bearer 3"))
	f("R06: spellings of a path", ", key: route", "+---", at("/a"), at("/a/"), at("//a"), at("/%61"))
}

// R01: the key is the address that the trusted proxies vouch for, whatever the client
// writes before it.
func TestRateLimitForwardedFor(t *testing.T) {
	limitCase(t, "R01: another X-Forwarded-For each time", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, burst: 3}")
		passed := 0
		for i := range 100 {
			for _, trusted := range []string{"198.51.100.0/24", "203.0.113.0/24"} {
				policy := canon.NewPolicy(canon.Options{Trusted: []netip.Prefix{netip.MustParsePrefix(trusted)}})
				r := middlewaretest.Request(t, fmt.Sprintf("GET /\nX-Forwarded-For: 10.0.0.%d, 192.0.2.7", i))
				r.RemoteAddr = "198.51.100.9:1234"
				x := &gateway.Exchange{}
				if _, err := policy.Request(r, x); err != nil {
					t.Fatal(err)
				}
				if middlewaretest.Send(t, env, step, r, x).Status == 200 {
					passed++
				}
			}
		}
		if passed != 6 {
			t.Errorf("%d pass, want 3 of the client behind the proxy and 3 of the peer that is none", passed)
		}
	})
}

// R03: a limit by subject is an error of check unless something proves one.
func TestRateLimitNeedsSubject(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	f := func(key string, want bool) {
		t.Helper()
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, key: "+key+"}")
		if got := slices.Contains(step.Needs, gateway.Subject); got != want {
			t.Errorf("R03: key %s needs a subject: %t, want %t", key, got, want)
		}
	}
	f("subject", true)
	f("[route, subject]", true)
	f("claim:tenant", true)
	f("[{claim: org.tenant}, route]", true)
	f("client", false)
}

// R03: claims are those of the proof, and not what a request says.
func TestRateLimitClaims(t *testing.T) {
	org := func(tenant any) gateway.Claims { return gateway.Claims{"org": map[string]any{"tenant": tenant}} }
	limitCase(t, "a nested claim", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, key: claim:org.tenant, on_missing: reject}")
		got := ""
		for _, claims := range []gateway.Claims{
			org("acme"), org("acme"), org("Acme"), org(json.Number("7")), org("7"), org(true), org(nil), org([]any{"acme"}), org(""), nil,
		} {
			x := &gateway.Exchange{Client: netip.MustParseAddr(client4), Subject: "ada", Claims: claims}
			a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /"), x)
			got += map[int]string{200: "+", 429: "-", 400: "!"}[a.Status]
		}
		if want := "+-++-+!!!!"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
	limitCase(t, "no part runs into the next", func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, key: [header:a, header:b]}")
		for _, r := range []string{"A: 12\nB: 3", "A: 1\nB: 23"} {
			if a := asks(t, env, step, "GET /\n"+r, caller{client: client4}); a.Status != 200 {
				t.Errorf("%q: %d", r, a.Status)
			}
		}
	})
}

// A named block is one set of buckets, on however many routes; `route` in its key
// makes one for each.
func TestRateLimitSharedBlock(t *testing.T) {
	f := func(key string, want int) {
		t.Helper()
		limitCase(t, key, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			env.Key = "middleware/fair"
			passed := 0
			for i := range 102 {
				env.Route = fmt.Sprintf("route-%d", i)
				step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, burst: 10, key: "+key+"}")
				passed += passes(t, env, step, 20)
			}
			if passed != want {
				t.Errorf("%d pass on 102 routes, want %d", passed, want)
			}
		})
	}
	f("client", 10)
	f("[client, route]", 1020)
}

// A reload opens the scope of the new snapshot before it closes the old one.
func TestRateLimitReload(t *testing.T) {
	f := func(name, before, after string, want int) {
		t.Helper()
		limitCase(t, name, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			pool := keep.NewPool()
			old, scope := pool.Scope(), pool.Scope()
			env.Keep = old
			step := middlewaretest.Build(t, env, "rate_limit: "+before)
			step.Start()
			passes(t, env, step, 75)
			env.Keep = scope
			step = middlewaretest.Build(t, env, "rate_limit: "+after)
			if n := passes(t, env, step, 1); n != 1 {
				t.Error("a configuration that is only built changes the buckets")
			}
			step.Start()
			if err := old.Close(); err != nil {
				t.Error(err)
			}
			if n := passes(t, env, step, 500); n != want {
				t.Errorf("%d pass after the reload, want %d", n, want)
			}
			wantMetric(t, env, `pithead_rate_limit_keys{limiter="route/test/middleware/0"} 1`)
			if err := scope.Close(); err != nil || pool.Len() != 0 {
				t.Errorf("%d values are left, %v", pool.Len(), err)
			}
		})
	}
	f("nothing has changed", "{rate: 1/h, burst: 100}", "{rate: 1/h, burst: 100}", 24)
	f("another key is no other bucket", "{rate: 1/h, burst: 100}", "{rate: 1/h, burst: 100, on_missing: reject}", 24)
	f("a greater burst", "{rate: 1/h, burst: 100}", "{rate: 1/h, burst: 200}", 48)
	f("a smaller burst", "{rate: 1/h, burst: 100}", "{rate: 1/h, burst: 50}", 12)
}

func TestRateLimitExplain(t *testing.T) {
	f := func(name, settings, request string, status int, want string) {
		t.Helper()
		limitCase(t, name, func(t *testing.T, env middleware.Env, _ *middlewaretest.Cluster) {
			step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/m"+settings+"}")
			asks(t, env, step, "GET /\nX-User: used", caller{client: client4})
			x := &gateway.Exchange{Client: netip.MustParseAddr(client4)}
			text := step.Explain(gateway.WithExchange(middlewaretest.Request(t, request), x), x)
			if text != want || x.Status != status {
				t.Errorf("%q with %d, want %q with %d", text, x.Status, want, status)
			}
		})
	}
	f("passes", ", key: header:x-user", "GET /\nX-User: new", 0, "passes, by header:X-User; per-minute: 1 of 1 left")
	f("does not", "", "GET /", 429, "answers 429 (rate_limited): per-minute is used up for 1m0s, by client; per-minute: 0 of 1 left")
	f("dry run", ", dry_run: true", "GET /", 0, "passes, because of dry_run; per-minute is used up for 1m0s, by client; per-minute: 0 of 1 left")
	f("fallback", ", key: [route, header:x-user]", "GET /", 0, "passes, by route and header:X-User, of which something is missing, so that the client's address takes its place; per-minute: 1 of 1 left")
	f("skip", ", key: header:x-user, on_missing: skip", "GET /", 0, "passes: the request has no header:X-User")
	f("reject", ", key: header:x-user, on_missing: reject", "GET /", 400, "answers 400 (rate_limit_key): the request has no header:X-User")
}

// R11: a hundred streams that come in one packet are a hundred requests.
func TestRateLimitStreamsInOnePacket(t *testing.T) {
	t.Run("R11: 100 streams in one packet", func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		step := middlewaretest.Build(t, env, "rate_limit: {rate: 1/h, burst: 30}")
		h := step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{Client: netip.MustParseAddr(client4)}))
		}))
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		t.Cleanup(srv.Close)
		statuses := streams(t, srv.Listener.Addr().String(), 100)
		if statuses["200"] != 30 || statuses["429"] != 70 {
			t.Errorf("%v, want 30 and 70", statuses)
		}
	})
}

// streams opens n streams with one write and counts the statuses of the answers.
func streams(t *testing.T, addr string, n int) map[string]int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // nothing more is expected of it
	var packet, block bytes.Buffer
	packet.WriteString(http2.ClientPreface)
	out, enc := http2.NewFramer(&packet, nil), hpack.NewEncoder(&block)
	if err := out.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.example"}, {":path", "/"}} {
			if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				t.Fatal(err)
			}
		}
		head := http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}
		if err := out.WriteHeaders(head); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(packet.Bytes()); err != nil {
		t.Fatal(err)
	}
	in := http2.NewFramer(conn, conn)
	in.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	statuses := make(map[string]int)
	for answers := 0; answers < n; {
		frame, err := in.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if head, ok := frame.(*http2.MetaHeadersFrame); ok {
			statuses[head.PseudoValue("status")]++
			answers++
		}
	}
	return statuses
}
