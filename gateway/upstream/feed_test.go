package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// addrs collects what a subscriber hears.
type addrs struct{ sets [][]string }

func (a *addrs) update(targets []gateway.Target) {
	set := make([]string, len(targets))
	for i, t := range targets {
		set[i] = t.Addr
	}
	a.sets = append(a.sets, set)
}

func (a *addrs) want(t *testing.T, sets ...[]string) {
	t.Helper()
	if diff := cmp.Diff(sets, a.sets); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
}

func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(at("b:1", "a:1")...)
		f := NewFeed("orders", r, quiet)
		defer f.Close()
		if !f.Confirmed().IsZero() {
			t.Error("confirmed before it was started")
		}
		var early, late addrs
		f.Subscribe(early.update)
		f.Start()
		f.Start()
		synctest.Wait()
		early.want(t, []string{"a:1", "b:1"})
		first := f.Confirmed()

		// The same set again is a confirmation, not a change.
		<-time.After(time.Minute)
		r.set(at("a:1", "b:1")...)
		synctest.Wait()
		early.want(t, []string{"a:1", "b:1"})
		if got := f.Confirmed().Sub(first); got != time.Minute {
			t.Errorf("confirmed %v after the first time, want 1m", got)
		}

		cancel := f.Subscribe(late.update)
		late.want(t, []string{"a:1", "b:1"})
		r.set()
		synctest.Wait()
		late.want(t, []string{"a:1", "b:1"}, []string{})
		cancel()
		r.set(at("c:1")...)
		synctest.Wait()
		late.want(t, []string{"a:1", "b:1"}, []string{})
		early.want(t, []string{"a:1", "b:1"}, []string{}, []string{"c:1"})
	})
}

func TestFeedNoticesEveryField(t *testing.T) {
	base := gateway.Target{Addr: "a:1", Weight: 5, Zone: "z", Tags: []string{"x"}, Meta: map[string]string{"k": "v"}}
	f := func(change func(*gateway.Target)) {
		t.Helper()
		other := base
		change(&other)
		if sameTarget(base, other) {
			t.Errorf("%+v is taken to be the same as %+v", other, base)
		}
	}
	f(func(t *gateway.Target) { t.Addr = "b:1" })
	f(func(t *gateway.Target) { t.Weight = 6 })
	f(func(t *gateway.Target) { t.Zone = "" })
	f(func(t *gateway.Target) { t.Tags = nil })
	f(func(t *gateway.Target) { t.Meta = map[string]string{"k": "w"} })
	if !sameTarget(base, base) {
		t.Error("a target is not the same as itself")
	}
}

func TestNormalise(t *testing.T) {
	f := func(name string, in, want []gateway.Target) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(in)
			if diff := cmp.Diff(want, normalise(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, in); diff != "" {
				t.Errorf("the source's slice was changed:\n%s", diff)
			}
		})
	}
	f("D05 weights", []gateway.Target{{Addr: "a", Weight: -1}, {Addr: "b"}, {Addr: "c", Weight: 1_000_000_000}, {Addr: "d", Weight: 42}},
		[]gateway.Target{{Addr: "a", Weight: 1}, {Addr: "b", Weight: 1}, {Addr: "c", Weight: 100}, {Addr: "d", Weight: 42}})
	f("D07 the same address twice", []gateway.Target{{Addr: "b", Weight: 1}, {Addr: "a", Weight: 2}, {Addr: "a", Weight: 3}},
		[]gateway.Target{{Addr: "a", Weight: 2}, {Addr: "b", Weight: 1}})
	f("nothing", nil, nil)
}

func TestD06TooManyEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		targets := make([]gateway.Target, 100_000)
		for i := range targets {
			targets[i].Addr = fmt.Sprintf("10.%d.%d.%d:80", i/65536, i/256%256, i%256)
		}
		r := newRegistry(targets...)
		f := NewFeed("orders", r, quiet)
		defer f.Close()
		calls, last := 0, 0
		f.Subscribe(func(targets []gateway.Target) { calls, last = calls+1, len(targets) })
		f.Start()
		synctest.Wait()
		r.set(targets...)
		synctest.Wait()
		if calls != 1 || last != maxTargets {
			t.Errorf("%d calls, the last with %d endpoints; want 1 with %d", calls, last, maxTargets)
		}
	})
}

// sourceFunc makes a function a source.
type sourceFunc func(ctx context.Context, publish func([]gateway.Target)) error

func (f sourceFunc) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	return f(ctx, publish)
}

func TestFault50SourceIsStartedAgain(t *testing.T) {
	f := func(name string, fail func() error) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var starts []time.Time
				feed := NewFeed("orders", sourceFunc(func(ctx context.Context, publish func([]gateway.Target)) error {
					starts = append(starts, time.Now())
					if len(starts) <= 10 {
						publish(at("a:1"))
						return fail()
					}
					publish(at("b:1"))
					<-ctx.Done()
					return ctx.Err()
				}), quiet)
				var got addrs
				feed.Subscribe(got.update)
				feed.Start()
				<-time.After(10 * time.Minute)
				synctest.Wait()
				got.want(t, []string{"a:1"}, []string{"b:1"})
				for i := range len(starts) - 1 {
					pause := starts[i+1].Sub(starts[i])
					longest := min(minRestart<<i, maxRestart)
					if pause < longest/2 || pause > longest {
						t.Errorf("pause %d was %v, want %v to %v", i, pause, longest/2, longest)
					}
				}
				if err := feed.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
	f("after an error", func() error { return errors.New("gone") })
	f("after a panic", func() error { panic("nil map") })
	f("after it ended without a word", func() error { return nil })
}

func TestFeedIgnoresASourceThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late func([]gateway.Target)
		f := NewFeed("orders", sourceFunc(func(ctx context.Context, publish func([]gateway.Target)) error {
			late = publish
			publish(at("a:1"))
			<-ctx.Done()
			return ctx.Err()
		}), quiet)
		var got addrs
		f.Subscribe(got.update)
		f.Start()
		synctest.Wait()
		f.Close()
		late(at("b:1"))
		got.want(t, []string{"a:1"})
	})
}

func TestFeedCloseWithoutStart(t *testing.T) {
	f := NewFeed("orders", newRegistry(), quiet)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	f.Start() // must start nothing: the leak check would see it
	if !f.Confirmed().IsZero() {
		t.Error("a closed feed ran its source")
	}
}
