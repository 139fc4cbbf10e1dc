package breaker

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"sync"
)

// Kept is the key under which a process keeps its registry.
const Kept = "breakers"

// Registry knows the groups at work, for people who look at them.
type Registry struct {
	mu     sync.Mutex
	groups []*Group
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return new(Registry) }

// Add shows the breakers of a group until it is closed. first is false for one that
// is shown already.
func (r *Registry) Add(g *Group) (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.groups, g) {
		return false
	}
	r.groups = append(r.groups, g)
	g.OnClose(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.groups = slices.DeleteFunc(r.groups, func(other *Group) bool { return other == g })
	})
	return true
}

// List is the state of all breakers, sorted by name.
func (r *Registry) List() []Status {
	r.mu.Lock()
	groups := slices.Clone(r.groups)
	r.mu.Unlock()
	var all []Status
	for _, g := range groups {
		all = append(all, g.List()...)
	}
	slices.SortStableFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// ErrUnknown says that there is no such breaker.
var ErrUnknown = errors.New("there is no circuit breaker of this name; each begins with the first request that it guards")

// Force has the breaker with this name do what an operator wants.
func (r *Registry) Force(name string, f Force) (Status, error) {
	r.mu.Lock()
	groups := slices.Clone(r.groups)
	r.mu.Unlock()
	for _, g := range groups {
		if !strings.HasPrefix(name, g.name+"/") {
			continue
		}
		for k, b := range *g.breakers.Load() {
			if g.name+"/"+k.String() == name {
				b.Force(f)
				return Status{Name: name, Group: g.name, Key: k, Info: b.Info()}, nil
			}
		}
	}
	return Status{}, ErrUnknown
}

// ParseForce reads a wish: auto, open or closed.
func ParseForce(text string) (Force, bool) {
	i := slices.Index(forceNames[:], text)
	return Force(max(0, i)), i >= 0
}
