package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func TestConsulConformance(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testConsulConformance(t, func(*ConsulConfig) {}, Env{}) })
	t.Run("beside another upstream", func(t *testing.T) {
		testConsulConformance(t, func(*ConsulConfig) {}, Env{Watches: NewWatches(slog.New(slog.DiscardHandler))})
	})
	t.Run("with a snapshot", func(t *testing.T) {
		testConsulConformance(t, func(c *ConsulConfig) { c.Snapshot = kind.Path(t.TempDir()) }, Env{})
	})
}

// testConsulConformance tests one upstream. If env has watches, there is another
// one before it that asks the same, and that stays.
func testConsulConformance(t *testing.T, change func(*ConsulConfig), env Env) {
	discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
		fake := discoverytest.NewConsul()
		t.Cleanup(fake.Close)
		set := func(targets []gateway.Target) { fake.Replace(discoverytest.Instances("orders", targets)...) }
		set(targets)
		c := consulDefaults()
		c.Address = fake.URL
		change(&c)
		if env.Watches != nil {
			other, err := newConsul(c, env)
			must(t, err)
			ctx, cancel := context.WithCancel(context.Background())
			done, known := make(chan error), make(chan struct{}, 1000)
			go func() { done <- other.Watch(ctx, func([]gateway.Target) { known <- struct{}{} }) }()
			<-known
			t.Cleanup(func() { cancel(); must(t, <-done) })
		}
		env.Failed = failed
		source, err := newConsul(c, env)
		must(t, err)
		return discoverytest.Bench{
			Source: source, Set: set,
			Break: func() { fake.Fail(discoverytest.Down) },
			Mend:  func() { fake.Fail(discoverytest.None) },
		}
	})
}

func TestConsulQuery(t *testing.T) {
	change := func(c *ConsulConfig) { c.Datacenter, c.Tags, c.Token = "fra", []string{"v2", "public"}, "hunter2" }
	inBubble(t, change, func(t *testing.T, b *consulBench) {
		b.Touch()
		b.after(0)
		var got []discoverytest.Call
		for _, call := range b.Calls()[:2] {
			call.Time = time.Time{}
			got = append(got, call)
		}
		want := []discoverytest.Call{
			{Token: "hunter2", Query: map[string][]string{"dc": {"fra"}, "stale": {""}, "tag": {"v2", "public"}}},
			{Token: "hunter2", Query: map[string][]string{"dc": {"fra"}, "stale": {""}, "tag": {"v2", "public"}, "index": {"11"}, "wait": {"30000ms"}}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("queries (-want +got):\n%s", diff)
		}
	}, order(1))
}

func TestConsulEnvironment(t *testing.T) {
	for name, value := range map[string]string{
		"CONSUL_HTTP_TOKEN": "other", "CONSUL_HTTP_AUTH": "user:pass", "CONSUL_HTTP_ADDR": "elsewhere.invalid:1", "CONSUL_HTTP_SSL": "true",
	} {
		t.Setenv(name, value)
	}
	inBubble(t, nil, func(t *testing.T, b *consulBench) {
		b.is("10.0.0.1:9000")
		if token := b.Calls()[0].Token; token != "" {
			t.Errorf("the token %q came from the environment", token)
		}
	}, order(1))
}

func TestConsulFreshness(t *testing.T) {
	t.Run("a new instance is used within 2 s", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.Register(order(2))
			b.after(2 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
		}, order(1))
	})
	t.Run("the first changes after a quiet time are used at once", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.after(time.Minute)
			b.Register(order(2))
			b.after(0).is("10.0.0.1:9000 10.0.0.2:9000")
			b.SetHealth("orders-1", discoverytest.Critical)
			b.after(0).is("10.0.0.2:9000")
		}, order(1))
	})
	t.Run("a critical instance is unused within 1 s, in the middle of churn too", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			for range 50 {
				churn := rand.N(3000)
				for range churn / 10 {
					b.Touch()
					b.after(10 * time.Millisecond)
				}
				b.SetHealth("orders-1", discoverytest.Critical)
				b.after(time.Second).is("10.0.0.2:9000")
				b.SetHealth("orders-1", discoverytest.Passing)
				b.after(time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
			}
		}, order(1), order(2))
	})
	t.Run("an unchanged set is confirmed", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			sets, _ := b.after(10 * time.Minute).all()
			if n := len(sets); n < 18 || n > 21 {
				t.Errorf("%d confirmations in 10 minutes, want one for each 30 s", n)
			}
		}, order(1))
	})
}

// wantTargets checks what the source publishes for instances, and returns its log.
func wantTargets(t *testing.T, change func(*ConsulConfig), want []gateway.Target, instances ...discoverytest.Instance) string {
	t.Helper()
	var log string
	synctest.Test(t, func(t *testing.T) {
		b := newConsulBench(t, change, instances...)
		defer b.Close()
		var got []gateway.Target
		ctx, cancel := context.WithCancel(t.Context())
		must(t, b.source.Watch(ctx, func(targets []gateway.Target) { got = targets; cancel() }))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
		log = b.logs()
	})
	return log
}

// target is the set of one endpoint without labels.
func target(addr string) []gateway.Target { return []gateway.Target{{Addr: addr, Weight: 1}} }

// with is the first instance, changed.
func with(change func(*discoverytest.Instance)) discoverytest.Instance {
	in := order(1)
	change(&in)
	return in
}

func TestConsulAddresses(t *testing.T) {
	t.Run("D01 denied addresses", func(t *testing.T) {
		for _, addr := range []string{
			"127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "localhost", "x.localhost", "0.0.0.0", "::",
			"169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255",
		} {
			got := wantTargets(t, nil, target("10.0.0.2:9000"), with(func(in *discoverytest.Instance) { in.Address = addr }), order(2))
			if strings.Count(got, "instances skipped") != 1 || !strings.Contains(got, "denied") {
				t.Errorf("%s: want one line that says so, got:\n%s", addr, got)
			}
		}
		loopback := with(func(in *discoverytest.Instance) { in.Address = "127.0.0.1" })
		metadata := with(func(in *discoverytest.Instance) { in.ID, in.Address = "m", "169.254.169.254" })
		wantTargets(t, func(c *ConsulConfig) { c.AllowLoopback = true }, target("127.0.0.1:9000"), loopback, metadata)
		wantTargets(t, func(c *ConsulConfig) { c.Address = "http://127.0.0.1:8500" }, target("127.0.0.1:9000"), loopback, metadata)
		wantTargets(t, func(c *ConsulConfig) { c.Address = "http://localhost:8500" }, target("127.0.0.1:9000"), loopback, metadata)
	})
	t.Run("D02 hosts that are none", func(t *testing.T) {
		for _, addr := range []string{"10.0.0.1:80/../", "/run/x.sock", strings.Repeat("a.", 127) + "b", "127.1", "a b"} {
			wantTargets(t, nil, target("10.0.0.2:9000"), with(func(in *discoverytest.Instance) { in.Address = addr }), order(2))
		}
		wantTargets(t, nil, target("orders-1.internal:9000"), with(func(in *discoverytest.Instance) { in.Address = "Orders-1.internal" }))
		wantTargets(t, nil, nil, with(func(in *discoverytest.Instance) { in.Address, in.Status = "10.0.0.1", discoverytest.Warning }))
	})
	t.Run("D03 ports that are none", func(t *testing.T) {
		for _, port := range []int{0, 70000, -1} {
			wantTargets(t, nil, target("10.0.0.2:9000"), with(func(in *discoverytest.Instance) { in.Port = port }), order(2))
		}
	})
	t.Run("D04 the address of the node", func(t *testing.T) {
		wantTargets(t, nil, target("10.255.0.9:9000"), with(func(in *discoverytest.Instance) { in.Address, in.NodeAddress = "", "10.255.0.9" }))
	})
}

func TestConsulLabels(t *testing.T) {
	t.Run("tags, meta, weight and zone", func(t *testing.T) {
		wantTargets(t, nil, []gateway.Target{
			{Addr: "10.0.0.1:9000", Weight: 7, Zone: "a", Tags: []string{"canary", "stable"}, Meta: map[string]string{"zone": "a", "v": "1"}},
			{Addr: "10.0.0.2:9000", Weight: 20, Zone: "b", Meta: map[string]string{"weight": "20"}},
		}, with(func(in *discoverytest.Instance) {
			in.Tags, in.Meta, in.Zone, in.Weight = []string{"stable", "canary", "stable"}, map[string]string{"zone": "a", "v": "1"}, "node's", 7
		}), discoverytest.Instance{ID: "2", Service: "orders", Address: "10.0.0.2", Port: 9000, Zone: "b", Meta: map[string]string{"weight": "20"}})
	})
	t.Run("D05 weights", func(t *testing.T) {
		for meta, want := range map[string]int{
			"-1": 1, "0": 1, "1": 1, "42": 42, "0.4": 1, "100": 100, "1e9": 100, "Inf": 100, "-Inf": 1, "NaN": 5, "": 5, "many": 5, "0x10p0": 16,
		} {
			m := map[string]string{"weight": meta, "canary": "true", "route": "/admin"}
			wantTargets(t, nil, []gateway.Target{{Addr: "10.0.0.1:9000", Weight: want, Meta: m}},
				with(func(in *discoverytest.Instance) { in.Meta, in.Weight = m, 5 }))
		}
	})
	t.Run("D07 the same address twice", func(t *testing.T) {
		wantTargets(t, nil, target("10.0.0.1:9000"), order(1), with(func(in *discoverytest.Instance) { in.ID = "another" }))
	})
	t.Run("tags that are asked for", func(t *testing.T) {
		wantTargets(t, func(c *ConsulConfig) { c.Tags = []string{"x", "y"} },
			[]gateway.Target{{Addr: "10.0.0.2:9000", Weight: 1, Tags: []string{"x", "y", "z"}}},
			with(func(in *discoverytest.Instance) { in.Tags = []string{"x"} }),
			discoverytest.Instance{ID: "2", Service: "orders", Address: "10.0.0.2", Port: 9000, Tags: []string{"z", "y", "x"}})
	})
}

func TestConsulManyInstances(t *testing.T) {
	t.Run("D06", func(t *testing.T) {
		instances := make([]consulInstance, 0, 100_000)
		for i := range cap(instances) {
			instances = append(instances, consulInstance{id: fmt.Sprint(i), address: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), port: 80, passing: true})
		}
		a := readInstances(instances, false)
		rand.Shuffle(len(instances), func(i, j int) { instances[i], instances[j] = instances[j], instances[i] })
		b := readInstances(instances, false)
		if len(a.targets) != maxTargets || a.skipped.cut != 90_000 {
			t.Errorf("%d targets, %d left out", len(a.targets), a.skipped.cut)
		}
		if diff := cmp.Diff(a.targets, b.targets); diff != "" {
			t.Errorf("another order gave another part (-first +second):\n%s", diff)
		}
	})
	t.Run("D06 labels", func(t *testing.T) {
		in := consulInstance{address: "10.0.0.1", port: 80, passing: true, meta: map[string]string{"big": strings.Repeat("x", 1<<20)}}
		for i := range 1000 {
			in.meta[fmt.Sprintf("key%04d", i)] = "v"
			in.tags = append(in.tags, fmt.Sprintf("tag%04d", i), strings.Repeat("t", maxLabel+1))
		}
		got := readInstances([]consulInstance{in}, false).targets[0]
		if len(got.Meta) != maxLabels || got.Meta["key0063"] != "v" || len(got.Tags) != maxLabels || got.Tags[63] != "tag0063" {
			t.Errorf("%d meta and %d tags are left", len(got.Meta), len(got.Tags))
		}
	})
}

func TestConsulValidate(t *testing.T) {
	f := func(want string, change func(*ConsulConfig)) {
		t.Helper()
		c := consulDefaults()
		change(&c)
		_, err := newConsul(c, Env{})
		var got []string
		for _, e := range kind.SettingErrors(err) {
			got = append(got, e.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
	}
	f("", func(*ConsulConfig) {})
	f("", func(c *ConsulConfig) { c.Address = "https://consul.example.com/prefix/" })
	f("service: is required: the name of the service in Consul", func(c *ConsulConfig) { c.Service = "" })
	f(`service: "../agent/self" is no name of a service`, func(c *ConsulConfig) { c.Service = "../agent/self" })
	f(`service: ".." is no name of a service`, func(c *ConsulConfig) { c.Service = ".." })
	f("address: must look like http://127.0.0.1:8500", func(c *ConsulConfig) { c.Address = "127.0.0.1" })
	f("address: is no URL", func(c *ConsulConfig) { c.Address = "http://user:pa%ss@x" })
	f("address: must look like http://127.0.0.1:8500", func(c *ConsulConfig) { c.Address = "ftp://127.0.0.1" })
	f("address: must not hold a password; use token", func(c *ConsulConfig) { c.Address = "http://user:pass@consul:8500" })
	f("address: must end with the port or a path", func(c *ConsulConfig) { c.Address = "http://consul:8500?x=1" })
	f("wait: must be 1s to 10m, not 0s; grace: must not be negative", func(c *ConsulConfig) { c.Wait, c.Grace = 0, -1 })
	if err := (ConsulConfig{Address: "http://consul:8500", Wait: time.Second}).Validate(); err != nil {
		t.Errorf("defaults without a service are refused: %v", err)
	}
}

func TestConsulRedirect(t *testing.T) {
	t.Run("D13 the token stays", func(t *testing.T) {
		thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("a redirect was followed, with the token %q", r.Header.Get("X-Consul-Token"))
		}))
		defer thief.Close()
		fake := discoverytest.NewConsul()
		defer fake.Close()
		fake.RedirectTo = thief.URL
		fake.Fail(discoverytest.Redirect)
		c := consulDefaults()
		c.Address, c.Token = fake.URL, "hunter2"
		ctx, cancel := context.WithCancel(t.Context())
		source, err := newConsul(c, Env{Failed: func(error) { cancel() }})
		must(t, err)
		must(t, source.Watch(ctx, func([]gateway.Target) { t.Error("a set was published") }))
	})
}
