package breaker

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Per says what has a breaker of its own.
type Per uint8

// What may have a breaker of its own.
const (
	PerUpstream Per = iota
	PerArm
	PerEndpoint
	PerRoute
)

// Key says what a breaker of a group guards.
type Key struct {
	Per  Per
	Of   string // the upstream or the route
	Part string // the arm or the endpoint of the upstream; may be empty
}

// String is the last part of the name of the breaker.
func (k Key) String() string {
	if k.Part == "" {
		return k.Of
	}
	return k.Of + "/" + k.Part
}

// Group are the breakers of one block of the configuration, made when they are
// first asked for. It outlives reloads.
type Group struct {
	name     string
	log      *slog.Logger
	breakers atomic.Pointer[map[Key]*Breaker]

	mu       sync.Mutex // for changes of the map, which is never changed in place
	settings Settings
	leave    []func()
}

// NewGroup makes an empty group. name is unique in the process.
func NewGroup(name string, s Settings, log *slog.Logger) *Group {
	g := &Group{name: name, log: log, settings: s}
	g.breakers.Store(&map[Key]*Breaker{})
	return g
}

// Name is the first part of the names of its breakers.
func (g *Group) Name() string { return g.name }

// Configure changes the settings of all breakers, and forgets those of what has
// none of its own any more.
func (g *Group) Configure(s Settings, per Per) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settings = s
	all := maps.Clone(*g.breakers.Load())
	maps.DeleteFunc(all, func(k Key, _ *Breaker) bool { return k.Per != per })
	for _, b := range all {
		b.Configure(s)
	}
	g.breakers.Store(&all)
}

// Get is the breaker for a key. Hot path.
func (g *Group) Get(k Key) *Breaker {
	if b, ok := (*g.breakers.Load())[k]; ok {
		return b
	}
	return g.add(k)
}

// forgotten is how long the breaker of an endpoint is kept that nobody uses:
// endpoints come and go, and each new one brings the others to mind.
const forgotten = 10 * time.Minute

func (g *Group) add(k Key) *Breaker {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := maps.Clone(*g.breakers.Load())
	if b, ok := all[k]; ok {
		return b
	}
	maps.DeleteFunc(all, func(k Key, b *Breaker) bool { return k.Per == PerEndpoint && b.idle(forgotten) })
	name := g.name + "/" + k.String()
	b := New(g.settings, func(c Change) { g.tell(name, c) })
	all[k] = b
	g.breakers.Store(&all)
	return b
}

// tell logs a transition.
func (g *Group) tell(name string, c Change) {
	level := slog.LevelInfo
	if c.To == Open {
		level = slog.LevelWarn
	}
	attrs := []any{"breaker", name, "from", c.From.String(), "to", c.To.String(), "reason", c.Why}
	if c.For > 0 {
		attrs = append(attrs, "for", c.For.Round(time.Millisecond).String())
	}
	g.log.Log(context.Background(), level, "circuit breaker", attrs...)
}

// Status is one breaker and how it is.
type Status struct {
	Name  string // unique in the process
	Group string
	Key   Key
	Info  Info
}

// List is the state of all breakers, sorted by name.
func (g *Group) List() []Status {
	all := *g.breakers.Load()
	list := make([]Status, 0, len(all))
	for k, b := range all {
		list = append(list, Status{Name: g.name + "/" + k.String(), Group: g.name, Key: k, Info: b.Info()})
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// OnClose has f called when the group is closed.
func (g *Group) OnClose(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave = append(g.leave, f)
}

// Close implements io.Closer.
func (g *Group) Close() error {
	g.mu.Lock()
	leave := g.leave
	g.leave = nil
	g.mu.Unlock()
	for _, f := range leave {
		f()
	}
	return nil
}
