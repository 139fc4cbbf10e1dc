package middleware_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const (
	preflightOf = "OPTIONS /x\nAccess-Control-Request-Method: PUT\nOrigin: "
	shop        = `cors: {allow_origins: ["https://shop.example.com", "https://*.example.org", "http://localhost:3000"], allow_methods: [PUT, DELETE], allow_headers: [X-A, x-b], expose_headers: [X-C], allow_credentials: true, max_age: 1h`
)

// corsHeaders are the headers of an answer that cors has to do with.
func corsHeaders(h http.Header) map[string]string {
	got := map[string]string{}
	for name, values := range h {
		if name == "Vary" || strings.HasPrefix(name, "Access-Control-") {
			got[name] = strings.Join(values, "|")
		}
	}
	return got
}

const varyAll = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

func TestCORSPreflight(t *testing.T) {
	f := func(name, block, request string, want map[string]string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env, _ := orders(t)
			a := send(t, env, middlewaretest.Build(t, env, block+"}"), request, &gateway.Exchange{})
			if a.Status != http.StatusOK || a.Sent != nil || a.Body != "" || a.Exchange.Upstream != "" {
				t.Errorf("status %d, sent %v, upstream %q", a.Status, a.Sent, a.Exchange.Upstream)
			}
			want["Vary"] = varyAll
			if diff := cmp.Diff(want, corsHeaders(a.Header)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	allowed := func(origin string) map[string]string {
		return map[string]string{
			"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "PUT, DELETE",
			"Access-Control-Allow-Headers": "X-A, x-b", "Access-Control-Expose-Headers": "X-C", "Access-Control-Max-Age": "3600",
		}
	}
	f("exact", shop, preflightOf+"https://shop.example.com", allowed("https://shop.example.com"))
	f("port", shop, preflightOf+"http://localhost:3000", allowed("http://localhost:3000"))
	f("wildcard", shop, preflightOf+"https://a.example.org", allowed("https://a.example.org"))
	f("wildcard, deeper", shop, preflightOf+"https://a.b.example.org", allowed("https://a.b.example.org"))
	f("no other", shop, preflightOf+"https://evil.example", map[string]string{})
	f("two origins", shop, preflightOf+"https://shop.example.com\nOrigin: https://shop.example.com", map[string]string{})
	f("defaults", `cors: {allow_origins: ["*"]`, preflightOf+"https://a", map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Max-Age": "5",
	})
	f("everything", `cors: {allow_origins: ["*"], allow_methods: ["*"], allow_headers: ["*", Authorization], expose_headers: ["*"], max_age: 0s`,
		preflightOf+"https://a\nAccess-Control-Request-Headers: x-a", map[string]string{
			"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "*", "Access-Control-Allow-Headers": "*, Authorization",
			"Access-Control-Expose-Headers": "*", "Access-Control-Max-Age": "0",
		})
	const reflecting = `cors: {allow_origins: ["https://a"], allow_methods: ["*"], allow_headers: ["*"], allow_credentials: true`
	reflected := func(headers string) map[string]string {
		m := map[string]string{
			"Access-Control-Allow-Origin": "https://a", "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "PUT", "Access-Control-Max-Age": "5",
		}
		if headers != "" {
			m["Access-Control-Allow-Headers"] = headers
		}
		return m
	}
	f("with credentials, what was asked for", reflecting, preflightOf+"https://a\nAccess-Control-Request-Headers: x-a,, authorization", reflected("x-a, authorization"))
	f("with credentials, nothing asked for", reflecting, preflightOf+"https://a", reflected(""))
	f("with credentials, no names", reflecting, preflightOf+"https://a\nAccess-Control-Request-Headers: x-a, b c", reflected(""))
}

func TestCORSAnswer(t *testing.T) {
	f := func(name, block, request string, answer http.Header, want map[string]string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env, cluster := orders(t)
			cluster.Handle(func(w http.ResponseWriter, _ *http.Request) { maps.Copy(w.Header(), answer) })
			a := send(t, env, middlewaretest.Build(t, env, block+"}"), request, &gateway.Exchange{})
			if a.Sent == nil {
				t.Error("not sent upstream")
			}
			if diff := cmp.Diff(want, corsHeaders(a.Header)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	allowed := map[string]string{
		"Access-Control-Allow-Origin": "https://shop.example.com", "Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "X-C", "Vary": "Origin",
	}
	nobody := map[string]string{"Vary": "Origin"}
	f("allowed", shop, "GET /x\nOrigin: https://shop.example.com", nil, allowed)
	f("with what only a preflight asks", shop, "GET /x\nOrigin: https://shop.example.com\nAccess-Control-Request-Method: PUT", nil, allowed)
	f("not allowed", shop, "GET /x\nOrigin: https://evil.example", nil, nobody)
	f("no origin", shop, "GET /x", nil, nobody)
	f("OPTIONS for the upstream", shop, "OPTIONS /x\nOrigin: https://shop.example.com", nil, allowed)
	f("OPTIONS without an origin", shop, "OPTIONS /x\nAccess-Control-Request-Method: PUT", nil, nobody)
	upstream := http.Header{
		"Access-Control-Allow-Origin": {"*"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-Secret"},
		"Access-Control-Allow-Methods": {"GET"}, "Access-Control-Allow-Headers": {"X"}, "Access-Control-Max-Age": {"9"},
	}
	f("the upstream has a say", shop, "GET /x\nOrigin: https://shop.example.com", upstream, allowed)
	f("the upstream allows what the gateway does not", shop, "GET /x\nOrigin: https://evil.example", upstream, nobody)
	f("everybody", `cors: {allow_origins: ["*"]`, "GET /x\nOrigin: null", nil, map[string]string{"Access-Control-Allow-Origin": "*", "Vary": "Origin"})
	f("null", `cors: {allow_origins: ["null"]`, "GET /x\nOrigin: null", nil, map[string]string{"Access-Control-Allow-Origin": "null", "Vary": "Origin"})
}

func TestCORSRows(t *testing.T) {
	env, cluster := orders(t)
	step := middlewaretest.Build(t, env, shop+"}")
	t.Run("A01", func(t *testing.T) {
		for _, origin := range []string{
			"null", "https://evil.com.shop.example.com", "https://shop.example.com.evil.com", "https://shopXexample.com", "https://evilshop.example.com",
			"http://shop.example.com", "https://shop.example.com:8443", "https://shop.example.com/", "HTTPS://SHOP.EXAMPLE.COM", "https://example.org",
			"https://.example.org", "https://evil.com/.example.org", "https://evil.com:1.example.org", "https://evil.com#.example.org", "https://u@a.example.org",
			"https://aXexample.org", "https://a.example.org.evil.com", "https://a.example.org:444", "https://a%2eb.example.org", "https://*.example.org", "*", "",
		} {
			for _, request := range []string{preflightOf + origin, "GET /x\nOrigin: " + origin} {
				a := send(t, env, step, request, &gateway.Exchange{})
				if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" || a.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%q is allowed as %q", origin, got)
				}
			}
		}
	})
	t.Run("A02", func(t *testing.T) {
		told := middlewaretest.Mistakes(t, env, `cors: {allow_origins: ["*"], allow_credentials: true}`)
		if want := "1:24: every site there is could act in the name of its visitors; list the sites, or remove allow_credentials"; len(told) != 1 || told[0] != want {
			t.Errorf("told %q", told)
		}
	})
	t.Run("A03", func(t *testing.T) {
		for n, status := range map[int]int{4 << 10: 200, 4<<10 + 1: 400, 1 << 20: 400} {
			a := send(t, env, step, preflightOf+"https://shop.example.com\nAccess-Control-Request-Headers: "+strings.Repeat(",", n), &gateway.Exchange{})
			if a.Status != status || a.Sent != nil {
				t.Errorf("%d commas: %d", n, a.Status)
			}
		}
		reflecting := middlewaretest.Build(t, env, `cors: {allow_origins: ["https://a"], allow_headers: ["*"], allow_credentials: true}`)
		h, w := reflecting.Wrap(http.NotFoundHandler()), discard{http.Header{}}
		x := new(gateway.Exchange)
		r := gateway.WithExchange(middlewaretest.Request(t, preflightOf+"https://a\nAccess-Control-Request-Headers: "+strings.Repeat(",", 4<<10)), x)
		if n := testing.AllocsPerRun(20, func() { h.ServeHTTP(w, r) }); n > 1 {
			t.Errorf("%v allocations for 4096 commas", n)
		}
	})
	t.Run("A04", func(t *testing.T) {
		before, after := 0, 0
		counting := func(n *int, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { *n++; next.ServeHTTP(w, r) })
		}
		chain := step
		chain.Wrap = func(next http.Handler) http.Handler {
			return counting(&before, step.Wrap(counting(&after, next))) // a limit, cors, whatever asks who the caller is
		}
		a := send(t, env, chain, preflightOf+"https://shop.example.com", &gateway.Exchange{})
		if a.Status != http.StatusOK || before != 1 || after != 0 {
			t.Errorf("%d; %d before, %d after", a.Status, before, after)
		}
	})
	t.Run("A05", func(t *testing.T) {
		for vary, want := range map[string]string{
			"": "Origin", "Accept": "Accept, Origin", "accept, ORIGIN": "accept, ORIGIN", "*": "*", "X-Origin": "X-Origin, Origin",
		} {
			cluster.Handle(func(w http.ResponseWriter, _ *http.Request) {
				if vary != "" {
					w.Header().Set("Vary", vary)
				}
			})
			for _, origin := range []string{"https://shop.example.com", "https://evil.example"} {
				a := send(t, env, step, "GET /x\nOrigin: "+origin, &gateway.Exchange{})
				if got := strings.Join(a.Header["Vary"], ", "); got != want {
					t.Errorf("Vary %q of the upstream became %q, want %q", vary, got, want)
				}
			}
		}
	})
}

// A page can read why its request failed.
func TestCORSOnErrors(t *testing.T) {
	env, cluster := orders(t)
	cluster.Break(&gateway.Error{Status: 503, Reason: "connect_failed", Cause: gateway.CauseNetwork})
	a := send(t, env, middlewaretest.Build(t, env, shop+"}"), "GET /x\nOrigin: https://shop.example.com", &gateway.Exchange{})
	if a.Status != 503 || a.Header.Get("Access-Control-Allow-Origin") != "https://shop.example.com" || a.Header.Get("Vary") != "Origin" {
		t.Errorf("%d %v", a.Status, a.Header)
	}
}

func TestCORSMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("cors: {}", "1:1: allows nobody; list the sites that may use the route under allow_origins")
	f(`cors: {allow_origins: ["*", "https://a"]}`, "1:24: * is everybody; remove the others")
	f("cors: {allow_origins: [a.example.com]}", `1:24: "a.example.com" is no origin; write for example https://shop.example.com`)
	f(`cors: {allow_origins: ["https://a/"]}`, `1:24: "https://a/" is no origin: it has a host, perhaps a port, no path and no slash at its end, and a * only at the front of its host`)
	f(`cors: {allow_origins: ["https://a.*.com"]}`, `1:24: "https://a.*.com" is no origin: it has a host, perhaps a port, no path and no slash at its end, and a * only at the front of its host`)
	f(`cors: {allow_origins: ["https://*a.com"]}`, `1:24: in "https://*a.com" the * stands for part of a label; it stands for whole ones, as in https://*.example.com`)
	f(`cors: {allow_origins: ["https://*:x"]}`, `1:24: "https://*:x" is no origin: it has a host, perhaps a port, no path and no slash at its end, and a * only at the front of its host`)
	f(`cors: {allow_origins: ["*"], allow_methods: [get, "*", "a b"]}`, "1:46: methods are written in capital letters: GET",
		"1:51: * is all methods; remove the others", `1:56: "a b" is no method`)
	f(`cors: {allow_origins: ["*"], allow_headers: ["x:"], expose_headers: [""]}`, `1:46: "x:" is no valid name`, `1:70: "" is no valid name`)
	f(`cors: {allow_origins: ["https://a"], allow_credentials: true, expose_headers: ["*"]}`, "1:80: with allow_credentials, browsers take * for the name of a header; list the names")
	f(`cors: {allow_origins: ["*"], max_age: 1500ms}`, "1:39: is no whole number of seconds")
	env.Match.Methods = []string{"GET", "PUT"}
	f(`cors: {allow_origins: ["*"]}`, "1:1: no preflight gets here: the route matches only GET, PUT; add OPTIONS")
	env.Match.Methods = []string{"GET", "OPTIONS"}
	middlewaretest.Build(t, env, `cors: {allow_origins: ["*"]}`)
}

func TestCORSOrigins(t *testing.T) {
	f := func(configured, origin string, want bool) {
		t.Helper()
		env, _ := orders(t)
		a := send(t, env, middlewaretest.Build(t, env, `cors: {allow_origins: ["`+configured+`"]}`), "GET /x\nOrigin: "+origin, &gateway.Exchange{})
		if got := a.Header.Get("Access-Control-Allow-Origin") == origin; got != want {
			t.Errorf("%s for %s: %v", configured, origin, got)
		}
	}
	f("HTTPS://Shop.Example.com:443", "https://shop.example.com", true)
	f("http://shop.example.com:80", "http://shop.example.com", true)
	f("http://[::1]:3000", "http://[::1]:3000", true)
	f("capacitor://localhost", "capacitor://localhost", true)
	f("https://*", "https://a.b", true)
	f("https://*", "https://10.0.0.1", true)
	f("https://*", "https://a.b:8443", false)
	f("https://*", "http://a.b", false)
	f("https://*", "https://", false)
	f("https://*:8443", "https://a.b:8443", true)
	f("https://*:8443", "https://a.b", false)
	f("https://*:443", "https://a.b", true)
	f("https://*.a.b:8443", "https://x.a.b:8443", true)
	f("https://*.a.b:8443", "https://x.a.b", false)
}

func TestCORSExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, shop+"}")
	f := func(request, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{Upstream: "orders"}
		if got := step.Explain(middlewaretest.Request(t, request), x); got != want || x.Status != status || (x.Upstream == "") != (status != 0) {
			t.Errorf("%q, status %d, upstream %q; want %q, %d", got, x.Status, x.Upstream, want, status)
		}
	}
	f(preflightOf+"https://shop.example.com", `answers the preflight with 200 and allows "https://shop.example.com"`, 200)
	f(preflightOf+"null", `answers the preflight with 200 and does not allow "null"`, 200)
	f("GET /\nOrigin: https://shop.example.com", `allows "https://shop.example.com" to read the answer`, 0)
	f("GET /\nOrigin: null", `does not allow "null" to read the answer`, 0)
	f("GET /", "sets nothing but Vary: there is no Origin", 0)
}

func TestCORSBudget(t *testing.T) {
	f := func(name, request string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, shop+"}", request)); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("no origin", "GET /v1/x", 2, "the writer and what it does with the head")
	f("allowed", "GET /v1/x\nOrigin: https://shop.example.com", 2, "the writer and what it does with the head")
	f("pattern", "GET /v1/x\nOrigin: https://a.example.org", 2, "the writer and what it does with the head")
	f("preflight", preflightOf+"https://shop.example.com", 0, "none")
}
