package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// browser is a client of a route with an affinity block: it keeps the token that
// it is given, and sends it back.
type browser struct {
	t     *testing.T
	step  gateway.Step
	token string // as a line of the request: "Cookie: route=..." or "X-Session: ..."
}

// visit makes a request that the endpoint answers unless it has a session with
// another one that is well. It returns the session that the cluster was told of,
// and the cookie of the answer.
func (b *browser) visit(endpoint uint64) (session uint64, cookie string) {
	b.t.Helper()
	text := "GET /"
	if b.token != "" {
		text += "\n" + b.token
	}
	x := &gateway.Exchange{Scheme: "https"}
	w := httptest.NewRecorder()
	b.step.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		session = x.Session
		x.Endpoint, x.UpstreamHeaders = &gateway.Endpoint{ID: endpoint}, time.Now()
		w.WriteHeader(http.StatusOK)
	})).ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(b.t, text), x))
	cookie = w.Header().Get("Set-Cookie")
	if cookie != "" {
		value, _, _ := strings.Cut(cookie, ";")
		b.token = "Cookie: a=b; " + value
	}
	if token := w.Header().Get("X-Session"); token != "" {
		b.token = "X-Session: " + token
	}
	if forbids := w.Header().Get("Cache-Control") != ""; forbids != (cookie != "") {
		b.t.Errorf("cookie %q, caching is forbidden: %t", cookie, forbids)
	}
	return session, cookie
}

// affinityOf builds a block for a new client.
func affinityOf(t *testing.T, settings string) *browser {
	t.Helper()
	env, _ := orders(t)
	return &browser{t: t, step: middlewaretest.Build(t, env, "affinity: {"+settings+"}")}
}

func TestAffinity(t *testing.T) {
	for name, settings := range map[string]string{
		"cookie": "cookie: route", "header": "header: x-session", "secret": "cookie: route, secret: 0123456789abcdef0123456789abcdef",
	} {
		t.Run(name, func(t *testing.T) {
			b := affinityOf(t, settings)
			if session, _ := b.visit(7); session != 0 || b.token == "" {
				t.Fatalf("first session %d, token %q", session, b.token)
			}
			first := b.token
			if session, _ := b.visit(7); session != 7 || b.token != first {
				t.Errorf("second session %d, token %q after %q", session, b.token, first)
			}
			if session, _ := b.visit(8); session != 7 || b.token == first { // 7 was not well
				t.Errorf("third session %d, the token stays", session)
			}
			if session, _ := b.visit(8); session != 8 {
				t.Errorf("fourth session %d", session)
			}
		})
	}
}

func TestAffinityCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := func(settings, attributes string) {
			t.Helper()
			b := affinityOf(t, settings)
			if _, cookie := b.visit(7); !strings.HasPrefix(cookie, "route=") || !strings.HasSuffix(cookie, attributes) || len(cookie) != len("route=")+22+len(attributes) {
				t.Errorf("%s: cookie %q, want %s", settings, cookie, attributes)
			}
		}
		f("cookie: route", "; Path=/; HttpOnly; Secure; SameSite=Lax")
		f("cookie: route, lifetime: 1h", "; Path=/; HttpOnly; Secure; SameSite=Lax")
		f("cookie: route, lifetime: 1h, permanent: true", "; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax")
	})
}

func TestAffinityEnds(t *testing.T) {
	f := func(name, settings string, pause time.Duration, want ...uint64) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := affinityOf(t, settings)
				var got []uint64
				for range want {
					session, _ := b.visit(7)
					got = append(got, session)
					<-time.After(pause)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("sessions (-want +got):\n%s", diff)
				}
			})
		})
	}
	f("never", "cookie: route", 1000*time.Hour, 0, 7, 7)
	f("absoluteTimeout", "cookie: route, lifetime: 1h", 25*time.Minute, 0, 7, 7, 0, 7)
	f("absoluteTimeout of a header", "header: x-session, lifetime: 1h", 25*time.Minute, 0, 7, 7, 0, 7)
	f("idleTimeout, in use", "cookie: route, idle: 30m", 29*time.Minute, 0, 7, 7, 7, 7)
	f("idleTimeout", "cookie: route, idle: 30m", 30*time.Minute, 0, 0, 0)
	f("both", "cookie: route, idle: 30m, lifetime: 1h", 25*time.Minute, 0, 7, 7, 0)

	synctest.Test(t, func(t *testing.T) {
		b := affinityOf(t, "cookie: route, idle: 30m, lifetime: 1h, permanent: true")
		b.visit(7)
		<-time.After(20 * time.Minute)
		if _, cookie := b.visit(7); !strings.Contains(cookie, "; Max-Age=2400;") {
			t.Errorf("the renewed cookie does not end with the session: %q", cookie)
		}
	})
}

// A token is of use to nobody who does not know the secret.
func TestAffinityForged(t *testing.T) {
	const settings = "cookie: route, secret: 0123456789abcdef0123456789abcdef"
	mine, open := affinityOf(t, settings), affinityOf(t, "cookie: route")
	mine.visit(7)
	open.visit(7)
	good := strings.TrimPrefix(mine.token, "Cookie: a=b; ")
	for name, line := range map[string]string{
		"without the secret": open.token, "cut": mine.token[:len(mine.token)-1], "longer": mine.token + "A", "empty": "Cookie: route=",
		"changed": strings.Replace(mine.token, "route="+good[6:7], "route="+string(good[6]^1), 1), "no base64": "Cookie: route=" + strings.Repeat("!", 22),
		"sent twice": "Cookie: " + good + "; " + good, "plain": "Cookie: route=7",
	} {
		b := affinityOf(t, settings)
		b.token = line
		if session, _ := b.visit(9); session == 7 {
			t.Errorf("%s: %q is taken", name, line)
		}
	}
}

// Only an answer of an endpoint begins a session.
func TestAffinityWithoutAnAnswer(t *testing.T) {
	b := affinityOf(t, "cookie: route")
	for name, change := range map[string]func(x *gateway.Exchange){
		"answered by a middleware": func(x *gateway.Exchange) { x.Endpoint = nil },
		"failed":                   func(x *gateway.Exchange) { x.Err = gateway.BadRequest("x", "x") },
		"no head":                  func(x *gateway.Exchange) { x.UpstreamHeaders = time.Time{} },
	} {
		x := &gateway.Exchange{Endpoint: &gateway.Endpoint{ID: 7}, UpstreamHeaders: time.Now()}
		change(x)
		w := httptest.NewRecorder()
		b.step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
			ServeHTTP(w, gateway.WithExchange(middlewaretest.Request(t, "GET /"), x))
		if len(w.Header()) > 0 {
			t.Errorf("%s: %v", name, w.Header())
		}
	}
}

func TestAffinityExplains(t *testing.T) {
	b := affinityOf(t, "header: x-session")
	x := &gateway.Exchange{}
	if got := b.step.Explain(middlewaretest.Request(t, "GET /"), x); got != "has no session; the answer begins one, by header X-Session" || x.Session != 0 {
		t.Errorf("%s, session %d", got, x.Session)
	}
	b.visit(7)
	got := b.step.Explain(middlewaretest.Request(t, "GET /\n"+b.token), x)
	if !strings.HasPrefix(got, "has a session by header X-Session, begun 20") || x.Session != 7 {
		t.Errorf("%s, session %d", got, x.Session)
	}
}

func TestAffinityMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
	f("affinity: {}", "1:1: give a cookie or a header, one of them")
	f("affinity: {cookie: a, header: b}", "1:1: give a cookie or a header, one of them")
	f("affinity: {cookie: a b}", `1:20: "a b" is no valid name`)
	f("affinity: {header: Host}", "1:20: the header Host cannot be read here: it is not passed on from outside")
	f("affinity: {cookie: a, idle: 10ms}", "1:29: 10ms is not 1s to 8760h0m0s")
	f("affinity: {cookie: a, permanent: true}", "1:34: needs a cookie and a lifetime")
	f("affinity: {header: a, permanent: true, lifetime: 1h}", "1:34: needs a cookie and a lifetime")
	f("affinity: {cookie: a, secret: short}", "1:31: must have at least 32 bytes")
	env.To = nil
	f("affinity: {cookie: a}", "1:1: affinity needs a route with an upstream (`to:`)")
}

// What a request with a session costs: the writer, its edit, and a block of the cipher.
func TestAffinityBudget(t *testing.T) {
	b := affinityOf(t, "cookie: route")
	b.visit(7)
	x := &gateway.Exchange{}
	r := gateway.WithExchange(middlewaretest.Request(t, "GET /\n"+b.token), x)
	h, w := b.step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), discard{http.Header{}}
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > 3 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAffinity(b *testing.B) {
	step := middlewaretest.Build(b, middlewaretest.Env(b, middlewaretest.NewCluster("orders")), "affinity: {cookie: route}")
	x := &gateway.Exchange{Endpoint: &gateway.Endpoint{ID: 7}, UpstreamHeaders: time.Now()}
	h, w := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), discard{http.Header{}}
	r := gateway.WithExchange(middlewaretest.Request(b, "GET /"), x)
	h.ServeHTTP(w, r)
	value, _, _ := strings.Cut(w.h.Get("Set-Cookie"), ";")
	r.Header.Set("Cookie", value)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
