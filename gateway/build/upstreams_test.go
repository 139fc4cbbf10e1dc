package build

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// What stands in the file about proofs is what holds on the wire, both ways.
func TestUpstreamTLS(t *testing.T) {
	p := newProcess(t)
	p.pair("server", "", "app.internal")
	p.pair("own", "", "gateway.internal")
	p.pair("other", "", "other.internal")
	pair, err := tls.X509KeyPair(p.read("server.crt"), p.read("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(p.read("own.crt"))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s sees %s, by %s", r.Host, r.TLS.PeerCertificates[0].Subject.Organization[0], r.Proto)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	defer s.Close()
	f := func(name, settings string, status int, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			snap := p.start(lines(`upstreams:`, `  a:`, `    discover: {static: {targets: ["`+s.Listener.Addr().String()+`"]}}`,
				`    protocol: https`, `    host: app.example`, settings, `routes: [{match: {prefix: /}, to: a}]`))
			got := p.serve(snap, "web").ask(t, "GET /")
			if status == 502 && want == "" && got.status == 502 {
				return
			}
			if status != 200 {
				wantReason(t, got, status, want)
				if got.x.Err != nil && got.x.Err.Cause != gateway.CauseNetwork {
					t.Errorf("the cause is %s", got.x.Err.Cause)
				}
			} else if got.status != 200 || got.body != want {
				t.Errorf("got %d %q", got.status, got.body)
			}
		})
	}
	const own = `certificate: {cert: own.crt, key: own.key}`
	f("all in order", `    tls: {ca: server.crt, server_name: app.internal, `+own+`}`, 200, "app.example sees own, by HTTP/2.0")
	f("the address is a name too", `    tls: {ca: server.crt, `+own+`}`, 200, "app.example sees own, by HTTP/2.0")
	f("another name than the certificate's", `    tls: {ca: server.crt, server_name: other.internal, `+own+`}`, 502, "upstream_tls")
	f("another authority", `    tls: {ca: other.crt, server_name: app.internal, `+own+`}`, 502, "upstream_tls")
	f("the system's authorities", `    tls: {server_name: app.internal, `+own+`}`, 502, "upstream_tls")
	f("no settings at all", ``, 502, "upstream_tls")
	// With TLS 1.3 the server's no comes after the handshake, as an alert or as the
	// end of the connection, whichever is seen first.
	f("another certificate to show", `    tls: {ca: server.crt, server_name: app.internal, certificate: {cert: other.crt, key: other.key}}`, 502, "")
}

func TestUpstreamSettings(t *testing.T) {
	p := newProcess(t)
	hang := make(chan struct{})
	var addrs []string
	for _, name := range []string{"one", "two"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/hang":
				select {
				case <-hang:
				case <-r.Context().Done():
				}
			case "/health":
				if name == "two" {
					w.WriteHeader(http.StatusTeapot)
				}
			}
			fmt.Fprint(w, name)
		}))
		t.Cleanup(s.Close)
		addrs = append(addrs, s.Listener.Addr().String())
	}
	defer close(hang)
	start := func(settings string) (*Snapshot, *front) {
		t.Helper()
		snap := p.start(lines(`upstreams:`, `  a:`, `    discover: {static: {targets: [`,
			`      {address: "`+addrs[0]+`", weight: 9, zone: z, meta: {version: v1, team: x}},`,
			`      {address: "`+addrs[1]+`", meta: {version: v2, team: x}}]}}`, settings,
			`routes: [{name: r, match: {prefix: /}, to: a, use: [{canary: {stable: v2, canary: v1}}]}, {match: {path: /hang}, to: a}]`))
		return snap, p.serve(snap, "web")
	}
	const arms = "    arms: {v1: {meta: {version: v1}}, v2: {meta: {version: v2, team: x}}, none: {meta: {version: v2, team: y}}}\n"
	t.Run("arms by meta", func(t *testing.T) {
		snap, web := start(arms)
		for _, want := range []string{"one", "two"} {
			header := map[string]string{"one": "always", "two": "never"}[want]
			if got := web.ask(t, "GET /\nX-Canary: "+header); got.body != want {
				t.Errorf("%s went to %s", header, got.body)
			}
		}
		if n := snap.clusters["a"].Healthy("none"); n != 0 {
			t.Errorf("one of two conditions is enough for %d endpoints", n)
		}
		var subsets []string
		for _, e := range snap.clusters["a"].Endpoints() {
			subsets = append(subsets, fmt.Sprintf("%t %d %q %q", e.Addr == addrs[0], e.Weight, e.Zone, e.Subsets))
		}
		slices.Sort(subsets)
		if diff := cmp.Diff([]string{`false 1 "" ["v2"]`, `true 9 "z" ["v1"]`}, subsets); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("timeouts", func(t *testing.T) {
		_, web := start(arms + "    timeouts: {response: 50ms}\n")
		wantReason(t, web.ask(t, "GET /hang"), 504, "upstream_timeout")
	})
	t.Run("health checks", func(t *testing.T) {
		f := func(more string, v1, v2 int) {
			t.Helper()
			snap, _ := start(arms + "    health: {path: /health, interval: 10ms, timeout: 10ms" + more + "}\n")
			c := snap.clusters["a"]
			p.eventually(more+" to take effect", func() bool { return c.Healthy("v1") == v1 && c.Healthy("v2") == v2 })
			p.close(snap)
		}
		f(", unhealthy: 1", 1, 0)
		f(", unhealthy: 1, healthy: 1, statuses: [418]", 0, 1)
	})
	if strings.Contains(metricsText(t, p.Metrics), `pithead_requests_in_flight{route="r"} 1`) {
		t.Error("a request is still counted")
	}
}

// Only proxies that the file names are believed, and only header names that it
// names may look like others.
func TestTrustAndKeptHeaders(t *testing.T) {
	p := newProcess(t)
	got := make(chan http.Header, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header }))
	defer s.Close()
	f := func(name, settings, client, forwarded, kept string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			snap := p.start(settings + `upstreams: {a: {discover: {static: {targets: ["` + s.Listener.Addr().String() + `"]}}}}` + "\n" +
				"routes: [{match: {prefix: /}, to: a}]\n")
			x := p.serve(snap, "web").ask(t, "GET /\nX-Forwarded-For: 203.0.113.9\nx_tenant: t").x
			h := <-got
			if x.Client.String() != client || h.Get("X-Forwarded-For") != forwarded || strings.Join(h["X_tenant"], "") != kept {
				t.Errorf("the client is %s, X-Forwarded-For %q, x_tenant %q: %v", x.Client, h.Get("X-Forwarded-For"), h["X_tenant"], h)
			}
		})
	}
	f("by default nobody", "", "192.0.2.1", "127.0.0.1", "")
	f("the client's network", "trusted_proxies: [192.0.2.0/24]\n", "203.0.113.9", "203.0.113.9, 127.0.0.1", "")
	f("another network", "trusted_proxies: [198.51.100.0/24]\n", "192.0.2.1", "127.0.0.1", "")
	f("a kept header", "keep_headers: [x_tenant]\n", "192.0.2.1", "127.0.0.1", "t")
}
