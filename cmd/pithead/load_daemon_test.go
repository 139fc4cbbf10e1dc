package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/admin"
)

// gatewayUnderLoad is `pithead run` in a process and in folders of its own. The
// program is this test binary, so it has the race detector too.
type gatewayUnderLoad struct {
	t      *testing.T
	dir    string // of the configuration, which the gateway watches
	state  string // for what it writes
	addr   string // of the listener
	cmd    *exec.Cmd
	exited chan struct{}
	admin  *http.Client
	client *admin.Client

	prepare func(*exec.Cmd) // changes how the process is started; may be nil
}

// shutdownOrder is how the gateway ends here, and grace its sum.
const (
	shutdownOrder = "shutdown: {delay: 200ms, lame_duck: 500ms, grace: 15s}\n"
	shutdownGrace = 15700 * time.Millisecond
)

// newGateway writes the process file, with more at its end. Route files come by
// save, then run.
func newGateway(t *testing.T, more string) *gatewayUnderLoad {
	t.Helper()
	g := &gatewayUnderLoad{t: t, dir: t.TempDir(), state: t.TempDir(), addr: freeAddress()}
	g.admin = &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", g.written("admin.sock"))
		},
	}}
	if err := os.Mkdir(g.path("routes.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	g.save("pithead.yaml", g.process(more))
	return g
}

// process is the text of the process file.
func (g *gatewayUnderLoad) process(more string) string {
	return fmt.Sprintf("admin: {address: %q}\naccess_log: {output: %q}\nreload: {debounce: 20ms}\ninclude: [routes.d/*.yaml]\n",
		"unix:"+g.written("admin.sock"), g.written("access.log")) + shutdownOrder +
		strings.ReplaceAll(more, "ADDRESS", g.addr)
}

func (g *gatewayUnderLoad) path(name string) string    { return filepath.Join(g.dir, name) }
func (g *gatewayUnderLoad) written(name string) string { return filepath.Join(g.state, name) }

// save replaces a file by a rename, as careful editors do.
func (g *gatewayUnderLoad) save(name, text string) {
	g.t.Helper()
	if err := os.WriteFile(g.path(".new"), []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(g.path(".new"), g.path(name)); err != nil {
		g.t.Fatal(err)
	}
}

// run starts the gateway and waits until it is ready.
func (g *gatewayUnderLoad) run() {
	g.t.Helper()
	g.start()
	g.until("ready", func() bool { return g.ready() == http.StatusOK })
	var err error
	if g.client, err = admin.Dial("unix:"+g.written("admin.sock"), ""); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(g.client.Close)
}

// start starts the gateway.
func (g *gatewayUnderLoad) start() {
	g.t.Helper()
	g.cmd = exec.Command("pithead", "run", g.path("pithead.yaml"))
	g.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	endWithParent(g.cmd)
	if g.prepare != nil {
		g.prepare(g.cmd)
	}
	stderr, err := os.Create(g.written("process.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer stderr.Close() // the process has a copy of its own
	g.cmd.Stderr = stderr
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.exited = make(chan struct{})
	go func() {
		defer close(g.exited)
		_ = g.cmd.Wait() // ProcessState says how it ended
	}()
	g.t.Cleanup(g.cleanUp)
}

func (g *gatewayUnderLoad) cleanUp() {
	_ = g.cmd.Process.Kill() // it has ended, unless the test has failed
	<-g.exited
	if g.t.Failed() {
		g.t.Logf("the gateway's log ended with\n%s", g.logged(8<<10))
	}
}

// logged is the end of the process log.
func (g *gatewayUnderLoad) logged(limit int) []byte {
	text, err := os.ReadFile(g.written("process.log"))
	if err != nil {
		g.t.Error(err)
	}
	return text[max(len(text)-limit, 0):]
}

// get asks the admin API; status 0 is no answer at all.
func (g *gatewayUnderLoad) get(path string) (status int, body string) {
	resp, err := g.admin.Get("http://localhost" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

func (g *gatewayUnderLoad) ready() int {
	status, _ := g.get("/readyz")
	return status
}

// until waits for something that takes a moment.
func (g *gatewayUnderLoad) until(what string, is func() bool) {
	g.t.Helper()
	late := time.After(2 * patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-g.exited:
			g.t.Fatalf("waiting for %s: the gateway ended: %s", what, g.cmd.ProcessState)
		case <-late:
			g.t.Fatalf("not %s in %s", what, 2*patience)
		}
	}
}

// metrics are those of one scrape.
type metrics string

func (g *gatewayUnderLoad) scrape() metrics {
	g.t.Helper()
	status, text := g.get("/metrics")
	if status != http.StatusOK {
		g.t.Fatalf("scrape: %d %s", status, text)
	}
	return metrics(text)
}

// sum adds up the series of a metric that have all of labels.
func (m metrics) sum(name, labels string) int {
	sum, _ := sumSeries(string(m), "pithead_"+name, labels)
	return int(sum)
}

func (m metrics) has(text string) bool { return strings.Contains(string(m), text) }

// want compares a sum.
func (m metrics) want(t *testing.T, name, labels string, want int) {
	t.Helper()
	if got := m.sum(name, labels); got != want {
		_, lines := sumSeries(string(m), "pithead_"+name, "")
		t.Errorf("%s{%s} is %d, want %d:\n%s", name, labels, got, want, lines)
	}
}

func (g *gatewayUnderLoad) signal(sig syscall.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(sig); err != nil {
		g.t.Fatal(err)
	}
}

// term sends SIGTERM and says when.
func (g *gatewayUnderLoad) term() time.Time {
	g.t.Helper()
	begin := time.Now()
	g.signal(syscall.SIGTERM)
	return begin
}

// wantEnd waits for the end after SIGTERM, which was sent at begin.
func (g *gatewayUnderLoad) wantEnd(begin time.Time) {
	g.t.Helper()
	select {
	case <-g.exited:
	case <-time.After(shutdownGrace + patience):
		g.t.Fatal("it does not end")
	}
	if took := time.Since(begin); took > shutdownGrace {
		g.t.Errorf("it took %s to end", took)
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		g.t.Errorf("exit status %d", code)
	}
	text := g.logged(1 << 30)
	for _, never := range []string{"DATA RACE", "panic", "drained=false"} {
		if bytes.Contains(text, []byte(never)) {
			g.t.Errorf("%q in the log of the process", never)
		}
	}
}

// line is what the tests read of a line in the access log.
type line struct {
	Path     string
	Method   string
	Status   int
	Route    string
	Upstream string
	Arm      string
	ArmBy    string `json:"arm_by"`
	Endpoint string
	Attempts int
	Reason   string
	Cause    string
	BytesIn  int `json:"bytes_in"`
	BytesOut int `json:"bytes_out"`
}

// accessLog is the access log of a gateway that has ended, by the request's id.
// No request may be in it twice.
func (g *gatewayUnderLoad) accessLog() map[string]line {
	g.t.Helper()
	text, err := os.ReadFile(g.written("access.log"))
	if err != nil {
		g.t.Fatal(err)
	}
	lines := make(map[string]line)
	for raw := range bytes.Lines(text) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			g.t.Fatalf("access log: %v in %s", err, raw)
		}
		id := path.Base(l.Path)
		if _, twice := lines[id]; twice {
			g.t.Errorf("request %s is twice in the access log", id)
		}
		lines[id] = l
	}
	return lines
}
