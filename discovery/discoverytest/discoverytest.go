// Package discoverytest proves that a discovery source keeps the promises of
// gateway.Source, and holds a fake Consul for tests. A source calls Run with a
// way to make one together with the registry behind it:
//
//	discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
//		reg := newFakeRegistry(targets)
//		return discoverytest.Bench{Source: newSource(reg.URL, failed), Set: reg.Set, Break: reg.Break, Mend: reg.Mend}
//	})
package discoverytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/gateway"
)

// Bench is a source under test and the registry behind it. Set is nil for a
// source that cannot change, Break and Mend for one that cannot fail. Plain says
// that the registry knows addresses alone, and loses the labels that it is told.
type Bench struct {
	Plain  bool
	Source gateway.Source
	Set    func(targets []gateway.Target) // makes these the registry's whole set
	Break  func()                         // makes the registry fail
	Mend   func()                         // undoes Break
}

// patience is far more than any source takes; it only bounds a failing test.
const patience = 30 * time.Second

// Maker makes a registry that holds targets and a source that reads it and
// reports failed attempts.
type Maker func(t *testing.T, targets []gateway.Target, failed func(error)) Bench

// initial is what the registry of each subtest holds at first.
func initial() []gateway.Target {
	return []gateway.Target{
		{Addr: "10.0.0.1:9000", Weight: 1, Tags: []string{"a", "stable"}, Meta: map[string]string{"version": "v1"}},
		{Addr: "10.0.0.2:9000", Weight: 1},
		{Addr: "10.0.0.3:9000", Weight: 1},
	}
}

func (newBench Maker) begin(t *testing.T) (Bench, *watch) {
	w := newWatch(t)
	b := newBench(t, initial(), w.failed)
	w.plain = b.Plain
	w.start(b.Source)
	w.wait("the first set", initial())
	return b, w
}

// Run is the conformance test.
func Run(t *testing.T, newBench Maker) {
	three := initial()
	t.Run("the first set is whole", func(t *testing.T) {
		_, w := newBench.begin(t)
		w.end()
		if n := w.first.Load(); n != int64(len(three)) {
			t.Errorf("the first publish had %d targets, want %d", n, len(three))
		}
	})
	t.Run("the end of the context ends Watch without an error", func(t *testing.T) {
		_, w := newBench.begin(t)
		w.end()
	})
	t.Run("updates and removals arrive", func(t *testing.T) {
		b, w := newBench.begin(t)
		defer w.end()
		if b.Set == nil {
			return
		}
		four := append(slices.Clone(three), gateway.Target{Addr: "10.0.0.4:9000", Weight: 1, Tags: []string{"canary"}})
		b.Set(four)
		w.wait("an addition", four)
		b.Set(four[2:])
		w.wait("a removal", four[2:])
	})
	t.Run("a failing registry changes nothing", func(t *testing.T) {
		b, w := newBench.begin(t)
		defer w.end()
		if b.Break == nil {
			return
		}
		b.Break()
		w.waitFailure()
		w.expectQuiet()
		b.Mend()
		b.Set(three[:2])
		w.wait("the set after the outage", three[:2])
	})
	t.Run("a source can be watched again", func(t *testing.T) {
		b, w := newBench.begin(t)
		w.end()
		w = newWatch(t)
		w.plain = b.Plain
		w.start(b.Source)
		w.wait("the first set", three)
		w.end()
	})
}

// watch runs one Watch and checks what each call of publish must keep to.
type watch struct {
	t        *testing.T
	plain    bool
	cancel   context.CancelFunc
	sets     chan []gateway.Target
	failures chan error
	ended    chan error
	first    atomic.Int64 // size of the first set

	mu       sync.Mutex
	busy     bool
	finished bool
}

func newWatch(t *testing.T) *watch {
	return &watch{t: t, sets: make(chan []gateway.Target, 1024), failures: make(chan error, 1024), ended: make(chan error, 1)}
}

func (w *watch) start(source gateway.Source) {
	ctx, cancel := context.WithCancel(context.Background()) // not of t: it must end before the cleanups
	w.cancel = cancel
	w.first.Store(-1)
	go func() {
		err := source.Watch(ctx, w.publish)
		w.mu.Lock()
		w.finished = true
		w.mu.Unlock()
		w.ended <- err
	}()
	w.t.Cleanup(cancel)
}

func (w *watch) failed(err error) {
	select {
	case w.failures <- err:
	default: // enough are there to be found
	}
}

func (w *watch) publish(targets []gateway.Target) {
	w.mu.Lock()
	if w.busy {
		w.t.Error("publish was called while it ran")
	}
	if w.finished {
		w.t.Error("publish was called after Watch had returned")
	}
	w.busy = true
	w.mu.Unlock()

	w.first.CompareAndSwap(-1, int64(len(targets)))
	w.sets <- slices.Clone(targets)
	// The set belongs to whom it was published to: a source that keeps the slice
	// would publish this the next time.
	for i := range targets {
		targets[i] = gateway.Target{Addr: "stale.invalid:1"}
	}

	w.mu.Lock()
	w.busy = false
	w.mu.Unlock()
}

// wait waits until want is published; sets before it that are on the way to it are fine.
func (w *watch) wait(what string, want []gateway.Target) {
	w.t.Helper()
	if w.plain {
		want = withoutLabels(want)
	}
	timeout := time.After(patience)
	diff := "nothing was published"
	for {
		select {
		case got := <-w.sets:
			diff = cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(byAddr))
			if diff == "" {
				return
			}
		case err := <-w.ended:
			w.t.Fatalf("Watch ended while waiting for %s: %v", what, err)
		case <-timeout:
			w.t.Fatalf("%s did not arrive in %s; last (-want +got):\n%s", what, patience, diff)
		}
	}
}

func withoutLabels(targets []gateway.Target) []gateway.Target {
	targets = slices.Clone(targets)
	for i := range targets {
		targets[i].Tags, targets[i].Meta = nil, nil
	}
	return targets
}

func byAddr(a, b gateway.Target) bool { return strings.Compare(a.Addr, b.Addr) < 0 }

// waitFailure waits until the source has noticed the outage. What it published
// before that was right.
func (w *watch) waitFailure() {
	w.t.Helper()
	select {
	case err := <-w.failures:
		w.t.Logf("noticed: %v", err)
	case err := <-w.ended:
		w.t.Fatalf("Watch gave up: %v", err)
	case <-time.After(patience):
		w.t.Fatalf("no failure was reported in %s", patience)
	}
	for len(w.sets) > 0 {
		<-w.sets
	}
}

// expectQuiet fails if something is published soon.
func (w *watch) expectQuiet() {
	w.t.Helper()
	select {
	case got := <-w.sets:
		w.t.Errorf("a source whose registry fails published %v", fmt.Sprint(got))
	case err := <-w.ended:
		w.t.Fatalf("Watch gave up: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
}

func (w *watch) end() {
	w.t.Helper()
	w.cancel()
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Errorf("Watch returned %v at the end of its context, want nil", err)
		}
	case <-time.After(patience):
		w.t.Fatalf("Watch did not return in %s after the end of its context", patience)
	}
}
