package concurrency

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// service is a simulated upstream that works on so many requests at a time, and
// lets all others wait in the order in which they came.
type service struct {
	mu     sync.Mutex
	free   []time.Time // when each worker is
	takes  time.Duration
	varied bool // by chance, and not only by a tenth
	random *rand.Rand
}

func newService(workers int, takes time.Duration, varied bool) *service {
	return &service{free: make([]time.Time, workers), takes: takes, varied: varied, random: rand.New(rand.NewPCG(1, 2))}
}

// serve takes as long as a request does, and returns how long that was.
func (s *service) serve() time.Duration {
	now := time.Now()
	s.mu.Lock()
	// Requests that all took equally long would go in step: workers would be free at
	// the same moments for ever, and who waits would wait for a whole round.
	share := 0.9 + 0.2*s.random.Float64()
	if s.varied {
		share = s.random.ExpFloat64()
	}
	takes := time.Duration(share * float64(s.takes))
	first := slices.MinFunc(s.free, time.Time.Compare)
	i := slices.Index(s.free, first)
	end := now
	if first.After(now) {
		end = first
	}
	end = end.Add(takes)
	s.free[i] = end
	s.mu.Unlock()
	after(end.Sub(now))
	return end.Sub(now)
}

// change is for while requests run.
func (s *service) change(workers int, takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.free) < workers {
		s.free = append(s.free, now)
	}
	slices.SortFunc(s.free, func(a, b time.Time) int { return b.Compare(a) })
	s.free, s.takes = s.free[:workers], takes
}

// caller asks at even distances.
type caller struct {
	rate     float64 // requests in a second
	key      uint64
	priority gateway.Priority
}

// tally is what became of a caller's requests.
type tally struct {
	mu      sync.Mutex
	took    []time.Duration // of those that were let in, waiting included
	refused int
}

func (t *tally) quantile(q float64) time.Duration {
	slices.SortFunc(t.took, cmp.Compare[time.Duration])
	if len(t.took) == 0 {
		return 0
	}
	return t.took[int(q*float64(len(t.took)-1))]
}

func (t *tally) goodput(over time.Duration) float64 { return float64(len(t.took)) / over.Seconds() }

// ask sends the requests of all callers through the limiter for some time.
func ask(t *testing.T, l *Limiter, s *service, over time.Duration, callers ...caller) []*tally {
	t.Helper()
	all := make([]*tally, len(callers))
	var work sync.WaitGroup
	for i, c := range callers {
		all[i] = new(tally)
		work.Go(func() {
			between := time.Duration(float64(time.Second) / c.rate)
			for range int(over / between) {
				work.Go(func() { once(t.Context(), l, s, c, all[i]) })
				after(between)
			}
		})
	}
	work.Wait()
	return all
}

func once(ctx context.Context, l *Limiter, s *service, c caller, into *tally) {
	start := time.Now()
	if !l.Try() {
		if err := l.Wait(ctx, c.key, c.priority); err != nil {
			into.mu.Lock()
			defer into.mu.Unlock()
			into.refused++
			return
		}
	}
	l.Done(Sample{Waited: s.serve()})
	into.mu.Lock()
	defer into.mu.Unlock()
	into.took = append(into.took, time.Since(start))
}
