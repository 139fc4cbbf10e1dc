package store

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/test/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// at has more patience than a gateway in use: the machine may be busy.
func at(s *redistest.Server) Options {
	return Options{Addresses: []string{s.Addr}, PoolSize: 4, Timeout: time.Second, Prefix: "pithead"}
}

// connect is a store of its own, as another process would have it.
func connect(t testing.TB, o Options) *Redis {
	t.Helper()
	s := New(o, obs.NewMetrics(obs.Build{}).Store(o.Name()), slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// started is one that has found Redis.
func started(t testing.TB, o Options) *Redis {
	t.Helper()
	s := connect(t, o)
	soon(t, "redis is found", s.Start())
	return s
}

func soon(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: not in 20 s", what)
	}
}

// await waits for what happens on its own.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not in 20 s", what)
		case <-tick.C:
		}
	}
}

// memory is what a gateway remembers.
type memory struct {
	mu      sync.Mutex
	entries map[string]Entry
	learned int
}

func (m *memory) Learn(e Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.learned++
	m.entries[e.text()] = e
}

func (m *memory) Entries() (all []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		all = append(all, e)
	}
	return all
}

func (m *memory) names() (all []string) {
	for _, e := range m.Entries() {
		all = append(all, e.Name)
	}
	slices.Sort(all)
	return all
}

// gateway is one with a journal.
type gateway struct {
	*Journal
	memory
	t testing.TB
}

func newGateway(t testing.TB, o Options, limit int) *gateway {
	t.Helper()
	g := &gateway{t: t, memory: memory{entries: make(map[string]Entry)}}
	g.Journal = NewJournal(connect(t, o), "logouts", limit, g)
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// joined is one that has read the journal.
func joined(t testing.TB, o Options) *gateway {
	t.Helper()
	g := newGateway(t, o, 1000)
	soon(t, "the journal is read", g.Start())
	return g
}

// tell has a gateway remember and tell of names, which matter for an hour.
func (g *gateway) tell(names ...string) (err error) {
	for _, name := range names {
		e := Entry{name, time.Now(), time.Now().Add(time.Hour)}
		g.Learn(e)
		err = g.Tell(g.t.Context(), e)
	}
	return err
}

// knows waits until a gateway remembers these names, and no others.
func (g *gateway) knows(names ...string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), 20*time.Second)
	defer cancel()
	for got := g.names(); !slices.Equal(got, names); got = g.names() {
		select {
		case <-ctx.Done():
			g.t.Fatalf("it knows %q, want %q", got, names)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
