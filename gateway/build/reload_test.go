package build

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/upstream"
)

// counts are how often a source was started and how often it runs now.
func wantWatched(t *testing.T, m *memory, watched, watches int) {
	t.Helper()
	if gotWatched, gotWatches := m.counts(); gotWatched != watched || gotWatches != watches {
		t.Errorf("the source runs %d times and was started %d times, want %d and %d", gotWatched, gotWatches, watched, watches)
	}
}

// What a reload does not touch lives on: endpoints, connections, numbers.
func TestReload(t *testing.T) {
	f := func(name, before, after string, sameCluster, sameFeed bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			p := newProcess(t)
			source := newMemory(t, "reload", "127.0.0.1:1")
			old := p.start("upstreams: {a: " + before + "}\nroutes: [{match: {prefix: /}, to: a}]\n")
			stats := old.clusters["a"].Endpoints()
			if _, err := old.clusters["a"].RoundTrip(request(t, "GET", "/")); err == nil {
				t.Fatal("there is somebody at port 1")
			}
			next := p.compile("upstreams: {a: " + after + "}\nroutes: [{match: {prefix: /new}, to: a}]\n")
			if got := old.clusters["a"] == next.clusters["a"]; got != sameCluster {
				t.Errorf("the same cluster: %t", got)
			}
			watches := 2
			if sameFeed {
				watches = 1
				source.silence() // what is known must do
			}
			next.Start()
			p.waitFilled(next)
			p.close(old)
			wantWatched(t, source, 1, watches)
			if got := next.clusters["a"].Endpoints(); got[0].Requests != 1 || got[0].Failures != 1 || got[0].Addr != stats[0].Addr {
				t.Errorf("the numbers of the endpoint are %+v", got[0])
			}
			p.close(next)
			wantWatched(t, source, 0, watches)
			if n := p.Pool.Len(); n != 0 {
				t.Errorf("%d values are left", n)
			}
		})
	}
	const plain = `{discover: {memory: {id: reload}}}`
	f("nothing", plain, plain, true, true)
	f("another spelling", plain, `{"discover": { "memory": {'id': 'reload'} } }`, true, true)
	f("the policy", plain, `{discover: {memory: {id: reload}}, balance: least_request}`, false, true)
	f("timeouts", plain, `{discover: {memory: {id: reload}}, timeouts: {response: 1s}}`, false, true)
	f("arms", plain, `{discover: {memory: {id: reload}}, arms: {x: {tag: x}}}`, false, true)
	f("health checks", plain, `{discover: {memory: {id: reload}}, health: {path: /, interval: 1h}}`, false, true)
	f("discovery", plain, `{discover: {memory: {id: reload, note: other}}}`, false, false)
}

// The endpoints of a new cluster are those of its feed from the first moment,
// and an address that vanishes and comes back begins anew.
func TestNumbersGoWithTheLastUser(t *testing.T) {
	p := newProcess(t)
	source := newMemory(t, "numbers", "127.0.0.1:1", "127.0.0.1:2")
	snap := p.start(`upstreams: {a: {discover: {memory: {id: numbers}}}}`)
	for range 2 {
		if _, err := snap.clusters["a"].RoundTrip(request(t, "GET", "/")); err == nil {
			t.Fatal("there is somebody at port 1")
		}
	}
	before := snap.clusters["a"].Endpoints()[1].Requests
	stats, err := keep.Get(snap.scope, "stats/a", func() (*upstream.StatsStore, error) { return nil, http.ErrNotSupported })
	if err != nil || stats.Len() != 2 {
		t.Fatalf("%d addresses, %v", stats.Len(), err)
	}
	source.set("127.0.0.1:2", "127.0.0.1:3")
	p.eventually("the change", func() bool {
		return slices.ContainsFunc(snap.clusters["a"].Endpoints(), func(e upstream.EndpointStatus) bool { return e.Addr == "127.0.0.1:3" })
	})
	if got := snap.clusters["a"].Endpoints(); got[0].Requests != before || before == 0 || got[1].Requests != 0 {
		t.Errorf("the numbers are %+v, want %d", got, before)
	}
	if stats.Len() != 2 {
		t.Errorf("%d addresses are remembered", stats.Len())
	}
}

// A CA or a certificate that changes under its old name makes a new cluster:
// whom the gateway trusts is not a matter of when it was started.
func TestReloadOfUpstreamCertificates(t *testing.T) {
	p := newProcess(t)
	p.pair("ca", "", "ca.example")
	p.pair("own", "", "own.example")
	text := lines(`upstreams:`, `  a:`, `    discover: {static: {targets: ["127.0.0.1:1"]}}`, `    protocol: https`,
		`    tls: {ca: ca.crt, certificate: {cert: own.crt, key: own.key}}`)
	last := p.compile(text).clusters["a"]
	f := func(name string, change func(), same bool) {
		t.Helper()
		change()
		now := p.compile(text).clusters["a"]
		if (now == last) != same {
			t.Errorf("%s: the same cluster: %t", name, now == last)
		}
		last = now
	}
	f("nothing", func() {}, true)
	f("the CA", func() { p.pair("ca", "", "ca.example") }, false)
	f("the certificate to show", func() { p.pair("own", "", "own.example") }, false)
	f("nothing again", func() {}, true)
	t.Run("C11: a CA that has gone is no reason to trust everybody", func(t *testing.T) {
		p.write("ca.crt", nil)
		before := p.Pool.Len()
		if _, err := Compile(p.parse(text), p.Env); err == nil {
			t.Fatal("it was not refused")
		}
		if after := p.Pool.Len(); after != before {
			t.Errorf("%d values became %d", before, after)
		}
	})
}

// The settings of the process are defaults for each upstream, and a change of
// them changes those that inherit it.
func TestConsulSettingsAreInherited(t *testing.T) {
	registry := discoverytest.NewConsul()
	defer registry.Close()
	registry.Register(discoverytest.Instance{Service: "a", Address: "127.0.0.1", Port: 1, Tags: []string{"x"}})
	p := newProcess(t)
	text := func(token, datacenter string) string {
		return lines(
			fmt.Sprintf(`consul: {address: %q, token: %q, datacenter: dc1}`, registry.URL, token),
			`upstreams:`,
			`  a: {discover: {consul: {service: a`+datacenter+`}}}`,
			`  b: {discover: {static: {targets: ["127.0.0.1:2"]}}}`,
			`routes: [{match: {prefix: /}, to: a}]`,
		)
	}
	snap := p.start(text("one", ""))
	check := func(token, datacenter string) {
		t.Helper()
		if !slices.ContainsFunc(registry.Calls(), func(c discoverytest.Call) bool {
			return c.Token == token && slices.Equal(c.Query["dc"], []string{datacenter})
		}) {
			t.Errorf("nobody asked with the token %q in %q", token, datacenter)
		}
	}
	check("one", "dc1")
	if got := snap.clusters["a"].Endpoints(); len(got) != 1 || got[0].Addr != "127.0.0.1:1" {
		t.Errorf("the endpoints are %+v", got)
	}
	if next := p.compile(text("one", "")); next.clusters["a"] != snap.clusters["a"] {
		t.Error("without a change there is a new cluster")
	}
	own := p.start(text("one", ", datacenter: dc2"))
	check("one", "dc2")
	p.close(own)
	next := p.start(text("two", ""))
	check("two", "dc1")
	if next.clusters["a"] == snap.clusters["a"] {
		t.Error("another token and the same cluster")
	}
	if next.clusters["b"] != snap.clusters["b"] {
		t.Error("an upstream that does not inherit got a new cluster")
	}
}

// What discovery fails to reach is counted under the upstream's name, by the
// metrics of the process and not of the snapshot that began it.
func TestFailuresOfDiscoveryAreCounted(t *testing.T) {
	p := newProcess(t)
	source := newMemory(t, "failures", "127.0.0.1:1")
	p.start(`upstreams: {orders: {discover: {memory: {id: failures}}}}`)
	p.Metrics.CollectUpstreams(func() []obs.UpstreamState { return []obs.UpstreamState{{Name: "orders"}} })
	source.failed(http.ErrServerClosed)
	source.failed(http.ErrServerClosed)
	const want = `pithead_discovery_failures_total{upstream="orders"} 2`
	if got := metricsText(t, p.Metrics); !strings.Contains(got, want) {
		t.Errorf("no %s in\n%s", want, got)
	}
}

// The name of what a middleware keeps: the block's, else route, kind and ordinal
// among the blocks of that kind.
func TestKeysOfKeptValues(t *testing.T) {
	p := newProcess(t)
	build := func(first, second string) map[string][]string {
		t.Helper()
		snap, err := Compile(p.parse(lines(
			`upstreams: {a: {discover: {static: {targets: ["127.0.0.1:1"]}}, arms: {stable: {tag: s}, canary: {tag: c}}}}`,
			`middleware: {shared: {probe: {name: named}}}`,
			`routes:`,
			`  - {name: one, match: {prefix: /1}, to: a, use: [`+first+`]}`,
			`  - {name: two, match: {prefix: /2}, to: a, use: [`+second+`]}`,
		)), p.Env)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close(snap)
		keys := make(map[string][]string)
		for _, name := range []string{"named", "x", "y"} {
			for _, env := range envsOf(name) {
				keys[name] = append(keys[name], env.Key)
				if env.Keep == nil || env.Log == nil || env.To.Name() != "a" || env.Route != "one" && env.Route != "two" {
					t.Errorf("%s was built with %+v", name, env)
				}
			}
		}
		return keys
	}
	f := func(name, first, second, probe string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if got := build(first, second)[probe]; !slices.Equal(got, want) {
				t.Errorf("%s got the keys %q, want %q", probe, got, want)
			}
		})
	}
	const x, y = `{probe: {name: x}}`, `{probe: {name: y}}`
	f("a named block has one for all routes", "shared", "shared", "named", "middleware/shared", "middleware/shared")
	f("and twice in a route", "shared, shared", "", "named", "middleware/shared", "middleware/shared")
	f("an unnamed block has its own", x, x, "x", "route/one/probe/0", "route/two/probe/0")
	f("the second of its kind", x+", "+y, "", "y", "route/one/probe/1")
	f("another kind before it changes nothing", "{canary: {}}, "+x, "", "x", "route/one/probe/0")
	f("nor does a named block of its kind", "shared, "+x, "", "x", "route/one/probe/0")
	f("nor a longer route before it", "{canary: {}}, shared, "+y, x, "x", "route/two/probe/0")
}

// Relative paths start at the folder of the file that a block stands in, not of
// the one that uses it.
func TestFolderOfABlock(t *testing.T) {
	p := newProcess(t)
	cfg, err := config.Parse(config.FilesOf(p.name, []byte(oneUpstream+"middleware: {shared: {probe: {name: far}}}\n")).
		With("/elsewhere/routes.yaml", []byte("routes: [{match: {prefix: /v1}, to: a, use: [shared, {probe: {name: near}}]}]\n")))
	if err != nil {
		t.Fatal(err)
	}
	snap, err := Compile(cfg, p.Env)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close(snap)
	far, near := envsOf("far")[0], envsOf("near")[0]
	if far.Dir != filepath.Dir(p.name) || near.Dir != "/elsewhere" || near.Match.Prefix != "/v1" {
		t.Errorf("the folders are %s and %s, the prefix %s", far.Dir, near.Dir, near.Match.Prefix)
	}
}
