package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFirstLight is the whole of it: Consul with a stable and a canary arm,
// 10,000 requests, and meanwhile everything that happens to a gateway in its
// life. Nothing is lost but what was under way on an instance that crashed, and
// clients, instances, metrics and access log agree to the last request.
func TestFirstLight(t *testing.T) {
	const requests = 10_000
	f := &firstLight{orders: startOrders(t, checks, "stable-1", "stable-2", "canary-1")}
	load := startLoad(t, f.addr, "first", mix{rate: 1000, keep: 12, single: 4})
	look := f.lookAllTheTime()
	f.editRoutes()
	f.replaceInstance()
	f.crashInstance()
	f.restartConsul()
	f.until(fmt.Sprintf("%d requests sent", requests), func() bool { return load.sent.Load() >= requests })
	answers := load.finish()
	look()
	t.Logf("%d requests, %.0f/s on %d connections; %d attempts failed with the crash, %d requests",
		len(answers), load.rate(), load.dials.Load(), f.failures, countFailed(answers))

	m := f.settled()
	t.Run("metrics", func(t *testing.T) { f.wantMetrics(t, m, answers, int(load.dials.Load())) })
	t.Run("reloads", func(t *testing.T) { f.wantReloads(t, m) })
	t.Run("endpoints", func(t *testing.T) { f.wantEndpoints(t, m) })
	t.Run("end", f.end)
	t.Run("nothing lost", func(t *testing.T) { f.wantExplained(t, m, answers) })
}

func countFailed(answers []answer) (n int) {
	for _, a := range answers {
		if a.status != http.StatusOK {
			n++
		}
	}
	return n
}

// firstLight is the state of TestFirstLight.
type firstLight struct {
	*orders

	crashed  *instance
	underWay map[string]bool // on it when it crashed
	out      time.Time       // when the gateway was seen to have taken it out
	failures int             // attempts that failed there, as the gateway counted them

	reset, settledAt time.Time // Consul was without some of its instances in between
}

// lookAllTheTime scrapes until stop and checks that no counter goes back.
func (f *firstLight) lookAllTheTime() (stop func()) {
	ended := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		before := make(map[string]float64)
		scrapes := 0
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				f.t.Logf("%d scrapes", scrapes)
				return
			case <-tick.C:
			}
			status, text := f.get("/metrics")
			if status != http.StatusOK {
				f.t.Errorf("scrape: %d %s", status, text)
				continue
			}
			scrapes++
			now := counters(text)
			for series, was := range before {
				if is, still := now[series]; still && is < was {
					f.t.Errorf("%s went from %v to %v", series, was, is)
				}
			}
			before = now
		}
	})
	stop = sync.OnceFunc(func() {
		close(ended)
		looking.Wait()
	})
	f.t.Cleanup(stop)
	return stop
}

func counters(text string) map[string]float64 {
	all := make(map[string]float64)
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if name, _, _ := strings.Cut(series, "{"); !strings.HasSuffix(name, "_total") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			all[series] = v
		}
	}
	return all
}

// checks notice a crash in half a second on average, and bear with a slow machine.
const checks = "health: {path: /healthz, interval: 1s, timeout: 1s, healthy: 1, unhealthy: 1}"

func (f *firstLight) edit(stable, canary, generation int) {
	f.t.Helper()
	f.save("routes.d/orders.yaml", ordersRoutes(checks, stable, canary))
	f.until(fmt.Sprintf("generation %d", generation), func() bool { return f.scrape().sum("config_generation", "") == generation })
}

// editRoutes changes the weights, then writes nonsense and takes it back.
func (f *firstLight) editRoutes() {
	f.edit(50, 50, 2)
	good := ordersRoutes(checks, 50, 50)
	f.save("routes.d/orders.yaml", strings.Replace(good, "split:", "splitt:", 1))
	f.until("refused", func() bool { return f.scrape().sum("config_last_reload_successful", "") == 0 })
	status, err := f.client.Status(context.Background())
	if err != nil || !strings.Contains(status.LastReload.Error, "orders.yaml:11:36") || !strings.Contains(status.LastReload.Error, `did you mean "split"?`) {
		f.t.Errorf("status after nonsense: %+v %v", status, err)
	}
	f.save("routes.d/orders.yaml", good)
	f.until("mended", func() bool { return f.scrape().sum("config_last_reload_successful", "") == 1 })
}

// replaceInstance does what an operator does: drain one, stop it, start another.
func (f *firstLight) replaceInstance() {
	old := f.instances["stable-1"]
	f.agent.FailCheck("stable-1")
	f.until("stable-1 unused", func() bool { return !f.uses("stable-1") })
	f.until("stable-1 idle", func() bool { _, last := old.times(); return old.idle() && time.Since(last) > 200*time.Millisecond })
	f.agent.Deregister("stable-1")
	if err := old.stop(f.t.Context()); err != nil {
		f.t.Error(err)
	}
	f.add("stable-3")
	f.until("stable-3 used", func() bool { return f.uses("stable-3") })
}

// crashInstance kills one that Consul takes to be well. What is under way there
// is lost; the gateway's own checks notice, and until then requests that cannot
// be sent there go to another instance.
func (f *firstLight) crashInstance() {
	f.crashed = f.instances["stable-2"]
	f.underWay = f.crashed.crash()
	unwell := fmt.Sprintf("pithead_endpoint_healthy{endpoint=%q,upstream=\"orders\"} 0", f.crashed.addr)
	f.until("stable-2 unhealthy", func() bool { return f.scrape().has(unwell) })
	f.out = time.Now()
	f.until("nothing under way there", func() bool {
		return f.scrape().sum("endpoint_active_requests", fmt.Sprintf("endpoint=%q", f.crashed.addr)) == 0
	})
	m := f.scrape()
	f.failures = m.sum("endpoint_failures_total", fmt.Sprintf("endpoint=%q", f.crashed.addr))
	m.want(f.t, "upstream_endpoints", `arm="stable",state="unhealthy"`, 1)
	m.want(f.t, "upstream_endpoints", `arm="stable",state="healthy"`, 1)
	f.agent.FailCheck("stable-2")
	f.until("stable-2 forgotten", func() bool { return !f.uses("stable-2") })
}

// restartConsul stops Consul, and starts it again without its data. Services
// come back one after the other, as they do.
func (f *firstLight) restartConsul() {
	f.agent.Stop()
	f.until("noticed", func() bool { return f.scrape().sum("discovery_failures_total", `upstream="orders"`) >= 3 })
	f.edit(80, 20, 3) // a reload meanwhile keeps the known endpoints
	if !f.uses("stable-3") || !f.uses("canary-1") {
		f.t.Error("an instance was forgotten while Consul was away")
	}
	f.reset = time.Now()
	f.agent.Reset()
	f.register("stable-3")
	f.register("canary-1")
	f.add("stable-4")
	f.until("stable-4 in use", func() bool { return f.uses("stable-4") && f.uses("stable-3") && f.uses("canary-1") })
	f.settledAt = time.Now()
	f.edit(95, 5, 4)
}

// settled is what the metrics say when all is quiet.
func (f *firstLight) settled() (m metrics) {
	f.until("quiet", func() bool {
		m = f.scrape()
		return m.sum("requests_in_flight", "") == 0 && m.sum("connections", "") == 0
	})
	return m
}

// wantMetrics compares the metrics with what the clients have counted.
func (f *firstLight) wantMetrics(t *testing.T, m metrics, answers []answer, dials int) {
	received := 0
	good, bad, reasons := make(map[string]int), make(map[int]int), make(map[string]int)
	for _, a := range answers {
		received += a.got
		if a.status == http.StatusOK {
			good[fmt.Sprintf(`arm=%q,code="200",method=%q,route="orders",upstream="orders"`, a.arm, a.method)]++
			continue
		}
		bad[a.status]++
		reasons[a.reason]++
	}
	if len(good) != 4 {
		t.Errorf("arms and methods: %v", good)
	}
	for labels, n := range good {
		m.want(t, "requests_total", labels, n)
	}
	for code, n := range bad {
		m.want(t, "requests_total", fmt.Sprintf(`code="%d",route="orders"`, code), n)
	}
	failed := 0
	for reason, n := range reasons {
		failed += n
		m.want(t, "request_errors_total", fmt.Sprintf(`reason=%q,route="orders"`, reason), n)
	}
	m.want(t, "requests_total", "", len(answers))
	m.want(t, "request_errors_total", "", failed)
	for _, histogram := range []string{"request", "gateway", "upstream"} {
		m.want(t, histogram+"_duration_seconds_count", "", len(answers))
	}
	whole, _ := sumSeries(string(m), "pithead_request_duration_seconds_sum", "")
	own, _ := sumSeries(string(m), "pithead_gateway_duration_seconds_sum", "")
	others, _ := sumSeries(string(m), "pithead_upstream_duration_seconds_sum", "")
	if math.Abs(whole-own-others) > 1e-6 {
		t.Errorf("of %v s, %v s are the gateway's and %v s the upstream's", whole, own, others)
	}
	m.want(t, "response_body_bytes_total", "", received)
	m.want(t, "connections_opened_total", `listener="web"`, dials)
	m.want(t, "connections_refused_total", "", 0)
	m.want(t, "access_log_dropped_total", "", 0)
	m.want(t, "panics_total", "", 0)
}

func (f *firstLight) wantReloads(t *testing.T, m metrics) {
	m.want(t, "reloads_total", `result="success",trigger="start"`, 1)
	m.want(t, "reloads_total", `result="success",trigger="file"`, 4) // three edits and one that took nonsense back
	m.want(t, "reloads_total", `result="failure",trigger="file"`, 1)
	m.want(t, "reloads_total", "", 6)
	m.want(t, "config_generation", "", 4)
	m.want(t, "config_last_reload_successful", "", 1)
}

func (f *firstLight) wantEndpoints(t *testing.T, m metrics) {
	m.want(t, "upstream_endpoints", `arm="",state="healthy"`, 3)
	m.want(t, "upstream_endpoints", `arm="stable",state="healthy"`, 2)
	m.want(t, "upstream_endpoints", `arm="canary",state="healthy"`, 1)
	m.want(t, "upstream_endpoints", `state="unhealthy"`, 0)
	m.want(t, "endpoint_healthy", "", 3)
	m.want(t, "endpoint_active_requests", "", 0)
	m.want(t, "endpoint_failures_total", "", 0)
	for _, name := range []string{"stable-3", "stable-4", "canary-1"} {
		all, _ := f.instances[name].requests()
		m.want(t, "endpoint_attempts_total", fmt.Sprintf("endpoint=%q", f.instances[name].addr), all)
	}
	for name, in := range f.instances {
		if _, twice := in.requests(); twice > 0 || in.leaked > 0 {
			t.Errorf("%s had %d requests twice, and %d with the canary header", name, twice, in.leaked)
		}
	}
	if age := m.sum("discovery_age_seconds", `upstream="orders"`); age > 35 { // Consul confirms after 30 s, or a little more
		t.Errorf("discovery age is %d s", age)
	}
	if n := f.scrape().sum("discovery_failures_total", `upstream="orders"`); n < 3 || n != m.sum("discovery_failures_total", "") {
		t.Errorf("%d failures of discovery, and they go on", n)
	}
}

// end sends SIGTERM with one request under way, which gets its answer.
func (f *firstLight) end(t *testing.T) {
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/slow/last HTTP/1.1\r\nHost: api.example.com\r\nX-Canary: always\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	canary := f.instances["canary-1"]
	f.until("the slow request under way", func() bool { return canary.saw("last") })
	begin := f.term()
	f.until("not ready", func() bool { return f.ready() == http.StatusServiceUnavailable })
	canary.letGo()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "canary-1 last " {
		t.Errorf("the slow request: %q %v", body, err)
	}
	f.wantEnd(begin)
}
