package upstream

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// weigher is a policy that remembers the weights of the sets that it was given.
type weigher struct {
	mu   sync.Mutex
	sets []string
}

func (w *weigher) policy(eps []*gateway.Endpoint) gateway.Picker {
	set := ""
	for _, ep := range eps {
		set += fmt.Sprintf(" %s=%d", ep.Addr, ep.Weight)
	}
	w.mu.Lock()
	w.sets = append(w.sets, set)
	w.mu.Unlock()
	return turns(eps)
}

// last is the set in use, count how many there were.
func (w *weigher) last() (set string, count int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sets[len(w.sets)-1], len(w.sets)
}

func (w *weigher) want(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	got, _ := w.last()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("weights at %v (-want +got):\n%s", time.Now().UTC().Format("05.0"), diff)
	}
}

// slow makes a cluster with a slow start of 10 s.
func slow(t *testing.T, targets ...gateway.Target) (*Cluster, *registry, *weigher) {
	t.Helper()
	w, r := new(weigher), newRegistry(targets...)
	feed := NewFeed("orders", r, quiet)
	c := New(Options{Name: "orders", Feed: feed, Policy: w.policy, SlowStart: 10 * time.Second, Log: quiet})
	c.Start()
	t.Cleanup(func() {
		_ = c.Close()
		_ = feed.Close()
	})
	<-c.Filled()
	return c, r, w
}

func TestSlowStart(t *testing.T) {
	bubble(t, "not of the first set", func(t *testing.T) {
		_, _, w := slow(t, at("a:1", "b:1")...)
		w.want(t, " a:1=1 b:1=1")
	})
	bubble(t, "of an endpoint that joins", func(t *testing.T) {
		c, r, w := slow(t, at("a:1")...)
		r.set(at("a:1", "b:1")...)
		for step := 1; step < rampSteps; step++ {
			w.want(t, fmt.Sprintf(" a:1=10 b:1=%d", step))
			if eps := c.Endpoints(); eps[0].SlowStart != 0 || eps[1].SlowStart != step*10 {
				t.Errorf("in step %d they are shown at %d %% and %d %%", step, eps[0].SlowStart, eps[1].SlowStart)
			}
			after(time.Second)
		}
		w.want(t, " a:1=1 b:1=1")
		if got := c.Endpoints()[1].SlowStart; got != 0 {
			t.Errorf("with its full share it is shown at %d %%", got)
		}
		_, count := w.last()
		after(time.Hour)
		if _, later := w.last(); later != count {
			t.Errorf("%d more sets were made after everybody had a full share", later-count)
		}
	})
	bubble(t, "by weight", func(t *testing.T) {
		_, r, w := slow(t, gateway.Target{Addr: "a:1", Weight: 3})
		r.set(gateway.Target{Addr: "a:1", Weight: 3}, gateway.Target{Addr: "b:1", Weight: 7})
		w.want(t, " a:1=30 b:1=7")
		after(4 * time.Second)
		w.want(t, " a:1=30 b:1=35")
	})
	bubble(t, "of two, one after the other", func(t *testing.T) {
		_, r, w := slow(t, at("a:1")...)
		r.set(at("a:1", "b:1")...)
		after(3500 * time.Millisecond)
		r.set(at("a:1", "b:1", "c:1")...)
		w.want(t, " a:1=10 b:1=4 c:1=1")
		after(time.Second) // the steps are those of the first
		w.want(t, " a:1=10 b:1=5 c:1=1")
		after(5 * time.Second)
		w.want(t, " a:1=10 b:1=10 c:1=6")
		after(5 * time.Second)
		w.want(t, " a:1=1 b:1=1 c:1=1")
	})
	bubble(t, "again after it was away", func(t *testing.T) {
		_, r, w := slow(t, at("a:1")...)
		r.set(at("a:1", "b:1")...)
		after(5 * time.Second)
		r.set(at("a:1")...)
		w.want(t, " a:1=1")
		r.set(at("a:1", "b:1")...)
		w.want(t, " a:1=10 b:1=1")
	})
	bubble(t, "of all at once is of nobody", func(t *testing.T) {
		_, r, w := slow(t, at("a:1")...)
		r.set(at("b:1", "c:1")...)
		w.want(t, " b:1=1 c:1=1") // beside each other
	})
	bubble(t, "ends with the cluster", func(t *testing.T) {
		c, r, w := slow(t, at("a:1")...)
		r.set(at("a:1", "b:1")...)
		w.want(t, " a:1=10 b:1=1")
		_, count := w.last()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		after(time.Minute)
		if _, later := w.last(); later != count {
			t.Errorf("a closed cluster made %d sets", later-count)
		}
	})
}

func TestSlowStartOff(t *testing.T) {
	bubble(t, "by default", func(t *testing.T) {
		w, r := new(weigher), newRegistry(at("a:1")...)
		feed := NewFeed("orders", r, quiet)
		c := New(Options{Name: "orders", Feed: feed, Policy: w.policy, Log: quiet})
		c.Start()
		defer feed.Close()
		defer c.Close()
		<-c.Filled()
		r.set(at("a:1", "b:1")...)
		w.want(t, " a:1=1 b:1=1")
	})
}

// An endpoint that checks bring back has its full share again within 10 s.
func TestFault11SlowStartAfterRecovery(t *testing.T) {
	bubble(t, "fault 11: an endpoint recovers", func(t *testing.T) {
		sick, w := status(http.StatusOK), new(weigher)
		c := ward(t, Options{
			SlowStart: 5 * time.Second, Health: &HealthOptions{Path: "/healthz", Interval: time.Second, Healthy: 2, Unhealthy: 2},
		}, newRegistry(at("a:1", "b:1")...), map[string]http.Handler{"a:1": status(http.StatusOK), "b:1": sick})
		c.mu.Lock()
		c.opts.Policy = w.policy
		c.mu.Unlock()
		sick.status.Store(http.StatusServiceUnavailable)
		for c.Healthy("") == 2 {
			after(10 * time.Millisecond)
		}
		w.want(t, " a:1=1")
		recovered := time.Now()
		sick.status.Store(http.StatusOK)
		for c.Healthy("") == 1 {
			after(10 * time.Millisecond)
		}
		w.want(t, " a:1=10 b:1=1")
		for set, _ := w.last(); set != " a:1=1 b:1=1"; set, _ = w.last() {
			if after(10 * time.Millisecond); time.Since(recovered) > 10*time.Second {
				t.Fatalf("after 10s the weights are%s", set)
			}
		}
		t.Logf("full share %v after the recovery", time.Since(recovered).Round(10*time.Millisecond))
	})
}
