package server

import (
	"slices"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

// Generation is a configuration that came into use, and what made it another one
// than that before.
type Generation struct {
	Number  uint64
	Loaded  time.Time
	Trigger string
	Routes  int
	Changes config.Changes // none for the first one
}

// maxHistory and maxNamed bound what is remembered: names, never configurations.
const (
	maxHistory = 20
	maxNamed   = 100
)

// remember needs s.mu.
func (s *Server) remember(g *generation, at time.Time) {
	changes := g.changes
	for _, c := range []*config.Change{&changes.Routes, &changes.Upstreams, &changes.Middleware, &changes.Listeners, &changes.Files} {
		c.Added, c.Removed, c.Changed = shortened(c.Added), shortened(c.Removed), shortened(c.Changed)
	}
	g.changes = changes
	s.history = append(s.history, Generation{g.number, at, g.trigger, len(g.config.Routes), changes})
	if len(s.history) > maxHistory {
		s.history = slices.Delete(s.history, 0, len(s.history)-maxHistory)
	}
}

// shortened ends a long list with an ellipsis.
func shortened(names []string) []string {
	if len(names) <= maxNamed {
		return names
	}
	return append(slices.Clone(names[:maxNamed]), "…")
}

// Generations are the last ones, the one in use first.
func (s *Server) Generations() []Generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.history)
	slices.Reverse(all)
	return all
}

// sumsOf are hashes of files that change on their own.
func sumsOf(paths []string) map[string][32]byte {
	sums := make(map[string][32]byte, len(paths))
	for _, path := range paths {
		sums[path] = sumOfFile(path)
	}
	return sums
}

// changedSums are the files of both whose content is another one.
func changedSums(old, next map[string][32]byte) (changed []string) {
	for path, sum := range next {
		if before, known := old[path]; known && before != sum {
			changed = append(changed, path)
		}
	}
	slices.Sort(changed)
	return changed
}
