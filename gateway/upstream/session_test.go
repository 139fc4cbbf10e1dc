package upstream

import (
	"fmt"
	"testing"

	"github.com/pithead/pithead/gateway"
)

func TestSessions(t *testing.T) {
	target := func(addr string) gateway.Target { return gateway.Target{Addr: addr, Weight: 1} }
	c := New(Options{Name: "u", Feed: NewFeed("u", nil, quiet), Policy: func(eps []*gateway.Endpoint) gateway.Picker { return first(eps) }})
	c.update([]gateway.Target{target("10.0.0.1:1"), target("10.0.0.2:1"), target("10.0.0.3:1")})
	pick := func(session uint64) string {
		t.Helper()
		ep, err := c.Pick(&gateway.Exchange{Session: session})
		if err != nil {
			t.Fatal(err)
		}
		return ep.Addr
	}
	id := endpointID("u", "10.0.0.2:1")
	if got := pick(id); got != "10.0.0.2:1" {
		t.Errorf("the session goes to %s", got)
	}
	if got := pick(0); got != "10.0.0.1:1" {
		t.Errorf("no session goes to %s", got)
	}
	if got := pick(endpointID("other", "10.0.0.2:1")); got != "10.0.0.1:1" {
		t.Errorf("a session of another upstream goes to %s", got)
	}
	c.update([]gateway.Target{target("10.0.0.3:1"), {Addr: "10.0.0.2:1", Weight: 2}})
	if got := pick(id); got != "10.0.0.2:1" {
		t.Errorf("after a change of weight the session goes to %s", got)
	}
	c.update([]gateway.Target{target("10.0.0.3:1")})
	if got := pick(id); got != "10.0.0.3:1" {
		t.Errorf("without its endpoint the session goes to %s", got)
	}
}

// first is a policy that always takes the first endpoint.
type first []*gateway.Endpoint

func (f first) Pick(*gateway.Exchange) *gateway.Endpoint { return f[0] }

// The last of a hundred endpoints is the furthest.
func BenchmarkSession(b *testing.B) {
	c := New(Options{Name: "u", Feed: NewFeed("u", nil, quiet), Policy: func(eps []*gateway.Endpoint) gateway.Picker { return first(eps) }})
	targets := make([]gateway.Target, 100)
	for i := range targets {
		targets[i] = gateway.Target{Addr: fmt.Sprintf("10.0.0.%d:1", i), Weight: 1}
	}
	c.update(targets)
	x := &gateway.Exchange{Session: endpointID("u", "10.0.0.99:1")}
	b.ReportAllocs()
	for b.Loop() {
		if ep, err := c.Pick(x); err != nil || ep.ID != x.Session {
			b.Fatal(ep, err)
		}
	}
}
