package limitview

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Kept is the key under which a process keeps its registry.
const Kept = "limits"

// most is how many limits of a sort a report has. To count the keys of a rate limit is to
// look at all of them, and nobody reads on for so long.
const most = 1000

// RateSource is a rate limit at work.
type RateSource interface {
	Rate() Rate
	// Left takes nothing from the caller.
	Left(ctx context.Context, who Facts) *Caller
}

// Registry knows the limits at work, for people who look at them.
type Registry struct {
	mu          sync.Mutex
	rates       shown[RateSource]
	concurrency shown[func() Concurrency]
	adaptive    shown[func() Adaptive]
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{rates: make(shown[RateSource]), concurrency: make(shown[func() Concurrency]), adaptive: make(shown[func() Adaptive])}
}

// shown are the limits of a sort by name. Of two under one name, as there are for a moment
// in a reload, the later one is shown.
type shown[T any] map[string]*T

func show[T any](r *Registry, in shown[T], name string, what T) (forget func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in[name] = &what
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if in[name] == &what {
			delete(in, name)
		}
	}
}

// ShowRate shows a rate limit until forget is called.
func (r *Registry) ShowRate(name string, what RateSource) (forget func()) {
	return show(r, r.rates, name, what)
}

// ShowConcurrency shows a limit of requests at a time until forget is called.
func (r *Registry) ShowConcurrency(name string, what func() Concurrency) (forget func()) {
	return show(r, r.concurrency, name, what)
}

// ShowAdaptive shows a limit that follows the health of a service until forget is called.
func (r *Registry) ShowAdaptive(name string, what func() Adaptive) (forget func()) {
	return show(r, r.adaptive, name, what)
}

// one is a limit to report.
type one[T any] struct {
	name string
	what T
}

// chosen are the limits called name, or all of them, as far as there is room.
func chosen[T any](r *Registry, from shown[T], name string) (all []one[T], leftOff int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(from)) {
		switch {
		case name != "" && n != name:
		case len(all) == most:
			leftOff++
		default:
			all = append(all, one[T]{n, *from[n]})
		}
	}
	return all, leftOff
}

// Report is the state of the limits called name, or of all for "". With who, it says
// what that caller has left of each rate limit.
func (r *Registry) Report(ctx context.Context, name string, who Facts) Report {
	rates, a := chosen(r, r.rates, name)
	concurrency, b := chosen(r, r.concurrency, name)
	adaptive, c := chosen(r, r.adaptive, name)
	report := Report{Rates: []Rate{}, Concurrency: []Concurrency{}, Adaptive: []Adaptive{}, LeftOff: a + b + c}
	for _, l := range rates {
		s := l.what.Rate()
		s.Name = l.name
		if who != nil {
			s.Caller = l.what.Left(ctx, who)
		}
		report.Rates = append(report.Rates, s)
	}
	for _, l := range concurrency {
		s := l.what()
		s.Name = l.name
		report.Concurrency = append(report.Concurrency, s)
	}
	for _, l := range adaptive {
		s := l.what()
		s.Name = l.name
		report.Adaptive = append(report.Adaptive, s)
	}
	return report
}

// Empty says that the report has no limit.
func (r *Report) Empty() bool { return len(r.Rates)+len(r.Concurrency)+len(r.Adaptive) == 0 }
