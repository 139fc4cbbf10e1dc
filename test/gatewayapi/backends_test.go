package gatewayapi_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// wantShares asks n times, and compares who answered with the weights. A right
// split fails less than once in a million runs: five standard deviations.
func wantShares(t *testing.T, n int, weights map[string]float64, ask func() string) {
	t.Helper()
	got, sum := map[string]float64{}, 0.0
	for range n {
		got[ask()]++
	}
	for _, w := range weights {
		sum += w
	}
	for who, w := range weights {
		p := w / sum
		if off := math.Abs(got[who] - float64(n)*p); off > 5*math.Sqrt(float64(n)*p*(1-p)) {
			t.Errorf("%s answered %v of %d requests, want a share of %v", who, got[who], n, p)
		}
	}
}

func TestHTTPRouteWeight(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {}
    use: [canary: {header: "", fallback: none, stable: a, arms: {a: {to: v1}, b: {to: v2}, c: {to: v3}}, split: {a: 70, b: 30, c: 0}}]
    to: v1`})
	wantShares(t, 500, map[string]float64{"v1": 70, "v2": 30, "v3": 0}, func() string {
		return g.ask("GET http://a.example/").sent.Backend
	})
}

// Backends without a weight, or none at all, are an error of 500.
func TestHTTPRouteNoBackend(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {path: /weightless}
    use: [canary: {header: "", fallback: none, arms: {stable: {to: v1}, canary: {to: v2}}, split: {stable: 0, canary: 0}}]
    to: v1
  - {match: {path: /none}, use: [respond: {status: 500}]}`})
	g.want("500", "GET http://a.example/weightless")
	g.want("500", "GET http://a.example/none")
}

func TestHTTPRouteBackendRequestHeaderModifier(t *testing.T) {
	arm := func(settings string) string {
		return `use: [canary: {header: "", fallback: none, arms: {stable: {headers: {` + settings + `}}, canary: {to: v2}}, split: {stable: 1, canary: 0}}], to: v1}`
	}
	g := serve(t, setup{routes: `
  - {match: {prefix: /set}, ` + arm(`request: {set: {X-Header-Set: set-overwrites-values}}`) + `
  - {match: {prefix: /add}, ` + arm(`request: {add: {X-Header-Add: add-appends-values}}`) + `
  - {match: {prefix: /remove}, ` + arm(`request: {remove: [X-Header-Remove]}`) + `
  - {match: {prefix: /response}, ` + arm(`response: {set: {X-Header-Set: a}, add: {X-Header-Add: b}, remove: [X-Header-Remove]}`)})
	f := func(path string, lines ...string) reply {
		t.Helper()
		return g.want("v1", "GET http://a.example"+path, lines...)
	}
	f("/set", "X-Header-Set: some-other-value").wantSent("X-Header-Set: set-overwrites-values")
	f("/add", "X-Header-Add: some-other-value").wantSent("X-Header-Add: some-other-value,add-appends-values")
	f("/remove", "X-Header-Remove: val").wantSent("X-Header-Remove:")
	f("/response").wantHeader("X-Header-Set: a", "X-Header-Add: of the backend,b", "X-Header-Remove:")
}

func TestHTTPRouteRequestHeaderModifierBackendWeights(t *testing.T) {
	g := serve(t, setup{routes: `
  - match: {}
    use:
      - headers: {request: {set: {X-Backend: none, X-All: all}}}
      - canary:
          header: ""
          fallback: none
          arms:
            stable: {to: v1, headers: {request: {set: {X-Backend: first}}}}
            canary: {to: v2, headers: {request: {set: {X-Backend: second}}}}
          split: {stable: 1, canary: 1}
    to: v1`})
	met := make(map[string]bool)
	for range 50 {
		got := g.ask("GET http://a.example/")
		met[got.sent.Backend] = true
		got.wantSent("X-Backend: "+map[string]string{"v1": "first", "v2": "second"}[got.sent.Backend], "X-All: all")
	}
	if len(met) != 2 {
		t.Errorf("only %v have answered", met)
	}
}

func TestHTTPRouteTimeoutRequest(t *testing.T) {
	t.Parallel() // with the others that wait for a timeout, which is long enough for what must answer in it
	g := serve(t, setup{routes: `
  - {match: {path: /request-timeout}, timeout: 1500ms, to: v1}
  - {match: {path: /disable-request-timeout}, timeout: 0s, to: v1}`})
	g.want("v1", "GET http://a.example/request-timeout")
	disabled := make(chan reply)
	go func() { disabled <- g.ask("GET http://a.example/disable-request-timeout?wait") }()
	g.echoes["v1"].next(t)
	g.echoes["v1"].next(t)
	began := time.Now()
	g.want("504", "GET http://a.example/request-timeout?wait")
	if took := time.Since(began); took < 1500*time.Millisecond {
		t.Errorf("the answer came after %v", took)
	}
	close(g.echoes["v1"].release) // the other one has waited longer
	if got := <-disabled; got.status != 200 {
		t.Errorf("without a timeout: %d", got.status)
	}
}

func TestHTTPRouteTimeoutBackendRequest(t *testing.T) {
	t.Parallel()
	g := serve(t, setup{routes: `
  - {match: {path: /backend-timeout}, use: [retry: {attempts: 0, per_try_timeout: 1500ms}], to: v1}
  - {match: {path: /disable-backend-timeout}, to: v1}`})
	g.want("v1", "GET http://a.example/backend-timeout")
	disabled := make(chan reply)
	go func() { disabled <- g.ask("GET http://a.example/disable-backend-timeout?wait") }()
	g.echoes["v1"].next(t)
	g.echoes["v1"].next(t)
	g.want("504", "GET http://a.example/backend-timeout?wait")
	close(g.echoes["v1"].release)
	if got := <-disabled; got.status != 200 {
		t.Errorf("without a timeout: %d", got.status)
	}
}

func TestHTTPRouteRetry(t *testing.T) {
	const unlimited = "budget: {percent: 100, min: 1000}"
	g := serve(t, setup{
		routes: `
  - {match: {prefix: /retry/code-500-attempts-3}, use: [retry: {codes: [500], attempts: 3, ` + unlimited + `}], to: v3}
  - {match: {prefix: /retry/code-all-attempts-2}, use: [retry: {codes: [500, 502, 503, 504], attempts: 2, ` + unlimited + `}], to: v3}
  - {match: {prefix: /retry/backoff}, use: [retry: {codes: [503], backoff: {min: 100ms}, ` + unlimited + `}], to: v3}
  - {match: {prefix: /retry/connection-error}, use: [retry: {attempts: 2, codes: [], ` + unlimited + `}], to: reset}`,
		upstreams: "  reset: {discover: {static: {targets: [\"" + resetFirst(t) + "\"]}}}",
	})
	n := 0
	f := func(who, path string, status, times, attempts int) {
		t.Helper()
		n++
		key := fmt.Sprint(n)
		g.want(who, fmt.Sprintf("GET http://a.example/retry/%s?status=%d&times=%d&key=%s", path, status, times, key))
		if got := g.echoes["v3"].count(key); got != attempts {
			t.Errorf("%s, %d: %d attempts, want %d", path, status, got, attempts)
		}
	}
	f("v3", "code-500-attempts-3", 500, 2, 3)
	f("v3 500", "code-500-attempts-3", 500, 4, 4)
	f("v3 503", "code-500-attempts-3", 503, 2, 1)
	for _, status := range []int{500, 502, 503, 504} {
		f("v3", "code-all-attempts-2", status, 1, 2)
		f(fmt.Sprintf("v3 %d", status), "code-all-attempts-2", status, 3, 3)
	}
	began := time.Now()
	f("v3", "backoff", 503, 1, 2)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it was tried again after %v", took)
	}
	if got := g.ask("GET http://a.example/retry/connection-error"); got.status != 204 {
		t.Errorf("after a connection that was reset: %d", got.status)
	}
}

// Time that runs out is a failure like another, within the time of the request.
func TestHTTPRouteRetryBackendTimeout(t *testing.T) {
	t.Parallel()
	g := serve(t, setup{routes: `
  - {match: {path: /twice}, use: [retry: {attempts: 2, codes: [500], per_try_timeout: 1500ms}], to: v1}
  - {match: {path: /once}, timeout: 1500ms, use: [retry: {attempts: 2, codes: [500], per_try_timeout: 10s}], to: v1}`})
	g.want("v1", "GET http://a.example/twice?hang&times=2&key=a")
	if n := g.echoes["v1"].count("a"); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	g.want("504", "GET http://a.example/twice?hang&times=3&key=b")
	g.want("504", "GET http://a.example/once?hang&times=1&key=c")
	if n := g.echoes["v1"].count("c"); n != 1 {
		t.Errorf("%d attempts after the end of the request, want 1", n)
	}
}

// resetFirst is a backend that ends its first connection without an answer, and
// answers 204 on all others.
func resetFirst(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && n > 0 {
				_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func TestHTTPRouteBackendProtocolH2C(t *testing.T) {
	g := serve(t, setup{routes: `  - {match: {path: /h2c}, to: g1}`})
	if got := g.want("v1", "GET http://a.example/h2c"); got.sent.Proto != "HTTP/2.0" {
		t.Errorf("the backend got %s", got.sent.Proto)
	}
}

func TestHTTPRouteBackendProtocolWebSocket(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("upgrade to %q", r.Header.Get("Upgrade"))
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = conn.Write([]byte("echo " + line))
	}))
	t.Cleanup(s.Close)
	g := serve(t, setup{
		upstreams: `  ws: {discover: {static: {targets: ["` + s.Listener.Addr().String() + `"]}}}`,
		routes:    `  - {match: {path: /ws}, to: ws}`,
	})
	conn, err := g.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(conn, "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := br.ReadString('\n'); err != nil || !strings.HasPrefix(line, "echo hello") {
		t.Errorf("%q, %v", line, err)
	}
}
