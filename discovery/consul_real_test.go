package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/test/consultest"
)

func realService(t *testing.T, name string, target gateway.Target) consultest.Service {
	host, portText, err := net.SplitHostPort(target.Addr)
	must(t, err)
	port, err := strconv.Atoi(portText)
	must(t, err)
	return consultest.Service{
		ID: name + "-" + host, Name: name, Address: host, Port: port, Tags: target.Tags, Meta: target.Meta, Weight: target.Weight,
	}
}

// realWatch is a source that watches a service of a real Consul until the end of the test.
type realWatch struct {
	t        *testing.T
	sets     chan []gateway.Target
	failures chan error
}

func watchReal(t *testing.T, agent *consultest.Agent, name string) *realWatch {
	c := consulDefaults()
	c.Address, c.Service = agent.URL, name
	return watchRealWith(t, c)
}

func watchRealWith(t *testing.T, c ConsulConfig) *realWatch { return watchRealEnv(t, c, Env{}) }

func watchRealEnv(t *testing.T, c ConsulConfig, env Env) *realWatch {
	w := &realWatch{t: t, sets: make(chan []gateway.Target, 1000), failures: make(chan error, 1000)}
	env.Upstream, env.Failed = c.Service, func(err error) { w.failures <- err }
	source, err := newConsul(c, env)
	must(t, err)
	w.follow(source)
	return w
}

// follow watches until the test is over.
func (w *realWatch) follow(source gateway.Source) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- source.Watch(ctx, func(targets []gateway.Target) { w.sets <- targets }) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Watch returned %v", err)
		}
	})
}

// until waits for the set want and returns how long that took.
func (w *realWatch) until(want ...gateway.Target) time.Duration {
	w.t.Helper()
	start, diff := time.Now(), "nothing was published"
	timeout := time.After(30 * time.Second)
	for {
		select {
		case got := <-w.sets:
			for i := range got { // what Consul adds of its own is not the question
				delete(got[i].Meta, "consul-network-segment")
			}
			if diff = cmp.Diff(want, got, cmpopts.EquateEmpty()); diff == "" {
				return time.Since(start)
			}
		case <-timeout:
			w.t.Fatalf("the set did not arrive (-want +got):\n%s", diff)
		}
	}
}

// within wants a change to be seen in time once in some tries: the machine may stand still
// in one of them. back takes the change back, after a pause in which the source is asked
// nothing that it would have to pace.
func (w *realWatch) within(limit time.Duration, change func() time.Duration, back func()) {
	w.t.Helper()
	var took time.Duration
	for range 5 {
		if took = change(); took <= limit {
			return
		}
		back()
		<-time.After(2 * time.Second)
	}
	w.t.Errorf("it took %s", took)
}

// never fails the test if one of the sets so far is smaller than n.
func (w *realWatch) never(n int) {
	w.t.Helper()
	for len(w.sets) > 0 {
		if got := <-w.sets; len(got) < n {
			w.t.Errorf("the set %v was published", got)
		}
	}
}

func TestRealConsul(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 3, Zone: "b", Tags: []string{"canary", "public"}, Meta: map[string]string{"zone": "b", "version": "v2"}}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 40, Meta: map[string]string{"weight": "40"}}
	c := gateway.Target{Addr: "10.0.0.3:9000", Weight: 1}

	t.Run("conformance", func(t *testing.T) { testRealConformance(t, agent) })
	t.Run("tags, meta, weight and zone", func(t *testing.T) {
		agent.Register(realService(t, "labels", a))
		agent.Register(realService(t, "labels", b))
		watchReal(t, agent, "labels").until(a, b)
	})
	t.Run("a new instance is used within 2 s", func(t *testing.T) {
		agent.Register(realService(t, "fresh", a))
		w := watchReal(t, agent, "fresh")
		w.until(a)
		w.within(2*time.Second, func() time.Duration {
			agent.Register(realService(t, "fresh", c))
			return w.until(a, c)
		}, func() {
			agent.Deregister("fresh-10.0.0.3")
			w.until(a)
		})
	})
	t.Run("a critical instance is unused within 1 s", func(t *testing.T) {
		agent.Register(realService(t, "sick", a))
		agent.Register(realService(t, "sick", c))
		w := watchReal(t, agent, "sick")
		w.until(a, c)
		w.within(time.Second, func() time.Duration {
			agent.FailCheck("sick-10.0.0.1")
			return w.until(c)
		}, func() {
			agent.PassCheck("sick-10.0.0.1")
			w.until(a, c)
		})
		agent.FailCheck("sick-10.0.0.3")
		w.until() // D08: all critical is empty at once
		agent.PassCheck("sick-10.0.0.1")
		w.until(a)
		if len(w.failures) > 0 {
			t.Errorf("an answer was taken for a failure: %v", <-w.failures)
		}
	})
}

// TestRealConsulSharedWatch: five upstreams have one query at the agent, between
// whom and them a proxy counts.
func TestRealConsulSharedWatch(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 1}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 1}
	agent.Register(realService(t, "orders", a))
	address, err := url.Parse(agent.URL)
	must(t, err)
	var now, most, all atomic.Int64
	relay := httputil.NewSingleHostReverseProxy(address)
	counting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Add(1)
		most.Store(max(most.Load(), now.Add(1))) // one at a time, or it is wrong anyway
		defer now.Add(-1)
		relay.ServeHTTP(w, r)
	}))
	t.Cleanup(counting.Close) // after the watches have ended
	c := consulDefaults()
	c.Address = counting.URL
	env := Env{Watches: NewWatches(slog.New(slog.DiscardHandler))}
	var watches []*realWatch
	for range 5 {
		watches = append(watches, watchRealEnv(t, c, env))
	}
	for _, w := range watches {
		w.until(a)
	}
	agent.Register(realService(t, "orders", b))
	for _, w := range watches {
		w.until(a, b)
	}
	if n := env.Watches.Len(); n != 1 || most.Load() != 1 || all.Load() > 6 {
		t.Errorf("%d questions, %d queries at a time, %d in all", n, most.Load(), all.Load())
	}
}

func testRealConformance(t *testing.T, agent *consultest.Agent) {
	n := 0
	discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
		n++
		name := fmt.Sprintf("conformance%d", n)
		registered := make(map[string]bool)
		set := func(targets []gateway.Target) {
			gone := registered
			registered = make(map[string]bool)
			for _, target := range targets {
				s := realService(t, name, target)
				agent.Register(s)
				registered[s.ID] = true
				delete(gone, s.ID)
			}
			for id := range gone {
				agent.Deregister(id)
			}
		}
		set(targets)
		c := consulDefaults()
		c.Address, c.Service = agent.URL, name
		source, err := newConsul(c, Env{Failed: failed})
		must(t, err)
		return discoverytest.Bench{Source: source, Set: set, Break: agent.Stop, Mend: agent.Restart}
	})
}
