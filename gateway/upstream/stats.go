package upstream

import (
	"sync"

	"github.com/pithead/pithead/gateway"
)

// StatsStore holds the stats of the endpoints of one upstream by address, so
// that all generations of a configuration count into the same numbers. An
// address is forgotten with its last user. It also knows the upstream's retries,
// who waits for an endpoint, and who was ejected how often.
type StatsStore struct {
	retries   *retries
	queue     *queue
	ejections *ejections
	hedges    *hedges

	mu   sync.Mutex
	uses map[string]*statsUse
}

type statsUse struct {
	stats *gateway.Stats
	users int
	took  gateway.DurationSnapshot // when hedging has looked last; guarded by StatsStore.mu
}

// NewStatsStore makes an empty store.
func NewStatsStore() *StatsStore {
	return &StatsStore{retries: newRetries(), queue: newQueue(), ejections: newEjections(), hedges: newHedges(), uses: make(map[string]*statsUse)}
}

// Acquire returns the stats of addr and counts the caller as a user.
func (s *StatsStore) Acquire(addr string) *gateway.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uses[addr]
	if !ok {
		u = &statsUse{stats: new(gateway.Stats)}
		s.uses[addr] = u
	}
	u.users++
	return u.stats
}

// Release ends one use of addr.
func (s *StatsStore) Release(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.uses[addr]
	if !ok {
		return
	}
	if u.users--; u.users == 0 {
		delete(s.uses, addr)
		s.ejections.forget(addr)
	}
}

// Len is the number of addresses in use.
func (s *StatsStore) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.uses)
}
