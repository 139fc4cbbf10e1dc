package httpcache

import (
	"slices"
	"strings"
	"sync"
)

// Kept is the key under which a process keeps its registry.
const Kept = "caches"

// Registry knows the caches at work, for people who look at them.
type Registry struct {
	mu     sync.Mutex
	stores map[string]*Store
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{stores: make(map[string]*Store)} }

// Add shows a cache under a name until forget is called.
func (r *Registry) Add(name string, s *Store) (forget func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[name] = s
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.stores[name] == s {
			delete(r.stores, name)
		}
	}
}

// Get finds a cache by its name.
func (r *Registry) Get(name string) (*Store, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.stores[name]
	return s, ok
}

// Status is a cache and its name.
type Status struct {
	Name string
	Info
}

// List is what all caches look like, sorted by name.
func (r *Registry) List() []Status {
	r.mu.Lock()
	all := make([]Status, 0, len(r.stores))
	stores := make([]*Store, 0, len(r.stores))
	for name, s := range r.stores {
		all, stores = append(all, Status{Name: name}), append(stores, s)
	}
	r.mu.Unlock()
	for i, s := range stores {
		all[i].Info = s.Info()
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}
