package upstream

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestPanicThreshold(t *testing.T) {
	// f makes four endpoints, one of them a canary, of which the first ones are ill.
	f := func(name string, threshold, ill int, panicking bool, all, canary int) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			addrs := []string{"a:1", "b:1", "c:1", "d:1"}
			var targets []gateway.Target
			patients := make(map[string]http.Handler)
			for i, addr := range addrs {
				targets = append(targets, gateway.Target{Addr: addr})
				p := status(200)
				if i < ill {
					p = status(500)
				}
				patients[addr] = p
			}
			targets[0].Tags = []string{"canary"}
			c := ward(t, Options{
				Health: &HealthOptions{Path: "/"}, PanicThreshold: threshold, Subsets: map[string]Selector{"canary": {Tag: "canary"}},
			}, newRegistry(targets...), patients)
			after(time.Minute)
			synctest.Wait()
			if c.Panicking() != panicking || c.Healthy("") != all || c.Healthy("canary") != canary {
				t.Errorf("panic %v, %d of all and %d of the canary are used", c.Panicking(), c.Healthy(""), c.Healthy("canary"))
			}
			picked := make(map[string]bool)
			for range 20 {
				if ep, err := c.Pick(new(gateway.Exchange)); err == nil {
					picked[ep.Addr] = true
				} else {
					wantError(t, err, http.StatusServiceUnavailable, "no_healthy_endpoint", gateway.CauseGateway)
				}
			}
			if len(picked) != all {
				t.Errorf("picked %v", picked)
			}
			unhealthy := 0
			for _, e := range c.Endpoints() {
				if !e.Healthy {
					unhealthy++
				}
			}
			if unhealthy != ill {
				t.Errorf("%d are shown as unhealthy, want %d", unhealthy, ill)
			}
			for _, p := range patients {
				p.(*patient).status.Store(200)
			}
			after(time.Minute)
			synctest.Wait()
			if c.Panicking() || c.Healthy("") != 4 {
				t.Errorf("after recovery: panic %v, %d used", c.Panicking(), c.Healthy(""))
			}
		})
	}
	f("D08: all critical, without a threshold", 0, 4, false, 0, 0)
	f("D08: all critical", 50, 4, true, 4, 1)
	f("D08: fewer than half are healthy", 50, 3, true, 4, 1)
	f("D08: half are healthy", 50, 2, false, 2, 0)
	f("an ill canary is left alone", 50, 1, false, 3, 0)
	f("every one must be healthy", 100, 1, true, 4, 1)
}

func TestNoEndpointsAreNoPanic(t *testing.T) {
	c := start(t, nil, func(o *Options) { o.PanicThreshold = 100 })
	if c.Panicking() {
		t.Error("there is nothing to use")
	}
}
