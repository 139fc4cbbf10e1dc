package upstream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxTargets bounds a set. A registry that tells of more is most likely
// mistaken, and every structure behind it grows with the set.
const maxTargets = 10_000

// A source that gave up is started again after a pause in this range.
const (
	minRestart = time.Second
	maxRestart = 30 * time.Second
)

// Feed runs one source and passes its sets on. It remembers the last one, so
// that an upstream which is configured anew with the same discovery has its
// endpoints at once, even while the registry is away.
type Feed struct {
	src    gateway.Source
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	start  sync.Once
	runs   sync.WaitGroup

	confirmed atomic.Pointer[time.Time]

	mu      sync.Mutex // held while subscribers are called, so that they see sets in order
	known   bool
	targets []gateway.Target
	subs    []*subscriber
}

type subscriber struct{ f func([]gateway.Target) }

// NewFeed makes a feed; Start starts it. name tells it apart in logs.
func NewFeed(name string, src gateway.Source, log *slog.Logger) *Feed {
	ctx, cancel := context.WithCancel(context.Background())
	return &Feed{src: src, log: log.With("feed", name), ctx: ctx, cancel: cancel}
}

// Start runs the source. Only the first call counts.
func (f *Feed) Start() {
	f.start.Do(func() { f.runs.Go(f.run) })
}

// Close stops the source and waits for it. Subscribers hear no more of it.
func (f *Feed) Close() error {
	f.cancel()
	f.start.Do(func() {}) // a Start that comes later starts nothing
	f.runs.Wait()
	return nil
}

// Confirmed is when the source last confirmed the set, changed or not; zero
// before the first time.
func (f *Feed) Confirmed() time.Time {
	if at := f.confirmed.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Subscribe calls update with the last set, if there is one, and with every
// change of it: one call at a time, sorted by address, not to be modified.
// update must not call the feed. After cancel has returned, no call runs.
func (f *Feed) Subscribe(update func([]gateway.Target)) (cancel func()) {
	s := &subscriber{update}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = append(f.subs, s)
	if f.known {
		update(f.targets)
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.subs = slices.DeleteFunc(f.subs, func(other *subscriber) bool { return other == s })
	}
}

func (f *Feed) run() {
	pause := minRestart
	for {
		began := time.Now()
		err := f.watch()
		if f.ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxRestart {
			pause = minRestart
		}
		wait := pause/2 + rand.N(pause/2) // so that replicas do not come back together
		f.log.Error("discovery source stopped, will start it again", "in", wait, "error", err)
		select {
		case <-f.ctx.Done():
			return
		case <-time.After(wait):
		}
		pause = min(2*pause, maxRestart)
	}
}

// watch runs the source once. A panic in it must not take the process along.
func (f *Feed) watch() (err error) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	err = f.src.Watch(ctx, func(targets []gateway.Target) { f.publish(ctx, targets) })
	if err == nil {
		err = errors.New("source ended by itself")
	}
	return err
}

func (f *Feed) publish(ctx context.Context, targets []gateway.Target) {
	set := normalise(targets)
	told := len(set)
	set = set[:min(told, maxTargets)]
	f.mu.Lock()
	defer f.mu.Unlock()
	if ctx.Err() != nil {
		return // a source that goes on after its end
	}
	at := time.Now()
	if dated, ok := f.src.(gateway.Dated); ok {
		at = dated.Confirmed()
	}
	f.confirmed.Store(&at)
	if f.known && slices.EqualFunc(f.targets, set, sameTarget) {
		return
	}
	if told > maxTargets {
		f.log.Error("discovery tells of too many endpoints, the rest is ignored", "endpoints", told, "limit", maxTargets)
	}
	f.known, f.targets = true, set
	for _, s := range f.subs {
		s.f(set)
	}
}

// normalise sorts the targets by address, keeps the first of those with the
// same one, and brings weights into 1 to 100.
func normalise(targets []gateway.Target) []gateway.Target {
	set := slices.Clone(targets)
	slices.SortStableFunc(set, func(a, b gateway.Target) int { return cmp.Compare(a.Addr, b.Addr) })
	set = slices.CompactFunc(set, func(a, b gateway.Target) bool { return a.Addr == b.Addr })
	for i := range set {
		set[i].Weight = min(max(set[i].Weight, 1), 100)
	}
	return set
}

func sameTarget(a, b gateway.Target) bool {
	return a.Addr == b.Addr && a.Weight == b.Weight && a.Zone == b.Zone &&
		slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Meta, b.Meta)
}
