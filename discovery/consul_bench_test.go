package discovery

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/pithead/pithead/discovery/discoverytest"
)

// consulDefaults are the settings that an operator gets with `{consul: {service: orders}}`.
func consulDefaults() ConsulConfig {
	k, _ := Kinds.Get("consul")
	c := k.Defaults().(ConsulConfig)
	c.Service = "orders"
	return c
}

// consulBench is a source that watches a fake Consul inside a synctest bubble.
type consulBench struct {
	*discoverytest.Consul
	bench
	source *consulSource
}

// inBubble runs f with a fake that knows the instances and a source that has
// published them.
func inBubble(t *testing.T, change func(*ConsulConfig), f func(t *testing.T, b *consulBench), instances ...discoverytest.Instance) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newConsulBench(t, change, instances...)
		b.watch()
		f(t, b)
	})
}

func newConsulBench(t *testing.T, change func(*ConsulConfig), instances ...discoverytest.Instance) *consulBench {
	b := &consulBench{Consul: discoverytest.NewConsulInMemory(), bench: bench{t: t}}
	b.Register(instances...)
	c := consulDefaults()
	c.Address = "http://consul.internal:8500"
	if change != nil {
		change(&c)
	}
	source, err := dialConsul(c, b.env(), b.Dial)
	must(t, err)
	b.source = source
	return b
}

func (b *consulBench) watch() { b.bench.watch(b.source, b.Close) }

func order(n int) discoverytest.Instance {
	return discoverytest.Instance{ID: fmt.Sprintf("orders-%d", n), Service: "orders", Address: fmt.Sprintf("10.0.0.%d", n), Port: 9000}
}
