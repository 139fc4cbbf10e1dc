package middleware_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// The names and cases are those of the Gateway API's conformance tests, whose
// listeners are on the ports 80, 8080 and 443. Hosts never decide.
func TestGatewayAPIRedirectPorts(t *testing.T) {
	f := func(test string, listener uint16, settings, want string) {
		t.Helper()
		if settings != "" {
			settings = ", " + settings
		}
		t.Run(test+" "+itoa(int(listener))+" "+settings, func(t *testing.T) {
			t.Helper()
			env := under(t, "/")
			x := &gateway.Exchange{Scheme: "http", LocalPort: listener}
			if listener == 443 {
				x.Scheme = "https"
			}
			step := middlewaretest.Build(t, env, "redirect: {host: example.org"+settings+"}")
			a := send(t, env, step, "GET "+x.Scheme+"://gateway.example:12345/x", x)
			if got := a.Header.Get("Location"); a.Status != http.StatusFound || got != want {
				t.Errorf("answered %d, Location %s\nwant 302, %s", a.Status, got, want)
			}
		})
	}
	port := func(settings, want string) { f("HTTPRouteRedirectPort", 80, settings, want) }
	port("port: 8083", "http://example.org:8083/x")
	port("", "http://example.org/x")
	port("port: 8083, status: 302", "http://example.org:8083/x")

	both := func(listener uint16, settings, want string) {
		f("HTTPRouteRedirectPortAndScheme", listener, settings, want)
	}
	both(80, "", "http://example.org/x")
	both(80, "port: 80", "http://example.org/x")
	both(80, "port: 8080", "http://example.org:8080/x")
	both(80, "scheme: https", "https://example.org/x")
	both(80, "scheme: https, port: 443", "https://example.org/x")
	both(80, "scheme: https, port: 8443", "https://example.org:8443/x")
	both(8080, "", "http://example.org:8080/x")
	both(8080, "port: 80", "http://example.org/x")
	both(8080, "scheme: https", "https://example.org/x")
	both(443, "", "https://example.org/x")
	both(443, "port: 443", "https://example.org/x")
	both(443, "port: 8443", "https://example.org:8443/x")
	both(443, "scheme: http", "http://example.org/x")
	both(443, "scheme: http, port: 80", "http://example.org/x")
	both(443, "scheme: http, port: 8080", "http://example.org:8080/x")
}

// Who stands behind a trusted proxy has never seen the gateway's port, and is not
// sent there.
func TestRedirectPortBehindProxy(t *testing.T) {
	env := under(t, "/")
	step := middlewaretest.Build(t, env, "redirect: {host: b.example}")
	f := func(url string, trusted bool, want string) {
		t.Helper()
		a := send(t, env, step, "GET "+url, &gateway.Exchange{Scheme: "https", LocalPort: 8443, Trusted: trusted})
		if got := a.Header.Get("Location"); got != want {
			t.Errorf("Location %s, want %s", got, want)
		}
	}
	f("https://a.example/x", true, "https://b.example/x")
	f("https://a.example:9443/x", true, "https://b.example:9443/x")
	f("https://a.example/x", false, "https://b.example:8443/x")

	// The port alone sends nobody away who is at the right host.
	a := send(t, env, step, "GET https://b.example/x", &gateway.Exchange{Scheme: "https", LocalPort: 8443})
	if a.Status != http.StatusOK {
		t.Errorf("answered %d, Location %s; want it passed on", a.Status, a.Header.Get("Location"))
	}
}

// Without an upstream there is nothing to go on to.
func TestRedirectWithoutUpstream(t *testing.T) {
	env := under(t, "/")
	env.To = nil
	step := middlewaretest.Build(t, env, "redirect: {scheme: https}")
	h := step.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request went on") }))
	f := func(scheme string, status int, explained string) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", http.NoBody)
		h.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{Scheme: scheme}))
		x := &gateway.Exchange{Scheme: scheme}
		if says := step.Explain(r, x); w.Code != status || x.Status != status || says != explained {
			t.Errorf("%s: answered %d; explained %d, %q", scheme, w.Code, x.Status, says)
		}
	}
	f("http", 302, "answers 302, Location: https://example.com/x")
	f("https", 404, "refuses with 404: the request is where the redirect leads, and the route has no upstream")
	if !step.Answers {
		t.Error("it does not say that it answers")
	}
	if step := middlewaretest.Build(t, under(t, "/"), "redirect: {scheme: https}"); step.Answers {
		t.Error("it says that it answers, and does not always")
	}
}
