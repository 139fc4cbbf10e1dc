package discovery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// sharedBench is a fake Consul and the upstreams that share their watches of it.
type sharedBench struct {
	*discoverytest.Consul
	t       *testing.T
	watches *Watches
	log     *bench // of the watches
}

// sharer is one upstream of a sharedBench.
type sharer struct {
	bench
	source gateway.Source
	end    func() // takes the upstream away
}

// inShared runs f with a fake inside a synctest bubble. All upstreams that f
// leaves behind are taken away after it, and then nothing may be left of them.
func inShared(t *testing.T, f func(b *sharedBench), instances ...discoverytest.Instance) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &bench{t: t}
		b := &sharedBench{Consul: discoverytest.NewConsulInMemory(), t: t, watches: NewWatches(log.env().Log), log: log}
		t.Cleanup(b.Close)
		t.Cleanup(func() { b.asks(0) })
		b.Register(instances...)
		f(b)
	})
}

// join adds an upstream.
func (b *sharedBench) join(change func(*ConsulConfig)) *sharer {
	b.t.Helper()
	c := consulDefaults()
	c.Address = "http://consul.internal:8500"
	if change != nil {
		change(&c)
	}
	s := &sharer{bench: bench{t: b.t}}
	env := s.env()
	env.Watches = b.watches
	var err error
	s.source, err = shareConsul(c, env, b.Dial)
	must(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.source.Watch(ctx, s.publish); err != nil {
			b.t.Errorf("Watch returned %v", err)
		}
	}()
	s.end = func() { cancel(); <-done }
	b.t.Cleanup(s.end)
	synctest.Wait()
	return s
}

// asks checks how many questions are being asked, and that each has one query.
func (b *sharedBench) asks(questions int) {
	b.t.Helper()
	synctest.Wait()
	if n, open := b.Waiting(), b.watches.Len(); n != questions || open != questions {
		b.t.Errorf("%d queries wait at Consul for %d questions, want %d", n, open, questions)
	}
}

func TestSharedWatch(t *testing.T) {
	t.Run("ten upstreams, one query, and a change reaches all", func(t *testing.T) {
		inShared(t, func(b *sharedBench) {
			var all []*sharer
			for range 10 {
				all = append(all, b.join(nil))
			}
			b.asks(1)
			if n := len(b.Calls()); n != 2 { // one that does not block, one that does
				t.Errorf("%d queries", n)
			}
			b.Register(order(2))
			for _, s := range all {
				s.after(0).is("10.0.0.1:9000 10.0.0.2:9000")
			}
			b.asks(1)
			if n := len(b.Calls()); n != 3 {
				t.Errorf("%d queries for one change, want 1", n-2)
			}
		}, order(1))
	})
	t.Run("leaving disturbs nobody, and the last one ends it", func(t *testing.T) {
		inShared(t, func(b *sharedBench) {
			first, second, third := b.join(nil), b.join(nil), b.join(nil)
			second.end()
			first.end() // by whose source the others hear
			b.asks(1)
			if n := len(b.Calls()); n != 2 {
				t.Errorf("%d queries more than before", n-2)
			}
			b.Register(order(2))
			third.after(0).is("10.0.0.1:9000 10.0.0.2:9000")
			first.is("10.0.0.1:9000")
			second.is("10.0.0.1:9000")
			third.end()
			b.asks(0)
			b.join(nil).is("10.0.0.1:9000 10.0.0.2:9000")
			b.asks(1)
		}, order(1))
	})
	t.Run("who comes later has the set at once, even while Consul is away", func(t *testing.T) {
		bad := order(2)
		bad.Port = 0
		inShared(t, func(b *sharedBench) {
			first := b.join(nil)
			b.Fail(discoverytest.Down)
			confirmed := time.Now()
			first.after(time.Hour)
			second := b.join(nil)
			second.is("10.0.0.1:9000")
			second.skips(1)
			if got := second.source.(gateway.Dated).Confirmed(); !got.Equal(confirmed) {
				t.Errorf("the set was confirmed at %s, want %s", got, confirmed)
			}
			first.end()
			b.Fail(discoverytest.None)
			second.after(5 * time.Second)
			if sets, _ := second.all(); len(sets) != 2 || time.Since(second.source.(gateway.Dated).Confirmed()) > 5*time.Second {
				t.Errorf("after the outage there are the sets %v", sets)
			}
		}, order(1), bad)
	})
	t.Run("failures and skips are told to each, the log once", func(t *testing.T) {
		inShared(t, func(b *sharedBench) {
			first, second := b.join(nil), b.join(nil)
			bad := order(2)
			bad.Address = "169.254.169.254"
			b.Register(bad)
			first.after(0).skips(1)
			second.skips(1)
			b.Fail(discoverytest.Down)
			first.after(time.Minute)
			_, one := first.all()
			_, two := second.all()
			if len(one) < 10 || len(one) != len(two) {
				t.Errorf("one upstream was told of %d failures, the other of %d", len(one), len(two))
			}
			for _, line := range []string{"instances skipped", "discovery fails"} {
				if n := strings.Count(b.log.logs()+first.logs()+second.logs(), line); n != 1 {
					t.Errorf("%d lines with %q", n, line)
				}
			}
			if strings.Contains(b.log.logs(), "upstream=") {
				t.Errorf("one upstream is named for all:\n%s", b.log.logs())
			}
		}, order(1))
	})
}

func TestSharedSnapshot(t *testing.T) {
	dir := t.TempDir()
	remember := func(c *ConsulConfig) { c.Snapshot = kind.Path(dir) }
	inShared(t, func(b *sharedBench) {
		b.join(remember)
		b.join(remember).after(0)
		if files := snapshotFiles(t, dir); len(files) != 1 {
			t.Errorf("files %v", files)
		}
	}, order(1))
	inShared(t, func(b *sharedBench) {
		b.Fail(discoverytest.Down)
		first, second := b.join(remember), b.join(remember)
		first.after(2 * time.Second).is("10.0.0.1:9000")
		second.is("10.0.0.1:9000")
		first.end()
		b.Fail(discoverytest.None)
		second.after(5 * time.Second).is("10.0.0.2:9000")
	}, order(2))
}
