package middleware_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
)

// whole is a gateway between two sockets: what a middleware makes of a request
// with the canonical view, the match and the proxy core around it.
type whole struct {
	snap *build.Snapshot
	addr string
	sent chan *http.Request // as the upstream got them
}

// serveWhole builds the routes that the lines tell, which go to the upstream "up".
func serveWhole(t *testing.T, upstream http.HandlerFunc, routes ...string) *whole {
	t.Helper()
	g := &whole{sent: make(chan *http.Request, 16)}
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.sent <- r
		upstream(w, r)
	}))
	t.Cleanup(up.Close)
	path := write(t, "pithead.yaml", "upstreams: {up: {discover: {static: {targets: [\""+up.Listener.Addr().String()+"\"]}}}}\nroutes:\n  - "+
		strings.Join(routes, "\n  - ")+"\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "page.html"), []byte("<p>noon"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	g.snap, err = build.Compile(cfg, build.Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})})
	if err != nil {
		t.Fatal(err)
	}
	g.snap.Start()
	t.Cleanup(func() {
		if err := g.snap.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if missing := g.snap.Wait(ctx); missing != nil {
		t.Fatalf("no endpoints for %v", missing)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{ID: "r-1", Client: netip.MustParseAddr("127.0.0.1"), Scheme: "http", Listener: "web", Start: time.Now()}
		g.snap.ServeHTTP(w, gateway.WithExchange(r, x))
	}))
	t.Cleanup(srv.Close)
	g.addr = srv.Listener.Addr().String()
	return g
}

// ask sends lines as they are, and reads the answer.
func (g *whole) ask(t *testing.T, lines ...string) (*http.Response, string) {
	t.Helper()
	conn, br := g.open(t, lines...)
	defer conn.Close()
	method, _, _ := strings.Cut(lines[0], " ")
	res, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func (g *whole) open(t *testing.T, lines ...string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, lines[0]+" HTTP/1.1\r\nHost: a.example\r\n"+strings.Join(append(lines[1:], "\r\n"), "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// got is the request that the upstream got, nil for none.
func (g *whole) got() *http.Request {
	select {
	case r := <-g.sent:
		return r
	default:
		return nil
	}
}

func nothing(http.ResponseWriter, *http.Request) {}

func TestWholeHeaders(t *testing.T) {
	g := serveWhole(t, nothing, `{match: {prefix: /}, to: up, use: [
      headers: {request: {set: {x-env: prod, x-gone: a, x-forwarded-proto: https}, add: {x-tag: edge}, remove: [user-agent, x-forwarded-for]}},
      headers: {request: {remove: [x-gone], add: {x-env: second}}}]}`)
	f := func(row string, status int, lines ...string) {
		t.Run(row, func(t *testing.T) {
			res, _ := g.ask(t, append([]string{"GET /x"}, lines...)...)
			r := g.got()
			if res.StatusCode != status || (r == nil) != (status != 200) {
				t.Fatalf("status %d, sent %v", res.StatusCode, r)
			}
			if r == nil {
				return
			}
			r.Header.Del("X-Forwarded-Host")
			r.Header.Del("X-Request-Id")
			want := http.Header{"X-Env": {"prod", "second"}, "X-Tag": {"edge"}, "X-Forwarded-Proto": {"https"}}
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Errorf("upstream got (-want +got):\n%s", diff)
			}
		})
	}
	f("plain", 200, "User-Agent: curl", "X-Gone: client")
	f("I01", 200, "Connection: X-Env, X-Tag", "X-Env: forged")
	f("I01 forwarded", 400, "Connection: X-Env, X-Forwarded-Proto")
	f("I02", 200, "Connection: close, x-eNV, x-TAG, x-gone", "X-Tag: forged")
}

func TestWholeRewrite(t *testing.T) {
	g := serveWhole(t, nothing,
		`{match: {prefix: /api}, to: up, use: [rewrite: {prefix: /}], allow_encoded: [slash, percent, semicolon]}`,
		`{match: {prefix: /files}, to: up, use: [rewrite: {regex: "^/files/(.*)-(.*)$", to: "/$1$2"}]}`,
		`{match: {prefix: /host}, to: up, use: [rewrite: {host: internal.example, prefix: /}, rewrite: {prefix: /x}, headers: {request: {set: {x-a: b}}}]}`)
	f := func(row, target string, status int, want string) {
		t.Run(row, func(t *testing.T) {
			res, _ := g.ask(t, "GET "+target)
			r, got := g.got(), ""
			if r != nil {
				got = r.RequestURI
			}
			if res.StatusCode != status || got != want {
				t.Errorf("status %d, upstream got %q; want %d, %q", res.StatusCode, got, status, want)
			}
		})
	}
	f("plain", "/api/x?y=1", 200, "/x?y=1")
	f("all of it", "/api", 200, "/")
	f("P13", "/api%2e/admin", 404, "")
	f("P13 slash", "/api/..%2fadmin", 400, "")
	f("P13 dots", "/api/%2e%2e/admin", 400, "")
	f("P13 parameter", "/api/..;/admin", 400, "")
	f("P13 slashes", "/api//admin", 200, "/admin")
	f("P13 encoded slashes", "/api%2f%2e%2e%2fadmin", 400, "")
	f("P13 what the route allows", "/api/a%2Fb", 200, "/a%2Fb")
	f("P14", "/files/.-./admin", 400, "")
	f("P14 one dot", "/files/.-/admin", 400, "")
	f("P14 plain", "/files/a-b", 200, "/ab")
	t.Run("host", func(t *testing.T) {
		g.ask(t, "GET /host/y")
		r := g.got()
		got := []string{r.Host, r.RequestURI, r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-A")}
		if diff := cmp.Diff([]string{"internal.example", "/y", "a.example", "b"}, got); diff != "" {
			t.Errorf("upstream got (-want +got):\n%s", diff)
		}
	})
}

func TestWholeAnswers(t *testing.T) {
	g := serveWhole(t, nothing,
		`{match: {prefix: /old}, to: up, use: [redirect: {prefix: /, status: 308}]}`,
		`{match: {prefix: /}, to: up, use: [redirect: {host: b.example}]}`,
		`{match: {prefix: /page}, to: up, use: [headers: {response: {set: {x-a: b}}}, respond: {status: 503, file: page.html}, rewrite: {path: /z}]}`)
	f := func(row, method, target string, status int, location, body string) {
		t.Run(row, func(t *testing.T) {
			res, got := g.ask(t, method+" "+target)
			if res.StatusCode != status || res.Header.Get("Location") != location || got != body || g.got() != nil {
				t.Errorf("%d, Location %s, body %q; want %d, %s, %q", res.StatusCode, res.Header.Get("Location"), got, status, location, body)
			}
		})
	}
	f("redirect", "GET", "/old/x?y=%2F%2F", 308, "http://a.example/x?y=%2F%2F", "")
	f("P18", "GET", "//evil.com", 302, "http://b.example/evil.com", "")
	f("P18 stripped", "GET", "/old//evil.com", 308, "http://a.example/evil.com", "")
	f("respond", "GET", "/page", 503, "", "<p>noon")
	f("respond to HEAD", "HEAD", "/page", 503, "", "")
	t.Run("P18 refused", func(t *testing.T) {
		for _, target := range []string{"//evil.com/%2f..", "/old/%2fevil.com", "/%5cevil.com"} {
			if res, _ := g.ask(t, "GET "+target); res.StatusCode != 400 || res.Header.Get("Location") != "" {
				t.Errorf("%s: %d %v", target, res.StatusCode, res.Header)
			}
		}
	})
	t.Run("head", func(t *testing.T) {
		res, _ := g.ask(t, "HEAD /page")
		got := []string{res.Header.Get("Content-Length"), res.Header.Get("Content-Type"), res.Header.Get("X-A")}
		if diff := cmp.Diff([]string{"7", "text/html; charset=utf-8", "b"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("explain goes no further", func(t *testing.T) {
		e := g.snap.Explain(httptest.NewRequestWithContext(t.Context(), "GET", "http://a.example/page", nil))
		var got []string
		for _, step := range e.Steps {
			got = append(got, step.Name+": "+step.Does)
		}
		if diff := cmp.Diff([]string{"headers: response: set X-A", "respond: answers 503 with 7 bytes"}, got); diff != "" || e.Endpoint+e.Exchange.Upstream != "" {
			t.Errorf("endpoint %q of %q (-want +got):\n%s", e.Endpoint, e.Exchange.Upstream, diff)
		}
	})
}

const wholeEdits = `{match: {prefix: /}, to: up, use: [headers: {response: {set: {x-a: edge}, add: {x-sum: edge}, remove: [date, content-type, x-b]}}]}`

// What net/http would put in is gone too, and what comes after the head is as the
// upstream says.
func TestWholeEditsOfAnswers(t *testing.T) {
	g := serveWhole(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-B", "b")
		w.Header().Set("X-A", "a")
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "<html>")
		w.Header().Set("X-Sum", "42")
	}, wholeEdits)
	res, body := g.ask(t, "GET /")
	delete(res.Header, "X-Content-Type-Options")
	if diff := cmp.Diff(http.Header{"X-A": {"edge"}, "X-Sum": {"edge"}}, res.Header); diff != "" {
		t.Errorf("head (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"X-Sum": {"42"}}, res.Trailer); diff != "" || body != "<html>" {
		t.Errorf("body %q, trailers (-want +got):\n%s", body, diff)
	}
}

// To see this fail, take Unwrap from headWriter.
func TestWholeWebSocket(t *testing.T) {
	g := serveWhole(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-B: b\r\n\r\n")
		_, _ = io.Copy(conn, rw)
	}, wholeEdits)
	conn, br := g.open(t, "GET /", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
	defer conn.Close()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("X-B") != "b" || res.Header.Get("X-A") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 4)
	if _, err := io.ReadFull(br, echo); err != nil || string(echo) != "ping" {
		t.Errorf("%q, %v", echo, err)
	}
}
