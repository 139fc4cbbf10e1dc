package obs

import "sync"

// watchers are the states of things that come and go with reloads, by name. While a reload
// replaces one there may be two under a name, of which the later one is shown.
type watchers[K comparable, S any] struct {
	mu  sync.Mutex
	all []*watcher[K, S] // in the order in which they came
}

type watcher[K comparable, S any] struct {
	name  K
	state func() S
}

// watch shows a state under a name until forget is called.
func (w *watchers[K, S]) watch(name K, state func() S) (forget func()) {
	one := &watcher[K, S]{name, state}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, one)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, other := range w.all {
			if other == one {
				w.all = append(w.all[:i:i], w.all[i+1:]...)
				return
			}
		}
	}
}

// states are those that are shown.
func (w *watchers[K, S]) states() map[K]S {
	w.mu.Lock()
	latest := make(map[K]func() S, len(w.all))
	for _, one := range w.all {
		latest[one.name] = one.state
	}
	w.mu.Unlock()
	states := make(map[K]S, len(latest))
	for name, state := range latest {
		states[name] = state()
	}
	return states
}
