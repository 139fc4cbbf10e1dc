package gatewayapi_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/server"
)

// patience is how long tests wait for what should come at once, on a machine
// that may be busy.
const patience = 20 * time.Second

// setup is what the configurations of the tests differ in, each as lines of YAML.
type setup struct {
	listeners string // default: web, for HTTP/1.1 and h2c
	upstreams string // beside v1, v2 and v3, and g1, g2 and g3, which are the same over h2c
	routes    string
}

// gate is a whole gateway in front of three backends.
type gate struct {
	t        *testing.T
	server   *server.Server
	echoes   map[string]*echo
	listener string      // that is asked
	tls      *tls.Config // of the client; nil without TLS
	http2    bool        // by ALPN; a server that has only HTTP/1.1 is a failure
}

// serve starts a gateway that ends with the test.
func serve(t *testing.T, s setup) *gate {
	t.Helper()
	g := &gate{t: t, echoes: make(map[string]*echo), listener: "web"}
	var text strings.Builder
	text.WriteString("access_log: {output: \"off\"}\nreload: {watch: false}\nshutdown: {delay: 0s, lame_duck: 0s, grace: 1s}\nlisteners:\n")
	if s.listeners == "" {
		s.listeners = `  web: {address: "127.0.0.1:0", protocols: [h1, h2c]}`
	}
	text.WriteString(s.listeners + "\nupstreams:\n")
	var addrs []string
	for i := range 3 {
		name := strconv.Itoa(i + 1)
		e := newEcho(t, "v"+name)
		g.echoes["v"+name] = e
		addrs = append(addrs, "{v"+name+"}", e.addr)
		fmt.Fprintf(&text, "  v%s: {discover: {static: {targets: [%q]}}}\n", name, e.addr)
		fmt.Fprintf(&text, "  g%s: {protocol: h2c, discover: {static: {targets: [%q]}}}\n", name, e.addr)
	}
	text.WriteString(strings.NewReplacer(addrs...).Replace(s.upstreams) + "\nroutes:\n" + s.routes + "\n")
	path := filepath.Join(t.TempDir(), "pithead.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start(path)
	return g
}

func (g *gate) start(path string) {
	g.t.Helper()
	serving := make(chan struct{})
	g.server = server.New(server.Options{
		Path: path, Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.DiscardHandler),
		Serving: func(*server.Server) { close(serving) },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.server.Run(ctx) }()
	select {
	case <-serving:
	case err := <-ended:
		stop()
		g.t.Fatalf("the gateway did not start: %v", err)
	}
	g.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			g.t.Errorf("the gateway ended with %v", err)
		}
	})
}

// on is the gate as seen by a client of one listener.
func (g *gate) on(listener string) *gate {
	other := *g
	other.listener = listener
	return &other
}

// withTLS is the gate as seen by a client that speaks TLS and sends this SNI.
func (g *gate) withTLS(serverName string) *gate {
	other := *g
	other.tls = &tls.Config{ServerName: serverName, InsecureSkipVerify: true} // what the certificate says is not in question
	return &other
}

// withHTTP2 is the gate as seen by a client that speaks HTTP/2 over TLS.
func (g *gate) withHTTP2() *gate {
	other := *g
	other.http2 = true
	return &other
}

func (g *gate) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", g.server.Addrs()[g.listener].String())
}

// reply is what the client got, and what the backend had got.
type reply struct {
	t      *testing.T
	status int
	header http.Header
	sent   request // zero if no backend has answered
}

// ask sends "METHOD URL" with header lines. Redirects are not followed.
func (g *gate) ask(what string, lines ...string) reply {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	method, url, _ := strings.Cut(what, " ")
	r, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return g.dial(ctx) },
		TLSClientConfig:   g.tls,
		ForceAttemptHTTP2: g.http2,
		DisableKeepAlives: true, DisableCompression: true,
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if g.http2 && resp.ProtoMajor != 2 {
		g.t.Errorf("%s answered over %s", what, resp.Proto)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	got := reply{t: g.t, status: resp.StatusCode, header: resp.Header}
	if resp.Header.Get("X-Echo") != "" {
		if err := json.Unmarshal(body, &got.sent); err != nil {
			g.t.Fatalf("%v in %q", err, body)
		}
	}
	return got
}

// want asks, and compares who answered: a backend with 200, or the gateway with a
// status.
func (g *gate) want(who, what string, lines ...string) reply {
	g.t.Helper()
	got := g.ask(what, lines...)
	answered := got.sent.Backend
	if answered == "" || got.status != http.StatusOK {
		answered = strings.TrimSpace(got.sent.Backend + " " + strconv.Itoa(got.status))
	}
	if answered != who {
		g.t.Errorf("%s %v: answered by %s, want %s", what, lines, answered, who)
	}
	return got
}

// wantSent compares headers of the request that the backend got: `Name: value`,
// several values with commas between, `Name:` for none.
func (r reply) wantSent(lines ...string) {
	r.t.Helper()
	compare(r.t, "the backend got", r.sent.Header, lines)
}

// wantHeader compares headers of the answer in the same way.
func (r reply) wantHeader(lines ...string) {
	r.t.Helper()
	compare(r.t, "the client got", r.header, lines)
}

func compare(t *testing.T, who string, h http.Header, lines []string) {
	t.Helper()
	var got []string
	for _, line := range lines {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, strings.TrimSuffix(name+": "+strings.Join(h.Values(name), ","), " "))
	}
	if diff := cmp.Diff(lines, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", who, diff)
	}
}
