package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
)

// patience is how long tests wait for what should come at once, on a machine
// that may be busy.
const patience = 20 * time.Second

// fakeSnapshot serves with a plain handler, and remembers what became of it.
type fakeSnapshot struct {
	http.Handler
	config *config.Config
	certs  *tls.Config
	empty  []string // upstreams that never fill
	state  atomic.Int32
}

const (
	compiled int32 = iota
	started
	closed
)

func (f *fakeSnapshot) Start()                  { f.state.Store(started) }
func (f *fakeSnapshot) TLS(string) *tls.Config  { return f.certs }
func (f *fakeSnapshot) Ready() []string         { return f.empty }
func (*fakeSnapshot) Lacking() ([]string, bool) { return nil, false }
func (f *fakeSnapshot) Close() error            { f.state.Store(closed); return nil }

func (f *fakeSnapshot) Wait(ctx context.Context) []string {
	if len(f.empty) > 0 {
		<-ctx.Done()
	}
	return f.empty
}

// logbook is a log that a test can wait for.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
	grew chan struct{}
}

func newLogbook() *logbook { return &logbook{grew: make(chan struct{})} }

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grew)
	l.grew = make(chan struct{})
	return l.text.Write(p)
}

// forget makes room, where a heap is measured that the log is not to be a part of.
func (l *logbook) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

func (l *logbook) count(part string) (int, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part), l.grew
}

// wait returns when part has been logged n times.
func (l *logbook) wait(t testing.TB, part string, n int) {
	t.Helper()
	late := time.After(patience)
	for {
		got, grew := l.count(part)
		if got >= n {
			return
		}
		select {
		case <-grew:
		case <-late:
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("%q was logged %d times, want %d:\n%s", part, got, n, l.text.String())
		}
	}
}

// house is a running server with fake snapshots.
type house struct {
	*Server
	t       testing.TB
	path    string
	log     *logbook
	metrics *obs.Metrics
	stop    context.CancelFunc
	ended   chan struct{}
	err     error

	mu        sync.Mutex
	serve     http.HandlerFunc
	snapshots []*fakeSnapshot
	certs     *tls.Config
	empty     []string
}

// settings are a configuration with a number of routes; more is further YAML.
func settings(routes int, more string) string {
	var b strings.Builder
	b.WriteString(`access_log: {output: "off"}
reload: {debounce: 20ms, poll: 100ms}
upstreams: {u: {discover: {static: {targets: ["127.0.0.1:9"]}}}}
routes:
`)
	for i := range routes {
		fmt.Fprintf(&b, "  - {name: r%d, match: {path: /r%d}, to: u}\n", i, i)
	}
	b.WriteString(more)
	return b.String()
}

const (
	web    = "listeners: {web: {address: \"127.0.0.1:0\"}}\n"
	ending = "shutdown: {delay: 0s, lame_duck: 300ms, grace: 5s}\n"
	// patientEnding has a lame duck in which each client of a load comes back, however
	// little processor it has. It ends when they have all gone.
	patientEnding = "shutdown: {delay: 0s, lame_duck: 10s, grace: 20s}\n"
)

// prepare makes a house that serves with h; open starts it.
func prepare(t testing.TB, text string, h http.HandlerFunc) *house {
	path := filepath.Join(t.TempDir(), "pithead.yaml")
	put(t, path, text)
	log := newLogbook()
	m := obs.NewMetrics(obs.Build{})
	s := New(Options{Path: path, Metrics: m, Log: slog.New(slog.NewTextHandler(log, nil))})
	house := &house{Server: s, t: t, path: path, log: log, metrics: m, ended: make(chan struct{}), serve: h}
	s.compile = house.compileFake
	return house
}

func (h *house) compileFake(c *config.Config) (snapshot, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	snap := &fakeSnapshot{Handler: h.serve, config: c, certs: h.certs, empty: h.empty}
	h.snapshots = append(h.snapshots, snap)
	return snap, nil
}

func (h *house) open() *house {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() {
		defer close(h.ended)
		h.err = h.Run(ctx)
	}()
	h.t.Cleanup(func() {
		stop()
		h.Hurry()
		h.wait()
	})
	h.log.wait(h.t, "configuration in use", 1)
	return h
}

// wait returns when Run has.
func (h *house) wait() {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.t.Fatal("the server does not end")
	}
	if h.err != nil {
		h.t.Errorf("Run: %v", h.err)
	}
}

func (h *house) addr() string { return h.Addrs()["web"].String() }

// edit changes the file and asks for a reload.
func (h *house) edit(text string) error {
	put(h.t, h.path, text)
	_, err := h.Reload(h.t.Context(), TriggerAdmin)
	return err
}

// get asks with a client of its own for one path.
func (h *house) get(path string) (status int, body string, err error) {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	return fetch(c, "http://"+h.addr()+path)
}

func fetch(c *http.Client, url string) (int, string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func (h *house) wantGet(want string) {
	h.t.Helper()
	status, body, err := h.get("/")
	if err != nil || status != http.StatusOK || body != want {
		h.t.Errorf("GET: %d %q %v, want 200 %q", status, body, err, want)
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestRunServesAndEnds(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	if ok, why := h.Ready(); !ok {
		t.Errorf("not ready: %v", why)
	}
	h.wantGet("hello")
	h.stop()
	h.wait()
	if ok, why := h.Ready(); ok || why[0] != "shutting down" {
		t.Errorf("after the end: %t %v", ok, why)
	}
	if got := h.snapshots[0].state.Load(); got != closed {
		t.Errorf("snapshot state %d, want closed", got)
	}
	if n := h.pool.Len(); n != 0 {
		t.Errorf("%d values are still kept", n)
	}
}

func TestRunRefusesABadStart(t *testing.T) {
	f := func(name, text, want string) {
		t.Run(name, func(t *testing.T) {
			h := prepare(t, text, say(""))
			err := h.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Run: %v, want %q", err, want)
			}
			if ok, _ := h.Ready(); ok {
				t.Error("ready")
			}
			if n, _ := h.log.count("level=ERROR"); n != 0 {
				t.Error("the error was logged too")
			}
		})
	}
	f("unknown key", settings(1, web+"nonsense: 1\n"), "pithead.yaml:")
	f("bad address", settings(1, "listeners: {web: {address: \"192.0.2.1:1\"}}\n"), "listen on 192.0.2.1:1")
	f("bad access log", strings.Replace(settings(1, web), `"off"`, "/nowhere/at/all", 1), "access log")
}

func TestStopDuringTheStart(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello"))
	h.empty = []string{"u"}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := h.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := h.snapshots[0].state.Load(); got != closed {
		t.Errorf("snapshot state %d, want closed", got)
	}
}

func TestStartWaitsTwoSecondsForEndpoints(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello"))
	h.empty = []string{"u"}
	begin := time.Now()
	h.open()
	if took := time.Since(begin); took < fillWait {
		t.Errorf("served after %s", took)
	}
	if ok, why := h.Ready(); ok || !strings.Contains(why[0], "upstream u") {
		t.Errorf("Ready: %t %v", ok, why)
	}
	h.wantGet("hello")
}

func TestAddrsAndSnapshotBeforeTheStart(t *testing.T) {
	s := New(Options{})
	if s.Addrs() != nil || s.Snapshot() != nil || s.ReopenLog() != nil {
		t.Error("there is something before the start")
	}
	if _, err := s.Reload(t.Context(), TriggerSignal); err == nil {
		t.Error("Reload before the start: no error")
	}
	if ok, why := s.Ready(); ok || why[0] != "starting" {
		t.Errorf("Ready: %t %v", ok, why)
	}
}
