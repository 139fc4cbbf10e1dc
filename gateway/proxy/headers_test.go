package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// sendRaw sends one request through a gateway and returns what the upstream saw.
func sendRaw(t *testing.T, wrap func(http.Handler) http.Handler, lines ...string) *http.Request {
	t.Helper()
	up := &seen{}
	d := open(t, newCluster(t, serve(t, up), false), wrap)
	c := dial(t, d.addr)
	c.send(t, crlf(lines...))
	if res, b := c.answer(t, "GET"); res.StatusCode != http.StatusOK {
		t.Fatalf("status %d: %s", res.StatusCode, b)
	}
	return up.request(t)
}

// exchangeSets stands for a middleware, or for the canonical view.
func exchangeSets(f func(*gateway.Exchange)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f(gateway.ExchangeOf(r))
			next.ServeHTTP(w, r)
		})
	}
}

// To see these fail, call ApplyUpstreamHeaders on the client's request instead of
// in rewrite: the removal of hop-by-hop headers comes after it then.
func TestConnectionCannotRemoveWhatTheGatewaySets(t *testing.T) {
	identity := exchangeSets(func(x *gateway.Exchange) { x.SetUpstreamHeader("X-Gw-User", "alice") })
	for name, connection := range map[string]string{
		"I01": "Connection: X-Gw-User, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id",
		"I02": "Connection: close, X-Gw-User, X-Forwarded-For",
		"I03": "connection: x-gw-user,x-FORWARDED-for , x-request-ID",
	} {
		t.Run(name, func(t *testing.T) {
			got := sendRaw(t, identity, "GET / HTTP/1.1", "Host: a", connection, "X-Gw-User: mallory")
			for header, want := range map[string]string{
				"X-Gw-User": "alice", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Request-Id": "id-1",
			} {
				if diff := cmp.Diff([]string{want}, got.Header[header]); diff != "" {
					t.Errorf("%s: %s", header, diff)
				}
			}
		})
	}
}

func TestDroppedHeaders(t *testing.T) {
	drop := exchangeSets(func(x *gateway.Exchange) { x.DropUpstreamHeader("x-canary") })
	got := sendRaw(t, drop, "GET / HTTP/1.1", "Host: a", "X-Canary: always")
	if v, ok := got.Header["X-Canary"]; ok {
		t.Errorf("X-Canary: %q went upstream", v)
	}
}

func TestHopByHopHeaders(t *testing.T) {
	t.Run("I05", func(t *testing.T) {
		up := &seen{}
		d := open(t, newCluster(t, serve(t, up), false), nil)
		c := dial(t, d.addr)
		c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Connection: Host, Content-Length, Transfer-Encoding", "Content-Length: 3")+"abc")
		c.answer(t, "POST")
		if got := up.request(t); got.Host != "a" || up.body != "abc" {
			t.Errorf("host %q, body %q", got.Host, up.body)
		}
	})
	t.Run("I06", func(t *testing.T) {
		got := sendRaw(t, nil, "GET / HTTP/1.1", "Host: a", "Connection: Upgrade, Te", "Keep-Alive: timeout=5",
			"Proxy-Connection: keep-alive", "Proxy-Authorization: Basic YTpi", "TE: gzip", "Upgrade: foo")
		for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Upgrade"} {
			if v, ok := got.Header[name]; ok {
				t.Errorf("%s: %q went upstream", name, v)
			}
		}
	})
	t.Run("U01", func(t *testing.T) {
		got := sendRaw(t, nil, "GET / HTTP/1.1", "Host: a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
		for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
			if v, ok := got.Header[name]; ok {
				t.Errorf("%s: %q went upstream", name, v)
			}
		}
	})
	t.Run("U01 unlisted", func(t *testing.T) {
		got := sendRaw(t, nil, "GET / HTTP/1.1", "Host: a", "Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")
		if v, ok := got.Header["Http2-Settings"]; ok {
			t.Errorf("HTTP2-Settings: %q went upstream", v)
		}
	})
}

func TestForwarded(t *testing.T) {
	trust := exchangeSets(func(x *gateway.Exchange) { x.Trusted, x.Scheme = true, "https" })
	sent := []string{
		"GET / HTTP/1.1", "Host: api.example.com", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 10.0.0.2",
		"X-Forwarded-Proto: https", "X-Forwarded-Host: www.example.com", "Forwarded: for=192.0.2.1",
	}
	for name, tc := range map[string]struct {
		wrap             func(http.Handler) http.Handler
		chain, as, asked string
	}{
		"I08 untrusted peer": {nil, "127.0.0.1", "http", "api.example.com"},
		"trusted peer":       {trust, "192.0.2.1, 10.0.0.2, 127.0.0.1", "https", "www.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			got := sendRaw(t, tc.wrap, sent...)
			want := http.Header{
				"X-Forwarded-For": {tc.chain}, "X-Forwarded-Proto": {tc.as}, "X-Forwarded-Host": {tc.asked}, "X-Request-Id": {"id-1"},
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Error(diff)
			}
			if got.Host != "api.example.com" {
				t.Errorf("host %q", got.Host)
			}
		})
	}
}

// To see this fail, leave RawQuery in rewrite to ReverseProxy: it takes out
// what url.ParseQuery does not like and puts the rest into an order of its own.
func TestQueryIsPassedAsSent(t *testing.T) {
	for _, query := range []string{"b=2&a=1", "a=%zz&b", "a;b=c", "x=%2F+y", "", "a=1&" + strings.Repeat("b&", 20)} {
		got := sendRaw(t, nil, "GET /p?"+query+" HTTP/1.1", "Host: a")
		if got.URL.RawQuery != query {
			t.Errorf("%q became %q", query, got.URL.RawQuery)
		}
	}
}

// A transport may send a request a second time, on a connection that proves
// live, only when its body is nil or NoBody.
func TestNoBodyIsNoBody(t *testing.T) {
	bodies := make(chan any, 1)
	d := open(t, clusterFunc(func(r *http.Request) (*http.Response, error) {
		bodies <- r.Body
		return &http.Response{StatusCode: 204, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
	}), nil)
	for _, h2c := range []bool{false, true} {
		do(t, client(t, h2c), request(t, "GET", d.addr, "/", nil))
		if b := <-bodies; b != any(http.NoBody) {
			t.Errorf("HTTP/2 %v: body is a %T", h2c, b)
		}
	}
}
