package build

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/middleware"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds the wait for what should come at once.
const patience = 20 * time.Second

// memoryConfig is a discovery source that a test holds in its hands.
type memoryConfig struct {
	ID   string `yaml:"id"`
	Note string `yaml:"note"` // changes the block and nothing else
}

// memory tells what the test says, and counts who watches it.
type memory struct {
	mu      sync.Mutex
	targets []gateway.Target
	silent  bool // it has not reached its registry yet
	changed chan struct{}
	watched int
	watches int
	failed  func(error)
}

var memories sync.Map // by id

func newMemory(t *testing.T, id string, addrs ...string) *memory {
	t.Helper()
	m := &memory{changed: make(chan struct{})}
	m.targets = targets(addrs)
	if _, taken := memories.LoadOrStore(id, m); taken {
		t.Fatalf("a second source %q", id)
	}
	t.Cleanup(func() { memories.Delete(id) })
	return m
}

func targets(addrs []string) (all []gateway.Target) {
	for _, addr := range addrs {
		all = append(all, gateway.Target{Addr: addr})
	}
	return all
}

// set changes the set; a silent source begins to speak.
func (m *memory) set(addrs ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.targets, m.silent = targets(addrs), false
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) counts() (watched, watches int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.watched, m.watches
}

// Watch implements gateway.Source.
func (m *memory) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	m.mu.Lock()
	m.watched++
	m.watches++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.watched--
		m.mu.Unlock()
	}()
	for {
		m.mu.Lock()
		now, silent, changed := slices.Clone(m.targets), m.silent, m.changed
		m.mu.Unlock()
		if !silent {
			publish(now)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// probeConfig is a middleware that shows what it was built with.
type probeConfig struct {
	Name   string   `yaml:"name"`
	Proves []string `yaml:"proves"`
	Needs  []string `yaml:"needs"`
	Owns   []string `yaml:"owns"`
	Panic  bool     `yaml:"panic"`
	Reject string   `yaml:"reject"` // the build fails with this text
	At     string   `yaml:"at"`     // at this setting
	Ask    string   `yaml:"ask"`    // for this upstream, which must be there
	Try    string   `yaml:"try"`    // asks for this upstream, which need not be there
}

// Validate refuses one name.
func (c probeConfig) Validate() error {
	if c.Name == "forbidden" {
		return kind.At("name", "that name is forbidden")
	}
	return nil
}

// probed are what the probes of a test were built with, by name.
var probed sync.Map

func newProbe(c probeConfig, env middleware.Env) (gateway.Step, error) {
	if c.Reject != "" {
		return gateway.Step{}, kind.At(c.At, "%s", c.Reject)
	}
	if c.Ask != "" {
		if _, ok := env.Upstream(c.Ask); !ok {
			return gateway.Step{}, kind.At("ask", "unknown upstream %q", c.Ask)
		}
	}
	found := false
	if c.Try != "" {
		var cluster gateway.Cluster
		if cluster, found = env.Upstream(c.Try); !found && cluster != nil {
			return gateway.Step{}, kind.At("try", "a cluster that is not there")
		}
	}
	if c.Name != "" {
		all, _ := probed.LoadOrStore(c.Name, new([]middleware.Env))
		*all.(*[]middleware.Env) = append(*all.(*[]middleware.Env), env)
	}
	step := gateway.Step{Owns: c.Owns, Explain: func(_ *http.Request, x *gateway.Exchange) string {
		for range c.Proves {
			x.Subject = "somebody"
		}
		return "probes as " + c.Name
	}}
	step.Wrap = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("X-Probe", c.Name)
			if c.Panic {
				panic("probe")
			}
			if found {
				w.Header().Add("X-Found", c.Try)
			}
			next.ServeHTTP(w, r)
		})
	}
	for _, id := range c.Proves {
		step.Proves = append(step.Proves, gateway.Identity(id))
	}
	for _, id := range c.Needs {
		step.Needs = append(step.Needs, gateway.Identity(id))
	}
	return step, nil
}

// envsOf are the Envs that probes with this name were built with since the last call.
func envsOf(name string) []middleware.Env {
	all, ok := probed.LoadAndDelete(name)
	if !ok {
		return nil
	}
	return *all.(*[]middleware.Env)
}

func init() {
	kind.Add(middleware.Kinds, "probe", probeConfig{}, newProbe)
	kind.Add(discovery.Kinds, "memory", memoryConfig{}, func(c memoryConfig, env discovery.Env) (gateway.Source, error) {
		m, ok := memories.Load(c.ID)
		if !ok {
			return nil, kind.At("id", "no source %q", c.ID)
		}
		m.(*memory).failed = env.Failed
		return m.(*memory), nil
	})
}

// process is what outlives the snapshots of a test.
type process struct {
	Env
	t    *testing.T
	name string // of the process file
}

func newProcess(t *testing.T) *process {
	return &process{t: t, name: filepath.Join(t.TempDir(), "pithead.yaml"), Env: Env{
		Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{Version: "test"}),
	}}
}

// write makes a file beside the process file.
func (p *process) write(name string, data []byte) string {
	p.t.Helper()
	path := filepath.Join(filepath.Dir(p.name), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *process) read(name string) []byte {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(p.name), name))
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *process) parse(text string) *config.Config {
	p.t.Helper()
	cfg, err := config.Parse(config.FilesOf(p.name, []byte(text)))
	if err != nil {
		p.t.Fatal(err)
	}
	return cfg
}

// compile builds a snapshot that is closed at the end of the test.
func (p *process) compile(text string) *Snapshot {
	p.t.Helper()
	snap, err := Compile(p.parse(text), p.Env)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.close(snap) })
	return snap
}

// start builds a snapshot and waits until its upstreams have endpoints.
func (p *process) start(text string) *Snapshot {
	p.t.Helper()
	snap := p.compile(text)
	snap.Start()
	p.waitFilled(snap)
	return snap
}

func (p *process) close(snap *Snapshot) {
	p.t.Helper()
	if err := snap.Close(); err != nil {
		p.t.Error(err)
	}
}

// mistakes compiles a text that must be refused, and returns every mistake as
// "line:column: message".
func (p *process) mistakes(text string) []string {
	p.t.Helper()
	snap, err := Compile(p.parse(text), p.Env)
	if err == nil {
		p.close(snap)
		return nil
	}
	errs, ok := errors.AsType[config.Errors](err)
	if !ok || err.Error() != errs.Error() {
		p.t.Fatalf("the error is a %T: %v", err, err)
	}
	if n := p.Pool.Len(); n != 0 {
		p.t.Errorf("a refused configuration left %d values", n)
	}
	var all []string
	for _, e := range errs {
		if e.File != p.name {
			p.t.Errorf("the mistake is said to be in %s", e.File)
		}
		all = append(all, fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg))
	}
	return all
}

func metricsText(t *testing.T, m *obs.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

// silence makes the source stop telling anything new.
func (m *memory) silence() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.silent = true
}

// request is one as a client of the process would send it.
func request(t *testing.T, method, target string) *http.Request {
	t.Helper()
	return httptest.NewRequestWithContext(t.Context(), method, target, nil)
}

func (p *process) waitFilled(snap *Snapshot) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if missing := snap.Wait(ctx); missing != nil {
		p.t.Fatalf("no endpoints for %v", missing)
	}
}

// eventually waits until a condition holds that nothing tells of.
func (p *process) eventually(what string, holds func() bool) {
	p.t.Helper()
	late := time.After(patience)
	for !holds() {
		select {
		case <-late:
			p.t.Fatalf("%s did not come", what)
		case <-time.After(time.Millisecond):
		}
	}
}
