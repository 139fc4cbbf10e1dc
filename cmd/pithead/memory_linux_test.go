package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	memoryLimit = 256 << 20
	slowClients = 4000 // clients, half of which want 1 MiB each: ten times what is left of the limit
)

// Fault 38: a gateway that has 256 MiB, and ten times as much to do as fits there. It must live,
// refuse with Retry-After, come back within ten seconds, and answer operators all the time.
// PITHEAD_FAULTS=full presses it for three minutes. Where no control group can be made, and
// PITHEAD_PROBE=required does not forbid it, a limit in the settings stands for the group's.
func TestFault38MemoryPressure(t *testing.T) {
	over := 10 * time.Second
	if fullFaults() {
		over = 3 * time.Minute
	}
	more := ""
	g, err := newMemoryGroup(memoryLimit)
	if err != nil {
		if os.Getenv("PITHEAD_PROBE") == "required" {
			t.Fatal(err)
		}
		t.Logf("by the limit in the settings: %v", err)
		more = "overload: {memory: {limit: 256MiB}}\n"
	} else {
		t.Cleanup(func() { g.remove(t) })
	}
	service := httptest.NewServer(http.HandlerFunc(heavy))
	t.Cleanup(service.Close)
	d := newGateway(t, "listeners: {web: {address: ADDRESS}}\n"+more)
	d.save("routes.d/app.yaml", "upstreams: {app: {discover: {static: {targets: [\""+service.Listener.Addr().String()+"\"]}}}}\n"+
		"routes:\n"+
		"  - {name: checked, match: {prefix: /checked}, use: [retry: {body: 1MiB, methods: [POST]}, forward_auth: {to: app, body: 1MiB, timeout: 20s, request_headers: [Accept]}], to: app}\n"+
		"  - {name: app, match: {prefix: /}, to: app}\n")
	program := realProgram(t)
	d.prepare = func(cmd *exec.Cmd) {
		cmd.Path = program
		if g != nil {
			g.holds(cmd)
		}
	}
	d.run()
	c := &crowded{addr: d.addr, stop: make(chan struct{})}
	if status, _, err := c.quick(); status != http.StatusOK {
		t.Fatalf("at rest: %d %v", status, err)
	}
	for i := range slowClients {
		c.all.Go(func() { c.client(i) })
	}
	operators := d.operate(over)
	close(c.stop)
	ended := time.Now()
	d.comesBack(c)
	back := time.Since(ended)
	c.all.Wait()
	at := "resident"
	most := resident(t, d.cmd.Process.Pid)
	if g != nil {
		at, most = "in the group", max(g.most(t), 1)
		if n := g.killed(t); n != 0 {
			t.Errorf("the kernel has killed %d processes", n)
		}
	}
	pressed := d.pressed()
	t.Logf("%d answered, %d refused, %d without a connection, %d broken off; %d MiB %s at most; pressed %t; back after %s; operators: %d answers, the slowest after %s",
		c.answered.Load(), c.refused.Load(), c.away.Load(), c.broken.Load(), most, at, pressed, back.Round(10*time.Millisecond), operators.answers, operators.slowest)
	if c.refused.Load() == 0 || c.answered.Load() == 0 || !pressed {
		t.Errorf("%d answered, %d refused, and no step in which requests are: there was no pressure", c.answered.Load(), c.refused.Load())
	}
	if n := c.silent.Load(); n != 0 {
		t.Errorf("%d refused without Retry-After", n)
	}
	if n := c.wrong.Load(); n != 0 {
		t.Errorf("%d answers were neither 200 nor 503", n)
	}
	if back > 10*time.Second {
		t.Errorf("it took %s to come back", back)
	}
	if g == nil && most > memoryLimit>>20 {
		t.Errorf("%d MiB in memory", most)
	}
	d.wantEnd(d.term())
}

// realProgram is the gateway as users have it: what the race detector takes is not the gateway's memory.
func realProgram(t *testing.T) string {
	t.Helper()
	if !raceDetector {
		program, err := exec.LookPath("pithead")
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
	program := filepath.Join(t.TempDir(), "pithead")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// heavy is a service whose answers take some time and are large.
func heavy(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // a client that left is answered in vain
	if r.URL.Path == "/quick" {
		return
	}
	select {
	case <-time.After(2 * time.Second):
	case <-r.Context().Done():
		return
	}
	if r.URL.Path == "/" { // whether a request is allowed
		return
	}
	part := make([]byte, 32<<10)
	for range 32 {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// operators are what asking the admin listener has shown.
type operators struct {
	answers int
	slowest time.Duration
}

// operate asks the admin listener for some time.
func (g *gatewayUnderLoad) operate(over time.Duration) (o operators) {
	g.t.Helper()
	tick, end := time.NewTicker(50*time.Millisecond), time.After(over)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-g.exited:
			g.t.Fatalf("the gateway has ended: %s", g.cmd.ProcessState)
		case <-end:
			return o
		}
		begin := time.Now()
		status, text := g.get("/metrics")
		o.slowest = max(o.slowest, time.Since(begin))
		if status != http.StatusOK {
			g.t.Fatalf("operators: %d %s", status, text)
		}
		o.answers++
	}
}

// pressed says whether the gateway has taken a step in which it refuses requests. Its
// log knows; who asks now and then may miss it.
func (g *gatewayUnderLoad) pressed() bool {
	g.t.Helper()
	text := string(g.logged(1 << 30))
	return strings.Contains(text, "msg=overload step=shed") || strings.Contains(text, "msg=overload step=stop")
}

// comesBack returns when requests are answered again, twenty in a row on connections of their own.
func (g *gatewayUnderLoad) comesBack(c *crowded) {
	g.t.Helper()
	row := 0
	g.until("back", func() bool {
		for row < 20 {
			if status, _, err := c.quick(); status != http.StatusOK || err != nil {
				row = 0
				return false
			}
			row++
		}
		return g.scrape().sum("overload_step", "") == 0
	})
}
