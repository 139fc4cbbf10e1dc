package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/test/consultest"
)

// fullFaults says that minutes may be spent.
func fullFaults() bool { return os.Getenv("PITHEAD_FAULTS") == "full" }

// soon is what is promised, in the full form. The short one runs on machines with much
// else to do, and wants to see that it comes about.
func soon(promised time.Duration) time.Duration {
	if fullFaults() {
		return promised
	}
	return max(promised, patience)
}

// TestFault20ColdStart: the gateway starts while Consul is down, with what it
// remembers and without.
func TestFault20ColdStart(t *testing.T) {
	t.Attr("wants", "ready after 2 s at most with what it remembers; never ready with nothing")
	agent := consultest.Start(t)
	o := &orders{t: t, agent: agent, instances: make(map[string]*instance)}
	o.add("stable-1")
	o.add("canary-1")
	o.gatewayUnderLoad = newGateway(t, "")
	process := func(snapshot string) {
		o.save("pithead.yaml", o.process(fmt.Sprintf("listeners: {web: {address: ADDRESS}}\nconsul: {address: %q%s}\n", agent.URL, snapshot)))
	}
	process(", snapshot: state/consul")
	o.save("routes.d/orders.yaml", ordersRoutes("", 90, 10))
	o.run()
	o.wantEnd(o.term())
	if names, err := filepath.Glob(o.path("state/consul/orders-*.json")); err != nil || len(names) != 1 {
		t.Fatalf("the folder beside the process file holds %v, %v", names, err)
	}
	agent.Stop()
	ended := time.Now()
	<-time.After(2 * time.Second)

	begin := time.Now()
	o.run()
	took := time.Since(begin)
	if t.Logf("ready %s after it was started", took.Round(time.Millisecond)); took > soon(2*time.Second) {
		t.Errorf("ready after %s", took)
	}
	m := o.scrape()
	m.want(t, "upstream_endpoints", `arm="stable",state="healthy"`, 1)
	m.want(t, "upstream_endpoints", `arm="canary",state="healthy"`, 1)
	if age := m.sum("discovery_age_seconds", `upstream="orders"`); age < int(time.Since(ended)/time.Second) {
		t.Errorf("discovery age is %d s, Consul ended %s ago", age, time.Since(ended))
	}
	load := startLoad(t, o.addr, "cold", mix{rate: 300, keep: 4, single: 2})
	<-time.After(2 * time.Second)
	agent.Restart()
	o.add("stable-2")
	o.until("the new instance in use", func() bool { return o.uses("stable-2") })
	wantAllWell(t, load.finish())
	o.wantEnd(o.term())

	agent.Stop()
	process("")
	o.start()
	never := time.After(3 * time.Second)
	for waiting := true; waiting; {
		select {
		case <-never:
			waiting = false
		case <-time.After(50 * time.Millisecond):
			if o.ready() == http.StatusOK {
				t.Fatal("ready without having heard of any endpoint")
			}
		}
	}
	agent.Restart()
	begin = time.Now()
	o.until("ready", func() bool { return o.ready() == http.StatusOK })
	if took := time.Since(begin); took > soon(5*time.Second) {
		t.Errorf("ready %s after Consul", took)
	}
	o.wantEnd(o.term())
}

// TestFault21Flapping: one instance fails and passes its check ten times a
// second; the others must not notice.
func TestFault21Flapping(t *testing.T) {
	t.Attr("wants", "five minutes of flapping: 0 failed on the others, at most one swap a second")
	t.Parallel() // with the other one that waits most of the time
	length := 5 * time.Second
	if fullFaults() {
		length = 5 * time.Minute
	}
	o := startOrders(t, "", "stable-1", "stable-2", "canary-1")
	load := startLoad(t, o.addr, "flapping", mix{rate: 500, keep: 8, single: 2})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	begin, swaps, used := time.Now(), 0, true
	for n := 0; time.Since(begin) < length; n++ {
		<-tick.C
		if n%2 == 0 {
			o.agent.FailCheck("stable-2")
		} else {
			o.agent.PassCheck("stable-2")
		}
		if uses := o.uses("stable-2"); uses != used {
			swaps, used = swaps+1, uses
		}
	}
	took := time.Since(begin)
	wantAllWell(t, load.finish())
	if limit := int(took/time.Second) + 4; swaps > limit {
		t.Errorf("%d swaps in %s", swaps, took)
	}
	t.Logf("%d swaps in %s", swaps, took.Round(time.Second))
	o.agent.PassCheck("stable-2")
	o.until("stable-2 in use", func() bool { return o.uses("stable-2") })
	o.scrape().want(t, "discovery_failures_total", "", 0)
	o.wantEnd(o.term())
}

// TestFaultRegistration: what Consul shows of a gateway that serves, that Consul
// has forgotten, that ends, and that is killed.
func TestFaultRegistration(t *testing.T) {
	agent := consultest.Start(t)
	in := startInstance(t, "stable-1")
	g := newGateway(t, fmt.Sprintf("listeners: {web: {address: ADDRESS}}\nconsul: {address: %q, register: {id: gw, tags: [edge], ttl: 3s}}\n", agent.URL))
	g.save("routes.d/orders.yaml", fmt.Sprintf("upstreams: {orders: {discover: {static: {targets: [%q]}}}}\nroutes: [{match: {prefix: /}, to: orders}]\n", in.addr))
	_, portText, err := net.SplitHostPort(g.addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		t.Fatal(err)
	}
	shows := func(status string) func() bool {
		return func() bool {
			entries := agent.Entries("pithead")
			if status == "" {
				return len(entries) == 0
			}
			return len(entries) == 1 && entries[0].ID == "gw" && entries[0].Port == port && entries[0].Status == status
		}
	}
	g.run()
	g.until("registered", shows("passing"))
	agent.Reset()
	g.until("registered again", shows("passing"))
	<-time.After(4 * time.Second) // reports keep it alive for longer than its TTL
	if !shows("passing")() {
		t.Errorf("Consul shows %+v", agent.Entries("pithead"))
	}

	g.save("pithead.yaml", strings.Replace(g.process(fmt.Sprintf(
		"listeners: {web: {address: ADDRESS}}\nconsul: {address: %q, register: {id: gw, tags: [edge], ttl: 3s}}\n", agent.URL)),
		"delay: 200ms", "delay: 8s", 1)) // an entry that is taken out last is there for longer
	g.until("reloaded", func() bool { return g.scrape().sum("config_generation", "") == 2 })
	begin := g.term()
	g.until("taken out", shows(""))
	if took := time.Since(begin); took > 6*time.Second {
		t.Errorf("taken out after %s", took)
	}
	if status := askOnce(t, g.addr); status != http.StatusOK {
		t.Errorf("status %d while others have yet to notice", status)
	}
	g.wantEnd(begin)

	g.run()
	g.until("registered", shows("passing"))
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.exited
	killed := time.Now()
	wait := func(what string, is func() bool, limit time.Duration) {
		t.Helper()
		for !is() {
			if <-time.After(100 * time.Millisecond); time.Since(killed) > limit {
				t.Fatalf("not %s after %s: %+v", what, limit, agent.Entries("pithead"))
			}
		}
	}
	wait("critical", shows("critical"), soon(10*time.Second))
	if fullFaults() {
		wait("taken out by Consul", shows(""), 3*time.Minute)
	}
}

// askOnce sends one request on a connection of its own.
func askOnce(t *testing.T, addr string) int {
	t.Helper()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + addr + "/v1/orders/7")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
