package upstream

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func TestSelector(t *testing.T) {
	f := func(s Selector, t1 gateway.Target, want bool) {
		t.Helper()
		if got := s.matches(t1); got != want {
			t.Errorf("%+v matches %+v: %v", s, t1, got)
		}
	}
	target := gateway.Target{Tags: []string{"a", "b"}, Meta: map[string]string{"version": "2", "empty": ""}}
	f(Selector{}, target, true)
	f(Selector{Tag: "b"}, target, true)
	f(Selector{Tag: "c"}, target, false)
	f(Selector{Meta: map[string]string{"version": "2"}}, target, true)
	f(Selector{Meta: map[string]string{"version": "3"}}, target, false)
	f(Selector{Meta: map[string]string{"empty": ""}}, target, true)
	f(Selector{Meta: map[string]string{"missing": ""}}, target, false)
	f(Selector{Tag: "a", Meta: map[string]string{"version": "3"}}, target, false)
}

func TestSubsets(t *testing.T) {
	c := start(t, []gateway.Target{
		{Addr: "a:1", Tags: []string{"stable"}},
		{Addr: "b:1", Tags: []string{"stable"}, Meta: map[string]string{"fast": "yes"}},
		{Addr: "c:1", Tags: []string{"canary"}, Zone: "z1", Weight: 3},
	}, func(o *Options) {
		o.Subsets = map[string]Selector{
			"stable": {Tag: "stable"}, "canary": {Tag: "canary"}, "none": {Tag: "none"},
			"fast": {Meta: map[string]string{"fast": "yes"}},
		}
	})
	for subset, want := range map[string]int{"": 3, "stable": 2, "canary": 1, "fast": 1, "none": 0, "unheard of": 0} {
		if got := c.Healthy(subset); got != want {
			t.Errorf("%d healthy in %q, want %d", got, subset, want)
		}
	}
	if !c.HasSubset("none") || c.HasSubset("unheard of") || c.HasSubset("") {
		t.Error("HasSubset does not say what the configuration has")
	}
	for range 10 {
		if ep, err := c.Pick(&gateway.Exchange{Subset: "canary"}); err != nil || ep.Addr != "c:1" {
			t.Errorf("picked %v, %v for canary", ep, err)
		}
	}
	_, err := c.Pick(&gateway.Exchange{Subset: "none"})
	wantError(t, err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
	_, err = c.Pick(&gateway.Exchange{Subset: "unheard of"})
	wantError(t, err, http.StatusInternalServerError, "unknown_subset", gateway.CauseGateway)

	x := &gateway.Exchange{Subset: "canary"}
	if n := testing.AllocsPerRun(100, func() {
		c.Healthy("canary")
		_, _ = c.Pick(x)
	}); n != 0 {
		t.Errorf("looking and picking allocate %v times, want 0", n)
	}

	want := []EndpointStatus{
		{Addr: "a:1", Weight: 1, Tags: []string{"stable"}, Subsets: []string{"stable"}, Healthy: true},
		{Addr: "b:1", Weight: 1, Tags: []string{"stable"}, Meta: map[string]string{"fast": "yes"}, Subsets: []string{"fast", "stable"}, Healthy: true},
		{Addr: "c:1", Weight: 3, Zone: "z1", Tags: []string{"canary"}, Subsets: []string{"canary"}, Healthy: true},
	}
	if diff := cmp.Diff(want, c.Endpoints()); diff != "" {
		t.Errorf("Endpoints (-want +got):\n%s", diff)
	}
}

func TestFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFeed("orders", newRegistry(), quiet)
		defer f.Close()
		c := New(Options{Name: "orders", Feed: f, Policy: turns})
		defer c.Close()
		if c.Healthy("") != 0 || len(c.Endpoints()) != 0 {
			t.Error("endpoints before discovery said anything")
		}
		select {
		case <-c.Filled():
			t.Error("filled before it was started")
		default:
		}
		c.Start()
		c.Start()
		<-c.Filled() // a confirmed empty set is a set
		if c.Confirmed().IsZero() {
			t.Error("filled, but never confirmed")
		}
	})
}

func TestSecondGenerationFillsAtOnce(t *testing.T) {
	f := NewFeed("orders", newRegistry(at("a:1", "b:1")...), quiet)
	defer f.Close()
	stats := NewStatsStore()
	one := New(Options{Name: "orders", Feed: f, Stats: stats, Policy: turns, Log: quiet})
	one.Start()
	<-one.Filled()
	ep, err := one.Pick(&gateway.Exchange{})
	if err != nil {
		t.Fatal(err)
	}
	ep.Stats.Failures.Add(7)

	two := New(Options{Name: "orders", Feed: f, Stats: stats, Policy: turns, Log: quiet})
	two.Start()
	if two.Healthy("") != 2 {
		t.Error("a new generation had to wait for the source")
	}
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	var failures uint64
	for _, s := range two.Endpoints() {
		failures += s.Failures
	}
	if failures != 7 {
		t.Errorf("%d failures are known to the new generation, want 7", failures)
	}
	if n := one.Healthy(""); n != 2 {
		t.Errorf("the closed generation has %d endpoints for the requests that still hold it", n)
	}
	if n := stats.Len(); n != 2 {
		t.Errorf("%d addresses in the store, want 2", n)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
	if n := stats.Len(); n != 0 {
		t.Errorf("%d addresses left in the store", n)
	}
}

func TestEndpointsKeepTheirStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(at("a:1", "b:1")...)
		f := NewFeed("orders", r, quiet)
		defer f.Close()
		stats := NewStatsStore()
		c := New(Options{Name: "orders", Feed: f, Stats: stats, Policy: turns, Log: quiet})
		defer c.Close()
		c.Start()
		synctest.Wait()
		before := c.set.Load().members
		before[0].ep.Stats.Requests.Store(3)
		r.set(gateway.Target{Addr: "a:1", Weight: 9}, gateway.Target{Addr: "c:1"})
		synctest.Wait()
		want := []EndpointStatus{
			{Addr: "a:1", Weight: 9, Healthy: true, Requests: 3},
			{Addr: "c:1", Weight: 1, Healthy: true},
		}
		if diff := cmp.Diff(want, c.Endpoints()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if before[0].ep.Weight != 1 {
			t.Error("an endpoint in use was changed in place")
		}
		if stats.Len() != 2 {
			t.Errorf("%d addresses in the store, want 2", stats.Len())
		}
		r.set(at("a:1", "c:1")...)
		synctest.Wait()
		if c.Endpoints()[0].Requests != 3 {
			t.Error("the numbers got lost")
		}
	})
}

func TestStatsStoreForgives(t *testing.T) {
	s := NewStatsStore()
	s.Release("never seen")
	if a, b := s.Acquire("a"), s.Acquire("a"); a != b {
		t.Error("two stats for one address")
	}
	s.Release("a")
	if s.Len() != 1 {
		t.Error("forgotten while in use")
	}
	s.Release("a")
	if s.Len() != 0 {
		t.Error("kept without a user")
	}
}

func TestEndpointsChangeUnderLoad(t *testing.T) {
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	a, b := serve(t, answer, nil), serve(t, answer, nil)
	r := newRegistry(at(a, b)...)
	f := NewFeed("orders", r, quiet)
	defer f.Close()
	c := New(Options{Name: "orders", Feed: f, Policy: turns, Log: quiet})
	defer c.Close()
	c.Start()
	<-c.Filled()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				req, _ := request(t, "GET", nil)
				resp, err := c.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := read(t, resp); err != nil {
					t.Error(err)
				}
				c.Endpoints()
			}
		})
	}
	for range 50 {
		r.set(at(a)...)
		r.set(at(a, b)...)
		r.set(at(b)...)
	}
	wg.Wait()
}

func TestClosedClusterFinishesItsRequests(t *testing.T) {
	proceed := make(chan struct{})
	addr := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		<-proceed
		_, _ = io.WriteString(w, "last")
	}, nil)
	c := start(t, at(addr), nil)
	req, _ := request(t, "GET", nil)
	resp, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if body, err := read(t, resp); err != nil || body != "first last" {
		t.Errorf("read %q, %v", body, err)
	}
	// An exchange that was matched before the reload may still come.
	req, _ = request(t, "GET", nil)
	resp, err = c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, resp); err != nil {
		t.Error(err)
	}
	wantStats(t, c, 2, 0)
}

func TestClosedClusterKeepsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hungUp := make(chan time.Time, 1)
		c := piped(t, func(conn net.Conn) {
			respond(ok)(conn)
			_, _ = io.Copy(io.Discard, conn)
			hungUp <- time.Now()
		}, nil)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		req, _ := request(t, "GET", nil) // of an exchange that was matched before
		resp, err := c.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := read(t, resp); err != nil {
			t.Fatal(err)
		}
		if at := time.Now(); !(<-hungUp).Equal(at) {
			t.Error("the connection of the last request was left to its idle timeout")
		}
	})
}

func TestCloseWithoutStart(t *testing.T) {
	f := NewFeed("orders", newRegistry(), quiet)
	c := New(Options{Name: "orders", Feed: f, Policy: turns, Health: &HealthOptions{Path: "/"}})
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	c.Start() // must start nothing
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if c.Name() != "orders" || c.HTTP2() {
		t.Errorf("name %q, HTTP/2 %v", c.Name(), c.HTTP2())
	}
}

func TestDefaults(t *testing.T) {
	want := Timeouts{
		Connect: 2 * time.Second, TLSHandshake: 5 * time.Second, Response: 30 * time.Second,
		BodyIdle: time.Minute, StreamIdle: time.Hour, Idle: 4 * time.Second,
	}
	if diff := cmp.Diff(want, Timeouts{}.withDefaults()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := (Timeouts{Response: time.Second}).withDefaults().Response; got != time.Second {
		t.Errorf("a given timeout became %v", got)
	}
}
