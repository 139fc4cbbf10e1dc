package discovery

import (
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/test/consultest"
)

// TestRealDNS asks a name server that others have written: the one in Consul.
func TestRealDNS(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 3}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 40}
	six := gateway.Target{Addr: "[2001:db8::1]:9000", Weight: 1}
	f := func(name string, change func(*DNSConfig)) *realWatch {
		t.Helper()
		w := &realWatch{t: t, sets: make(chan []gateway.Target, 1000), failures: make(chan error, 1000)}
		c := dnsDefaults()
		c.Resolver = agent.DNS
		change(&c)
		source, err := newDNS(c, Env{Upstream: name, Failed: func(err error) { w.failures <- err }})
		must(t, err)
		source.(*sharedSource).askingSource.(*dnsSource).minTTL = 50 * time.Millisecond // what Consul says itself is 0
		w.follow(source)
		return w
	}
	t.Run("services", func(t *testing.T) {
		agent.Register(realService(t, "orders", a))
		w := f("orders", func(c *DNSConfig) { c.Name, c.Port, c.SRV = "orders.service.consul", 0, true })
		w.until(a)
		agent.Register(realService(t, "orders", b))
		w.until(a, b)
		agent.FailCheck("orders-10.0.0.1")
		w.until(b)
		if len(w.failures) > 0 {
			t.Errorf("an answer was taken for a failure: %v", <-w.failures)
		}
	})
	t.Run("addresses of both families", func(t *testing.T) {
		agent.Register(realService(t, "both", gateway.Target{Addr: "10.0.0.3:1"}))
		agent.Register(realService(t, "both", gateway.Target{Addr: "[2001:db8::1]:1"}))
		w := f("both", func(c *DNSConfig) { c.Name = "both.service.consul" })
		w.until(gateway.Target{Addr: "10.0.0.3:9000", Weight: 1}, six)
	})
	t.Run("fault 9 NXDOMAIN and an outage change nothing", func(t *testing.T) {
		agent.Register(realService(t, "gone", a))
		w := f("gone", func(c *DNSConfig) { c.Name, c.Port, c.SRV = "gone.service.consul", 0, true })
		w.until(a)
		agent.Deregister("gone-10.0.0.1")
		t.Log(<-w.failures)
		agent.Stop()
		for range 2 {
			t.Log(<-w.failures)
		}
		w.never(1)
		agent.Restart()
		agent.Register(realService(t, "gone", b))
		w.until(b)
	})
}
