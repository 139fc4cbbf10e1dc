package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/test/consultest"
)

// orders is the service in Consul, its instances, and the gateway before it.
type orders struct {
	*gatewayUnderLoad

	t         *testing.T
	agent     *consultest.Agent
	instances map[string]*instance
}

// startOrders runs Consul, one instance for each name, which begins with the
// name of its arm, and a gateway with the route file of ordersRoutes.
func startOrders(t *testing.T, upstream string, names ...string) *orders {
	agent := consultest.Start(t)
	o := &orders{t: t, agent: agent, instances: make(map[string]*instance)}
	for _, name := range names {
		o.add(name)
	}
	o.gatewayUnderLoad = newGateway(t, fmt.Sprintf("listeners: {web: {address: ADDRESS}}\nconsul: {address: %q}\n", agent.URL))
	o.save("routes.d/orders.yaml", ordersRoutes(upstream, 90, 10))
	o.run()
	return o
}

func ordersRoutes(upstream string, stable, canary int) string {
	return fmt.Sprintf(`upstreams:
  orders:
    discover: {consul: {service: orders}}
    balance: least_request
    arms: {stable: {tag: stable}, canary: {tag: canary}}
    %s
routes:
  - name: orders
    match: {host: api.example.com, path: "/v1/{what}/{id}", methods: [GET, POST]}
    use:
      - canary: {header: x-canary, split: {stable: %d, canary: %d}, sticky: "header:x-user", response_header: x-arm}
    to: orders
`, upstream, stable, canary)
}

// add starts an instance and registers it.
func (o *orders) add(name string) *instance {
	o.t.Helper()
	in := startInstance(o.t, name)
	o.instances[name] = in
	o.register(name)
	return in
}

func (o *orders) register(name string) {
	o.t.Helper()
	host, portText, err := net.SplitHostPort(o.instances[name].addr)
	if err != nil {
		o.t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		o.t.Fatal(err)
	}
	arm, _, _ := strings.Cut(name, "-")
	o.agent.Register(consultest.Service{ID: name, Name: "orders", Address: host, Port: port, Tags: []string{arm}})
}

// knows asks Consul itself whether an instance is there and passes its checks.
func (o *orders) knows(name string) bool {
	o.t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(o.agent.URL + "/v1/health/service/orders?passing")
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	type entry struct{ Service struct{ ID string } }
	var entries []entry
	if err := json.NewDecoder(resp.Body).Decode(&entries); err != nil {
		o.t.Fatal(err)
	}
	return slices.ContainsFunc(entries, func(e entry) bool { return e.Service.ID == name })
}

// uses says whether the gateway has an instance in its set, well or not.
func (o *orders) uses(name string) bool {
	return o.scrape().has(fmt.Sprintf("pithead_endpoint_healthy{endpoint=%q,", o.instances[name].addr))
}

// TestDiscoveryLatency: from the moment at which Consul knows of a new instance
// or of a sick one to the first or the last request there. The first rounds come
// after a quiet time; the others meet a source that has asked a lot, and asks
// once a second from then on: there the limit is two of its paces, because a
// machine that is busy with other tests has been seen to need most of the second.
func TestDiscoveryLatency(t *testing.T) {
	o := startOrders(t, "", "stable-1", "canary-1")
	load := startLoad(t, o.addr, "latency", mix{rate: 400, keep: 8})
	o.timely(3*time.Second, time.Second)
	o.timely(0, 2*time.Second)
	wantAllWell(t, load.finish())
	o.scrape().want(t, "discovery_failures_total", "", 0)
	o.wantEnd(o.term())
}

// timely has instances come and fail until three of them were used, and left alone,
// in time. Others may be late once in a while, when the machine stands still.
func (o *orders) timely(quiet, limit time.Duration) {
	o.t.Helper()
	const rounds, tries = 3, 9
	for good, n := 0, 0; good < rounds; n++ {
		if n == tries {
			o.t.Fatalf("%d of %d rounds after %s were in time", good, n, quiet)
		}
		<-time.After(quiet)
		used, unused := o.round(fmt.Sprintf("stable-%d", len(o.instances)))
		o.t.Logf("used after %s, unused after %s", used.Round(time.Millisecond), max(unused, 0).Round(time.Millisecond))
		if used <= 2*time.Second && unused <= limit {
			good++
		}
	}
}

// round is one instance that comes and fails: when it had its first request, and when,
// after Consul knew that it is critical, its last.
func (o *orders) round(name string) (used, unused time.Duration) {
	o.t.Helper()
	begin := time.Now() // before Consul knows: its own time counts too
	in := o.add(name)
	o.until(name+" used", func() bool { first, _ := in.times(); return !first.IsZero() })
	first, _ := in.times()
	o.agent.FailCheck(name)
	o.until("critical in Consul", func() bool { return !o.knows(name) })
	known := time.Now()
	o.until(name+" unused", func() bool { return !o.uses(name) && in.idle() })
	_, last := in.times()
	return first.Sub(begin), last.Sub(known)
}

// wantAllWell fails the test for every request without a good answer.
func wantAllWell(t *testing.T, answers []answer) {
	t.Helper()
	failed := 0
	for _, a := range answers {
		if a.fate == answered && a.status == http.StatusOK {
			continue
		}
		if failed++; failed <= 5 {
			t.Errorf("request %s failed after %s: %v", a.id, a.ended.Sub(a.began), a.err)
		}
	}
	if failed > 0 || len(answers) == 0 {
		t.Errorf("%d of %d requests failed", failed, len(answers))
	}
}

// TestFault13ConsulAway: Consul is stopped for ten minutes, or 5 s in the short
// form, under load, and started again; instances come and go as before.
func TestFault13ConsulAway(t *testing.T) {
	t.Attr("wants", "0 failed in ten minutes without Consul; used again after 5 s at most")
	t.Parallel() // with the other one that waits most of the time
	away := 5 * time.Second
	if fullFaults() {
		away = 10 * time.Minute
	}
	o := startOrders(t, "", "stable-1", "stable-2", "canary-1")
	load := startLoad(t, o.addr, "away", mix{rate: 500, keep: 8, single: 2})
	o.agent.Stop()
	o.until("noticed", func() bool { return o.scrape().sum("discovery_failures_total", `upstream="orders"`) > 0 })
	<-time.After(away)
	m := o.scrape()
	m.want(t, "upstream_endpoints", `arm="stable",state="healthy"`, 2)
	m.want(t, "upstream_endpoints", `arm="canary",state="healthy"`, 1)
	if age := m.sum("discovery_age_seconds", `upstream="orders"`); age < int(away/time.Second) {
		t.Errorf("discovery age is %d s after %s", age, away)
	}
	if status := o.ready(); status != http.StatusOK {
		t.Errorf("readyz is %d while Consul is away", status)
	}
	o.agent.Restart()
	begin := time.Now()
	o.add("stable-3")
	o.until("the new instance in use", func() bool { return o.uses("stable-3") })
	if took := time.Since(begin); took > soon(5*time.Second) {
		t.Errorf("Consul was used again after %s", took)
	}
	o.agent.Deregister("stable-1")
	o.until("the old instance unused", func() bool { return !o.uses("stable-1") && o.instances["stable-1"].idle() })
	answers := load.finish()
	wantAllWell(t, answers)
	t.Logf("%d requests, %.0f/s", len(answers), load.rate())
	o.scrape().want(t, "requests_total", "", len(answers))
	o.wantEnd(o.term())
}
