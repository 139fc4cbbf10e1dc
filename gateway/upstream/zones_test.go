package upstream

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func TestZone(t *testing.T) {
	rule := ZoneOptions{Prefer: "a", MinEndpoints: 2, MinHealthy: 0.7}
	for _, tt := range []struct {
		name    string
		zone    ZoneOptions
		members string // zone, weight if not 1, ! for unhealthy
		want    string // indexes
	}{
		{"none is preferred", ZoneOptions{MinEndpoints: 2, MinHealthy: 0.7}, "a a b", "012"},
		{"own zone only", rule, "a b a b", "02"},
		{"no zones are known", rule, "- - -", "012"},
		{"too few of the zone", rule, "a b b", "012"},
		{"one is enough if the rule says so", ZoneOptions{Prefer: "a", MinEndpoints: 1, MinHealthy: 0.7}, "a b b", "0"},
		{"none of the zone", ZoneOptions{Prefer: "a", MinEndpoints: 1}, "b b", "01"},
		{"all of the zone unhealthy", ZoneOptions{Prefer: "a", MinEndpoints: 1}, "a! a! b", "2"},
		{"70 % are healthy", rule, "a a a a a a a a! a! a! b", "0123456"},
		{"60 % are healthy", rule, "a a a a a a a! a! a! a! b", "01234510"},
		{"the healthy weigh 70 %", rule, "a4 a3 a3! b", "01"},
		{"the healthy weigh 60 %", rule, "a3 a3 a4! b", "013"},
		{"health of other zones does not matter", rule, "a a b! b!", "01"},
		{"nobody is healthy", rule, "a! b!", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var members []member
			var healthy []*gateway.Endpoint
			index := make(map[*gateway.Endpoint]string)
			for i, text := range strings.Fields(tt.members) {
				text, unhealthy := strings.CutSuffix(text, "!")
				ep := &gateway.Endpoint{Target: gateway.Target{Weight: 1, Zone: strings.Trim(text[:1], "-")}}
				if len(text) > 1 {
					ep.Weight = int(text[1] - '0')
				}
				members = append(members, member{ep: ep, healthy: !unhealthy})
				index[ep] = []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}[i]
				if !unhealthy {
					healthy = append(healthy, ep)
				}
			}
			got := ""
			chosen, left := tt.zone.choose(members, healthy, false)
			for _, ep := range chosen {
				got += index[ep]
			}
			if got != tt.want {
				t.Errorf("chose %q, want %q", got, tt.want)
			}
			if want := tt.zone.Prefer != "" && slices.ContainsFunc(chosen, func(ep *gateway.Endpoint) bool { return ep.Zone != tt.zone.Prefer }); left != want {
				t.Errorf("left the zone: %t, want %t", left, want)
			}
		})
	}
}

// In a panic all endpoints are used because the healthy ones might not carry the
// load; those of one zone carry still less.
func TestZoneInPanic(t *testing.T) {
	f := func(name, zones string, panicking, left bool, used int) {
		t.Run(name, func(t *testing.T) {
			var targets []gateway.Target
			for i, zone := range strings.Fields(zones) {
				targets = append(targets, gateway.Target{Addr: "127.0.0.1:" + strconv.Itoa(i+1), Zone: strings.TrimSuffix(zone, "!")})
			}
			c := start(t, targets, func(o *Options) {
				o.Zone = ZoneOptions{Prefer: "a", MinEndpoints: 1, MinHealthy: 0.5}
				o.Health, o.PanicThreshold = &HealthOptions{TCP: true, Interval: time.Hour}, 50
			})
			for i, zone := range strings.Fields(zones) {
				c.endpoints[i].Stats.Unhealthy.Store(strings.HasSuffix(zone, "!"))
			}
			c.flipped()
			picked := make(map[string]bool)
			for range 100 {
				ep, err := c.Pick(&gateway.Exchange{})
				if err != nil {
					t.Fatal(err)
				}
				picked[ep.Addr] = true
			}
			if c.Panicking() != panicking || c.LeftZone()[""] != left || len(picked) != used {
				t.Errorf("panic %t, left the zone %t, %d endpoints used", c.Panicking(), c.LeftZone()[""], len(picked))
			}
		})
	}
	f("no panic", "a a! b", false, false, 1)
	f("the zone would be enough", "a a! b!", true, true, 3)
	f("the whole zone is well", "a b! b!", true, true, 3)
	f("nobody is well", "a! a! b!", true, true, 3)
	f("there is but one zone", "a a! a!", true, false, 3)
}

// Each subset is judged by its own endpoints, and the cluster goes on counting
// everybody as healthy.
func TestZoneOfSubsets(t *testing.T) {
	target := func(addr, zone, tag string) gateway.Target {
		return gateway.Target{Addr: addr, Zone: zone, Tags: []string{tag}}
	}
	c := start(t, []gateway.Target{
		target("127.0.0.1:1", "a", "stable"), target("127.0.0.1:2", "a", "stable"), target("127.0.0.1:3", "b", "stable"),
		target("127.0.0.1:4", "a", "canary"), target("127.0.0.1:5", "b", "canary"),
	}, func(o *Options) {
		o.Zone = ZoneOptions{Prefer: "a", MinEndpoints: 2, MinHealthy: 0.7}
		o.Subsets = map[string]Selector{"stable": {Tag: "stable"}, "canary": {Tag: "canary"}}
	})
	for subset, want := range map[string]struct {
		healthy int
		zones   string
	}{"": {5, "a"}, "stable": {3, "a"}, "canary": {2, "ab"}} {
		if got := c.Healthy(subset); got != want.healthy {
			t.Errorf("%q has %d healthy endpoints, want %d", subset, got, want.healthy)
		}
		zones := make(map[string]bool)
		for range 20 {
			ep, err := c.Pick(&gateway.Exchange{Subset: subset})
			if err != nil {
				t.Fatal(err)
			}
			zones[ep.Zone] = true
		}
		if zones["a"] != strings.Contains(want.zones, "a") || zones["b"] != strings.Contains(want.zones, "b") {
			t.Errorf("%q goes to zones %v, want %s", subset, zones, want.zones)
		}
	}
	if diff := cmp.Diff(map[string]bool{"": false, "stable": false, "canary": true}, c.LeftZone()); diff != "" {
		t.Errorf("who leaves the zone (-want +got):\n%s", diff)
	}
	if got := start(t, at("127.0.0.1:1"), nil).LeftZone(); got != nil {
		t.Errorf("without a zone, %v leave it", got)
	}
}
