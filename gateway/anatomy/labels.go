package anatomy

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// How many labels there can be, 0 included: as many as a probe can tell apart.
// What comes when only spare ones are left has no endpoint, so that endpoints that
// come and go do not take the names of routes away.
const (
	maxLabels   = 4096
	spareLabels = maxLabels / 4
	overflow    = 1 // the label of all that came too late
)

// overflowRoute is the route that /-/labels gives to the overflow.
const overflowRoute = "(others)"

// labels gives numbers to routes, arms and endpoints. A number keeps its meaning
// for as long as the process runs, whatever reloads change: a probe may hold counts
// under it. Requests read it without a lock.
type labels struct {
	known atomic.Pointer[map[Named]uint32] // by what they stand for, with Label 0
	mu    sync.Mutex                       // orders writers
	all   []Named                          // guarded by mu
}

// of finds the number, or gives one. Nothing in particular is 0.
func (l *labels) of(route, arm, endpoint string) uint32 {
	n := Named{Route: route, Arm: arm, Endpoint: endpoint}
	if n == (Named{}) {
		return 0
	}
	if known := l.known.Load(); known != nil {
		if label, ok := (*known)[n]; ok {
			return label
		}
	}
	return l.add(n)
}

func (l *labels) add(n Named) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = []Named{{Label: overflow, Route: overflowRoute}}
		l.known.Store(new(map[Named]uint32))
	}
	known, next := *l.known.Load(), len(l.all)+1
	if n.Endpoint != "" && next >= maxLabels-spareLabels {
		n.Endpoint = ""
	}
	if label, ok := known[n]; ok {
		return label
	}
	if next >= maxLabels {
		return overflow
	}
	more := make(map[Named]uint32, len(known)+1)
	maps.Copy(more, known)
	more[n] = uint32(next)
	l.known.Store(&more)
	n.Label = uint32(next)
	l.all = append(l.all, n)
	return n.Label
}

// list are all labels that have been given.
func (l *labels) list() []Named {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}
