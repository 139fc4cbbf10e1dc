package middleware_test

import (
	"errors"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// debugHeaders are the headers of an answer that debug has to do with.
func debugHeaders(h http.Header) map[string]string {
	got := map[string]string{}
	for name, values := range h {
		if short, ok := strings.CutPrefix(name, "X-Pithead-Debug"); ok {
			got[short] = strings.Join(values, "|")
		}
	}
	for _, name := range []string{"Server-Timing", "Cache-Control"} {
		if values, ok := h[name]; ok {
			got[name] = strings.Join(values, "|")
		}
	}
	return got
}

const ask = "GET https://api.example.com/v1/caf%C3%A9?token=s\nX-Pithead-Debug: 1"

// debugged is a route whose upstream takes 12.5 ms, with what the upstream and
// the proxy core enter in the exchange.
func debugged(t testing.TB) (middleware.Env, *middlewaretest.Cluster) {
	t.Helper()
	env, cluster := orders(t)
	return env, cluster.Handle(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		x.Endpoint, x.Attempts, x.UpstreamStart = &gateway.Endpoint{Target: gateway.Target{Addr: "10.0.0.7:9000"}}, 2, time.Now()
		<-time.After(12500 * time.Microsecond)
		x.UpstreamHeaders = time.Now()
		w.Header().Set("X-Pithead-Debug-Endpoint", "forged")
		w.Header().Set("X-Pithead-Debug-Error", "forged")
		w.Header().Set("Server-Timing", "db;dur=3")
		w.Header().Set("Cache-Control", "public")
	})
}

func TestDebugShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, _ := debugged(t)
		step := middlewaretest.Build(t, env, "debug: {}")
		canary := middlewaretest.Build(t, env, "canary: {header: x-canary}")
		outer := step.Wrap
		step.Wrap = func(next http.Handler) http.Handler {
			return outer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				<-time.After(250 * time.Microsecond) // in the gateway
				canary.Wrap(next).ServeHTTP(w, r)
			}))
		}
		x := &gateway.Exchange{ID: "r-7", Client: netip.MustParseAddr("127.0.0.1"), Subject: "zoë\r\nX: y", Start: time.Now()}
		a := send(t, env, step, ask+"\nX-Canary: always", x)
		want := map[string]string{
			"-Request-Id": "r-7", "-Client": "127.0.0.1", "-Request": "GET https://api.example.com/v1/caf%C3%A9", "-Route": "test", "-Subject": "zo???X: y",
			"-Upstream": "orders", "-Subset": "canary", "-Arm": "canary", "-Arm-By": "header", "-Endpoint": "10.0.0.7:9000", "-Attempts": "2",
			"Server-Timing": "db;dur=3|gateway;dur=0.250, upstream;dur=12.500", "Cache-Control": "no-store",
		}
		if diff := cmp.Diff(want, debugHeaders(a.Header)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if a.Sent.Header.Get("X-Pithead-Debug") != "" {
			t.Error("the header goes upstream")
		}
	})
}

// Failures are what people ask for most.
func TestDebugShowsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, cluster := orders(t)
		cluster.Break(&gateway.Error{Status: 503, Reason: "connect_failed", Msg: "no", Cause: gateway.CauseNetwork, Err: errors.New("dial 10.0.0.7?token=s")})
		step := middlewaretest.Build(t, env, "debug: {}")
		x := &gateway.Exchange{Client: netip.MustParseAddr("::1"), UpstreamStart: time.Now()}
		a := send(t, env, step, "GET /x\nX-Pithead-Debug: 1", x)
		want := map[string]string{
			"-Request-Id": "test-1", "-Client": "::1", "-Request": "GET https://api.example.com/x", "-Route": "test", "-Upstream": "orders", "-Attempts": "0",
			"-Error": "connect_failed, caused by network", "Server-Timing": "gateway;dur=0.000, upstream;dur=0.000", "Cache-Control": "no-store",
		}
		if diff := cmp.Diff(want, debugHeaders(a.Header)); diff != "" || a.Status != 503 {
			t.Errorf("%d (-want +got):\n%s", a.Status, diff)
		}
	})
}

func TestDebugShowsNothing(t *testing.T) {
	const secretBlock = "debug: {secret: 0123456789abcdef, allow_from: [0.0.0.0/0, 127.0.0.1/32]}"
	f := func(name, block, client, asking string, shows bool) {
		t.Helper()
		t.Run("A13 "+name, func(t *testing.T) {
			t.Helper()
			env, _ := orders(t)
			x := &gateway.Exchange{}
			if client != "" {
				x.Client = netip.MustParseAddr(client)
			}
			a := send(t, env, middlewaretest.Build(t, env, block), "GET /x"+asking, x)
			if got := len(debugHeaders(a.Header)) > 0; got != shows {
				t.Errorf("shows %v, want %v: %v", got, shows, a.Header)
			}
			if a.Sent.Header.Get("X-Pithead-Debug") != "" {
				t.Error("the header goes upstream")
			}
		})
	}
	f("allowed", "debug: {}", "127.8.9.1", "\nX-Pithead-Debug: 1", true)
	f("not asked for", "debug: {}", "127.0.0.1", "", false)
	f("another value", "debug: {}", "127.0.0.1", "\nX-Pithead-Debug: true", false)
	f("no value", "debug: {}", "127.0.0.1", "\nX-Pithead-Debug:", false)
	f("two values", "debug: {}", "127.0.0.1", "\nX-Pithead-Debug: 1\nX-Pithead-Debug: 1", false)
	f("stranger", "debug: {}", "192.0.2.1", "\nX-Pithead-Debug: 1", false)
	f("stranger of the other family", "debug: {}", "2001:db8::1", "\nX-Pithead-Debug: 1", false)
	f("no address", "debug: {}", "", "\nX-Pithead-Debug: 1", false)
	f("network", "debug: {allow_from: [192.0.2.0/24]}", "192.0.2.1", "\nX-Pithead-Debug: 1", true)
	f("this machine, if it is not listed", "debug: {allow_from: [192.0.2.0/24]}", "127.0.0.1", "\nX-Pithead-Debug: 1", false)
	f("secret", secretBlock, "198.51.100.1", "\nX-Pithead-Debug: 0123456789abcdef", true)
	f("without the secret", secretBlock, "127.0.0.1", "\nX-Pithead-Debug: 1", false)
	f("half of the secret", secretBlock, "127.0.0.1", "\nX-Pithead-Debug: 01234567", false)
	f("secret from elsewhere", "debug: {secret: 0123456789abcdef}", "198.51.100.1", "\nX-Pithead-Debug: 0123456789abcdef", false)
}

func TestDebugHeader(t *testing.T) {
	env, _ := orders(t)
	a := send(t, env, middlewaretest.Build(t, env, "debug: {header: x-why, allow_from: [192.0.2.0/24]}"), "GET /x\nX-Why: 1\nX-Pithead-Debug: 1",
		&gateway.Exchange{Client: netip.MustParseAddr("192.0.2.1")})
	if a.Header.Get("X-Why-Route") != "test" || a.Sent.Header.Get("X-Why") != "" || a.Sent.Header.Get("X-Pithead-Debug") != "1" {
		t.Errorf("answer %v, sent %v", a.Header, a.Sent.Header)
	}
}

func TestDebugMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f(`debug: {header: ""}`, "1:17: needs a name")
	f(`debug: {header: "a b"}`, `1:17: "a b" is no valid name`)
	f("debug: {header: connection}", "1:17: the header Connection cannot be read here: it is not passed on from outside")
	f("debug: {secret: short}", "1:17: must have at least 16 bytes")
	f(`debug: {secret: " 0123456789abcdef"}`, "1:17: begins or ends with a space, or holds a control character")
	f("debug: {allow_from: []}", "1:9: allows nobody; list networks, or remove the block")
	const everybody = "shows addresses of the inside to everybody; give a secret, or narrow it down"
	f(`debug: {allow_from: [10.0.0.0/8, 0.0.0.0/0, "::/0"]}`, "1:34: "+everybody, "1:45: "+everybody)
}

func TestDebugExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "debug: {}")
	f := func(client netip.Addr, request, want string) {
		t.Helper()
		if got := step.Explain(middlewaretest.Request(t, request), &gateway.Exchange{Client: client}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f(clientAddr, "GET /", "shows nothing: the request has no X-Pithead-Debug")
	f(netip.MustParseAddr("192.0.2.1"), ask, "shows nothing: the client is not one of allow_from")
	f(netip.MustParseAddr("127.0.0.1"), ask+"1", "shows nothing: X-Pithead-Debug has another value")
	f(netip.Addr{}, ask, "shows what was done to clients from 127.0.0.0/8, ::1/128")
}

// Through a whole gateway: a real endpoint, and a step that answers by itself.
func TestWholeDebug(t *testing.T) {
	g := serveWhole(t, nothing, `{name: a, match: {prefix: /a}, to: up, use: [debug: {}]}`, `{name: b, match: {prefix: /b}, to: up, use: [{debug: {}}, {respond: {status: 410}}]}`)
	res, _ := g.ask(t, "GET /a/%2e/x", "X-Pithead-Debug: 1")
	if res.StatusCode == http.StatusOK {
		t.Error("a path with dots is served") // and so no route is known, and nothing shown
	}
	if got := debugHeaders(res.Header); got["-Route"] != "" {
		t.Errorf("shown without a route: %v", got)
	}
	res, _ = g.ask(t, "GET /a/x", "X-Pithead-Debug: 1")
	sent := g.next(t)
	got := debugHeaders(res.Header)
	if !regexp.MustCompile(`^gateway;dur=\d+\.\d{3}, upstream;dur=\d+\.\d{3}$`).MatchString(got["Server-Timing"]) || got["-Endpoint"] == "" ||
		got["-Attempts"] != "1" || got["-Route"] != "a" || got["-Request"] != "GET http://a.example/a/x" || sent.Header.Get("X-Pithead-Debug") != "" {
		t.Errorf("shown %v, sent %v", got, sent.Header)
	}
	res, _ = g.ask(t, "GET /b", "X-Pithead-Debug: 1")
	if got := debugHeaders(res.Header); res.StatusCode != http.StatusGone || got["-Route"] != "b" || got["-Endpoint"]+got["-Upstream"] != "" {
		t.Errorf("%d, shown %v", res.StatusCode, got)
	}
}

func TestDebugBudget(t *testing.T) {
	f := func(name, request string, want float64, what string) {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, pass(t, "debug: {allow_from: [10.0.0.0/8]}", request)); n != want {
				t.Errorf("%v allocations, want %v: %s", n, want, what)
			}
		})
	}
	f("not asked for", "GET /v1/x", 0, "none")
	f("stranger", "GET /v1/x\nX-Pithead-Debug: 1", 1, "the list of what not to send upstream")
}
