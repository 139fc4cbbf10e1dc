package middleware_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const cachedAuth = `forward_auth: {to: auth, request_headers: [Authorization, X-Tenant], response_headers: {to_upstream: [X-User]}, subject_header: X-User, cache: {CACHE}}`

// authGate asks a service that lets in who shows a token. ask is what becomes of a request.
type authGate struct {
	t       *testing.T
	service *middlewaretest.Cluster
	ask     func(request string) middlewaretest.Answer
}

func newAuthGate(t *testing.T, block string, change func(w http.ResponseWriter, r *http.Request)) *authGate {
	t.Helper()
	service := middlewaretest.NewCluster("auth").Handle(func(w http.ResponseWriter, r *http.Request) {
		token := r.Header.Get("Authorization")
		if token == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-User", "user of "+token)
		change(w, r)
	})
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), service)
	step := middlewaretest.Build(t, env, block)
	return &authGate{t, service, func(request string) middlewaretest.Answer {
		t.Helper()
		return middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
	}}
}

// want checks what becomes of a request, and how often the service has been asked by then.
func (g *authGate) want(request, subject string, asked int) {
	g.t.Helper()
	a := g.ask(request)
	if a.Exchange.Subject != subject || subject != "" && a.Sent.Header.Get("X-User") != subject || subject == "" && a.Sent != nil {
		g.t.Errorf("%s: %d as %q, want %q", request, a.Status, a.Exchange.Subject, subject)
	}
	if _, n := g.service.Last(); n != asked {
		g.t.Errorf("%s: the service was asked %d times, want %d", request, n, asked)
	}
}

func TestForwardAuthCache(t *testing.T) {
	block := func(settings string) string { return strings.Replace(cachedAuth, "CACHE", settings, 1) }
	plain := func(http.ResponseWriter, *http.Request) {}
	t.Run("alike or not", func(t *testing.T) {
		g := newAuthGate(t, block("ttl: 10s"), plain)
		const first = "GET /v1?a=b\nAuthorization: a\nX-Tenant: 1"
		g.want(first, "user of a", 1)
		g.want(first, "user of a", 1)
		g.want(first+"\nX-Other: 1", "user of a", 1)
		for i, other := range []string{
			"GET /v1?a=b\nAuthorization: b\nX-Tenant: 1", "GET /v1?a=b\nAuthorization: b", "GET /v1?a=b\nX-Tenant: 1\nAuthorization: b\nX-Tenant: 1",
			"POST /v1?a=b\nAuthorization: b\nX-Tenant: 1", "GET /v1?a=c\nAuthorization: b\nX-Tenant: 1", "GET /v1/?a=b\nAuthorization: b\nX-Tenant: 1",
			"GET https://other.example.com/v1?a=b\nAuthorization: b\nX-Tenant: 1",
		} {
			g.want(other, "user of b", 2+i)
		}
		g.want("GET /v1?a=b", "", 9)
		g.want("GET /v1?a=b", "", 9)
		g.want(first, "user of a", 9)
	})
	t.Run("I23: parts that are alike when written together", func(t *testing.T) {
		g := newAuthGate(t, block("ttl: 10s"), plain)
		g.want("GET /\nAuthorization: user:pa\nX-Tenant: ss", "user of user:pa", 1)
		g.want("GET /\nAuthorization: user\nX-Tenant: :pass", "user of user", 2)
		g.want("GET /\nAuthorization: user:pass", "user of user:pass", 3)
	})
	t.Run("what the service does not look at", func(t *testing.T) {
		g := newAuthGate(t, block("ttl: 10s, by: [host]"), plain)
		g.want("GET /a\nAuthorization: a", "user of a", 1)
		g.want("POST /b?c\nAuthorization: a", "user of a", 1)
		g.want("GET https://other.example.com/a\nAuthorization: a", "user of a", 2)
	})
}

func TestForwardAuthCacheControl(t *testing.T) {
	f := func(name, ttl string, header http.Header, want time.Duration) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				t.Helper()
				g := newAuthGate(t, strings.Replace(cachedAuth, "CACHE", "ttl: "+ttl, 1), func(w http.ResponseWriter, _ *http.Request) {
					maps.Copy(w.Header(), header)
				})
				g.want("GET /\nAuthorization: a", "user of a", 1)
				if want == 0 {
					g.want("GET /\nAuthorization: a", "user of a", 2)
					return
				}
				<-time.After(want - 1)
				g.want("GET /\nAuthorization: a", "user of a", 1)
				<-time.After(1)
				g.want("GET /\nAuthorization: a", "user of a", 2)
			})
		})
	}
	says := func(values ...string) http.Header { return http.Header{"Cache-Control": values} }
	f("nothing", "10s", nil, 10*time.Second)
	f("nothing, and no ttl", "0s", nil, 0)
	f("max-age", "0s", says("max-age=30"), 30*time.Second)
	f("less than ttl", "60s", says("max-age=30"), 30*time.Second)
	f("s-maxage comes first", "0s", says("s-maxage=20, max-age=30"), 20*time.Second)
	f("a bound", "0s", says("max-age=86400"), 10*time.Minute)
	f("zero", "10s", says("max-age=0"), 0)
	f("nonsense", "10s", says("max-age=-1"), 0)
	f("no-store", "10s", says("No-Store"), 0)
	f("private", "10s", says("max-age=30", "private"), 0)
	f("no-cache", "10s", says(`no-cache="x"`), 0)
	f("a cookie", "10s", http.Header{"Set-Cookie": {"a=b"}}, 0)
	f("varies by everything", "10s", http.Header{"Vary": {"*"}}, 0)
}

// The answers to made-up credentials take no place of those that let in, and no memory.
func TestForwardAuthCacheUnderFlood(t *testing.T) {
	g := newAuthGate(t, strings.Replace(cachedAuth, "CACHE", "ttl: 10m, size: 64", 1), func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Authorization"), "junk") {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	g.want("GET /\nAuthorization: good", "user of good", 1)
	for i := range 1000 {
		g.ask("GET /\nAuthorization: junk" + strings.Repeat("x", i))
	}
	g.want("GET /\nAuthorization: good", "user of good", 1001)
}

func TestForwardAuthBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		service := middlewaretest.NewCluster("auth").Handle(func(w http.ResponseWriter, _ *http.Request) {
			if down {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), service)
		step := middlewaretest.Build(t, env, `forward_auth: {to: auth, request_headers: [Cookie]}`)
		want := func(when string, status int, reason string, asked int) {
			t.Helper()
			a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /"), &gateway.Exchange{})
			_, n := service.Last()
			if a.Status != status || n != asked || reason != "" && (a.Exchange.Err == nil || a.Exchange.Err.Reason != reason) {
				t.Errorf("%s: %d, %v, asked %d times, want %d %s %d", when, a.Status, a.Exchange.Err, n, status, reason, asked)
			}
		}
		for i := range 5 {
			want("it fails", 503, "forward_auth_failed", i+1)
		}
		want("it is left alone", 503, "forward_auth_open", 5)
		<-time.After(5*time.Second + 1)
		want("a probe", 503, "forward_auth_failed", 6)
		want("left alone again", 503, "forward_auth_open", 6)
		down = false
		<-time.After(5*time.Second + 1)
		for i := range 4 {
			want("it is back", 200, "", 7+i)
		}
	})
}

// Who knows a request that makes the service fail has it fail for himself alone.
func TestForwardAuthBreakerAndPoison(t *testing.T) {
	g := newAuthGate(t, strings.Replace(cachedAuth, ", cache: {CACHE}", "", 1), func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "poison" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	for range 50 {
		g.ask("GET /\nAuthorization: poison")
	}
	g.want("GET /\nAuthorization: good", "user of good", 51)
}

func TestForwardAuthMetrics(t *testing.T) {
	service := middlewaretest.NewCluster("auth").Handle(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") == "" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), service)
	step := middlewaretest.Build(t, env, `forward_auth: {to: auth, path: /check, request_headers: [Cookie], cache: {ttl: 10s}}`)
	step.Start()
	for _, request := range []string{"GET /", "GET /", "GET /\nCookie: a", "GET /\nCookie: b", "GET /\nCookie: b"} {
		middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
	}
	const labels = `{path="/check",`
	for _, want := range []string{
		`requests_total` + labels + `result="allowed",upstream="auth"} 2`, `requests_total` + labels + `result="denied",upstream="auth"} 1`,
		`cache_hits_total` + labels + `upstream="auth"} 2`, `breaker_open` + labels + `upstream="auth"} 0`,
	} {
		wantLine(t, env.Process, "pithead_forward_auth_"+want)
	}
}

func TestForwardAuthCacheMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), middlewaretest.NewCluster("auth"))
	for settings, want := range map[string]string{
		"cache: {ttl: 1h}": "is not from 0s to 10m0s", "cache: {size: 0}": "is not from 1 to 1000000", "cache: {by: [hots]}": `"hots" is not known`,
		"cache: {ttl: 10s}, body: 1KiB": "cannot know whether two requests are alike in their bodies",
	} {
		told := middlewaretest.Mistakes(t, env, `forward_auth: {to: auth, request_headers: [Cookie], `+settings+`}`)
		if len(told) != 1 || !strings.Contains(told[0], want) {
			t.Errorf("%s: %q, want %s", settings, told, want)
		}
	}
}
