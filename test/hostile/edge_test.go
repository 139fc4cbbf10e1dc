package hostile_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/server"
)

// edge is a whole gateway in front of a recording upstream.
type edge struct {
	upstream *upstream
	server   *server.Server
	metrics  *obs.Metrics
	log      *logFile
	addr     string
	tls      *tls.Config // of clients; nil without TLS
	process  processLog
}

// routes are what all tests use. Several have the same upstream, so that a
// request on the wrong route would not be noticed by its answer alone.
const routes = `
upstreams:
  app:
    discover: {static: {targets: ["%s"]}}
    timeouts: {response: %s, body_idle: 2s}
routes:
  - {name: encoded, match: {prefix: /encoded}, allow_encoded: [slash, percent, semicolon], to: app}
  - {name: small, match: {prefix: /small}, body_limit: 16B, to: app}
  - {name: forced, match: {prefix: /forced}, use: [canary: {split: {stable: 1, canary: 0}, arms: {stable: {}, canary: {to: app}}}], to: app}
  - {name: closed, match: {prefix: /closed}, use: [canary: {split: {stable: 1, canary: 0}, arms: {stable: {}, canary: {to: app}}, allow_from: [10.0.0.0/8], cookie: arm, cookie_secret: 0123456789abcdef0123456789abcdef}], to: app}
  - {name: pub, match: {prefix: /pub}, to: app}
  - {name: admin, match: {prefix: /admin}, to: app}
  - {name: user, match: {path: "/users/{id}"}, to: app}
  - {name: fussy, match: {prefix: /fussy, headers: {x-tenant: a}}, to: app}
  - {name: host, match: {host: a.example, prefix: /host}, to: app}
  - {name: query, match: {prefix: /query, query: {a: "1"}}, to: app}
  - {name: rest, match: {prefix: /}, to: app}
`

// options are what differs between gateways.
type options struct {
	listener string // settings of the listener, beside its address
	process  string // further lines of the process file
	response string // timeout for the head of an answer; default 5s
	tls      bool
}

// newEdge starts a gateway that ends with the test.
func newEdge(tb testing.TB, o options) *edge {
	tb.Helper()
	dir := tb.TempDir()
	e := &edge{upstream: newUpstream(tb), metrics: obs.NewMetrics(obs.Build{}), log: &logFile{path: filepath.Join(dir, "access.log")}}
	listener := `{address: "127.0.0.1:0"`
	if o.listener != "" {
		listener += ", " + o.listener
	}
	if o.tls {
		cert, key, client := certificate(tb, dir)
		e.tls = client
		listener += fmt.Sprintf(", tls: {certificates: [{cert: %s, key: %s}]}", cert, key)
	}
	if o.response == "" {
		o.response = "5s"
	}
	text := fmt.Sprintf("listeners: {web: %s}}\naccess_log: {output: %s}\nreload: {watch: false}\nshutdown: {delay: 0s, lame_duck: 0s, grace: 1s}\n%s\n",
		listener, e.log.path, o.process) + fmt.Sprintf(routes, e.upstream.ln.Addr(), o.response)
	path := filepath.Join(dir, "pithead.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	e.start(tb, path)
	return e
}

func (e *edge) start(tb testing.TB, path string) {
	tb.Helper()
	serving := make(chan struct{})
	e.server = server.New(server.Options{
		Path: path, Metrics: e.metrics, Log: slog.New(slog.NewTextHandler(&e.process, nil)),
		Serving: func(*server.Server) { close(serving) },
	})
	e.metrics.CollectUpstreams(e.upstreams)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.server.Run(ctx) }()
	select {
	case <-serving:
	case err := <-ended:
		stop()
		tb.Fatalf("the gateway did not start: %v\n%s", err, e.process.String())
	}
	e.addr = e.server.Addrs()["web"].String()
	tb.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			tb.Errorf("the gateway ended with %v", err)
		}
		if e.process.panicked.Load() {
			tb.Errorf("the gateway panicked:\n%s", e.process.String())
		}
		e.upstream.checkStrict(tb)
	})
}

// upstreams is what the program shows of its clusters.
func (e *edge) upstreams() []obs.UpstreamState {
	var all []obs.UpstreamState
	for _, c := range e.server.Snapshot().Clusters() {
		u := obs.UpstreamState{Name: c.Name(), Confirmed: c.Confirmed()}
		for _, ep := range c.Endpoints() {
			u.Endpoints = append(u.Endpoints, obs.EndpointState{
				Addr: ep.Addr, Healthy: ep.Healthy, Active: ep.Active, Requests: ep.Requests, Failures: ep.Failures,
			})
		}
		all = append(all, u)
	}
	return all
}

// attempts and failures are those of the one endpoint.
func (e *edge) attempts() uint64 { return e.upstreams()[0].Endpoints[0].Requests }
func (e *edge) failures() uint64 { return e.upstreams()[0].Endpoints[0].Failures }

// metric reads the sum of the samples whose name and labels match a regular
// expression, from what Prometheus would be told.
func (e *edge) metric(tb testing.TB, pattern string) float64 {
	tb.Helper()
	w := httptest.NewRecorder()
	e.metrics.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	sum := 0.0
	for _, sample := range regexp.MustCompile(`(?m)^pithead_`+pattern+` (\S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		v, err := strconv.ParseFloat(sample[1], 64)
		if err != nil {
			tb.Fatal(err)
		}
		sum += v
	}
	return sum
}

// dial opens a connection on which everything must be over in a while.
func (e *edge) dial(tb testing.TB) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", e.addr)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	return c
}

// processLog is what the gateway says about itself; of all that it keeps the
// first pages.
type processLog struct {
	panicked atomic.Bool
	mu       sync.Mutex
	b        bytes.Buffer
}

func (l *processLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("panic")) {
		l.panicked.Store(true)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() < 64<<10 {
		l.b.Write(p)
	}
	return len(p), nil
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
