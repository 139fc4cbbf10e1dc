package build

import (
	"fmt"
	"testing"

	"github.com/pithead/pithead/discovery/discoverytest"
)

// Upstreams that ask Consul the same question share one query, whatever reloads
// do to them: a reload that brings one and takes another does not begin it anew.
func TestUpstreamsShareWatches(t *testing.T) {
	fake := discoverytest.NewConsul()
	defer fake.Close()
	instance := func(n int) discoverytest.Instance {
		return discoverytest.Instance{ID: fmt.Sprint(n), Service: "orders", Address: "127.0.0.1", Port: 9000 + n}
	}
	fake.Register(instance(1))
	p := newProcess(t)
	text := func(token string, names ...string) string {
		text := fmt.Sprintf("consul: {address: %q, token: %q}\nupstreams:\n", fake.URL, token)
		for _, name := range names {
			text += "  " + name + ": {discover: {consul: {service: orders}}}\n"
		}
		return text + "routes: [{match: {prefix: /}, to: " + names[0] + "}]\n"
	}
	begun := func(want int) {
		t.Helper()
		p.eventually("one waiting query", func() bool { return fake.Waiting() == 1 })
		n := 0
		for _, call := range fake.Calls() {
			if call.Query["index"] == nil {
				n++
			}
		}
		if n != want {
			t.Errorf("Consul was asked %d times from the beginning, want %d", n, want)
		}
	}
	has := func(snap *Snapshot, endpoints int) {
		t.Helper()
		for name, cluster := range snap.clusters {
			p.eventually(name+" with all endpoints", func() bool { return len(cluster.Endpoints()) == endpoints })
		}
	}
	old := p.start(text("one", "a", "b", "c"))
	begun(1)
	next := p.start(text("one", "b", "c", "d"))
	begun(1)
	p.close(old)
	begun(1)
	fake.Register(instance(2))
	has(next, 2)
	begun(1)
	other := p.start(text("two", "b", "c", "d"))
	p.close(next)
	begun(2)
	fake.Register(instance(3))
	has(other, 3)
	p.close(other)
	p.eventually("the end of all queries", func() bool { return fake.Waiting() == 0 })
	if n := p.Pool.Len(); n != 0 {
		t.Errorf("%d values are left", n)
	}
}
