// Package consultest runs a real Consul agent for a test:
//
//	agent := consultest.Start(t)
//	agent.Register(consultest.Service{ID: "orders-1", Name: "orders", Address: "127.0.0.1", Port: 9001})
//
// The binary is the one that the environment variable PITHEAD_CONSUL names;
// `make test` builds it from the module in test/consul. The agent is a cluster
// of one server, not `-dev`, so that it keeps its catalogue over a restart.
package consultest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pithead/pithead/test/freeport"
)

// Env is the environment variable with the path of the consul binary.
const Env = "PITHEAD_CONSUL"

const (
	startLimit = time.Minute
	startTries = 3 // a port may be taken between the look for a free one and its use
)

// Agent is a running Consul.
type Agent struct {
	URL   string // of the HTTP API; it stays the same over restarts
	DNS   string // host:port of the name server for the domain consul; it too
	Token string // that may do everything; "" without access control

	t      testing.TB
	binary string
	dir    string
	ports  [4]int // HTTP, server RPC, serf, DNS
	client *http.Client
	cmd    *exec.Cmd
	exited chan struct{}
}

// Service is an instance with a check that the test itself passes and fails.
type Service struct {
	ID, Name string
	Address  string
	Port     int
	Tags     []string
	Meta     map[string]string
	Weight   int // default: 1
}

// Start runs an agent until the end of the test. Without PITHEAD_CONSUL the
// test is skipped; when it is set, everything that fails is an error.
func Start(t testing.TB) *Agent {
	t.Helper()
	return start(t, "", "")
}

// start runs an agent with more configuration, and with the token that it gives
// all rights to.
func start(t testing.TB, more, token string) *Agent {
	t.Helper()
	binary := os.Getenv(Env)
	if binary == "" {
		t.Skipf("set %s to a consul binary, or run make test", Env)
	}
	a := &Agent{
		t: t, binary: binary, dir: t.TempDir(), Token: token,
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second},
	}
	config := "performance { raft_multiplier = 1 }\ndisable_update_check = true\n" + more
	if err := os.WriteFile(filepath.Join(a.dir, "agent.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Stop)
	for try := 1; ; try++ {
		a.pickPorts()
		err := a.run()
		if err == nil {
			return a
		}
		if try == startTries {
			t.Fatal(err)
		}
	}
}

func (a *Agent) pickPorts() {
	a.t.Helper()
	for i := range a.ports {
		port, release, err := freeport.Take()
		if err != nil {
			a.t.Fatal(err)
		}
		a.t.Cleanup(release)
		a.ports[i] = port
	}
	a.URL = "http://127.0.0.1:" + strconv.Itoa(a.ports[0])
	a.DNS = "127.0.0.1:" + strconv.Itoa(a.ports[3])
}

// run starts the process and waits until it leads its cluster.
func (a *Agent) run() error {
	log, err := os.OpenFile(filepath.Join(a.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(a.binary, "agent", "-server", "-bootstrap-expect=1", "-node=test", "-disable-host-node-id", //nolint:gosec,noctx // whoever runs the tests names the binary; the agent lives until Stop
		"-config-file="+filepath.Join(a.dir, "agent.hcl"), "-data-dir="+filepath.Join(a.dir, "data"), "-log-level=warn",
		"-bind=127.0.0.1", "-client=127.0.0.1", "-http-port="+strconv.Itoa(a.ports[0]), "-server-port="+strconv.Itoa(a.ports[1]),
		"-serf-lan-port="+strconv.Itoa(a.ports[2]), "-serf-wan-port=-1",
		"-dns-port="+strconv.Itoa(a.ports[3]), "-grpc-port=-1", "-grpc-tls-port=-1")
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start consul: %w", err)
	}
	exited := make(chan struct{})
	a.cmd, a.exited = cmd, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it is killed, always
	}()
	if err := a.waitLeader(); err != nil {
		a.Stop()
		text, _ := os.ReadFile(filepath.Join(a.dir, "log")) // as much as there is
		return fmt.Errorf("start consul: %w; its log:\n%s", err, text)
	}
	return nil
}

func (a *Agent) waitLeader() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if leader, err := a.call(ctx, http.MethodGet, "/v1/status/leader", nil); err == nil && bytes.Contains(leader, []byte(":")) {
			return nil
		}
		select {
		case <-a.exited:
			return errors.New("it exited")
		case <-ctx.Done():
			return fmt.Errorf("no leader in %s", startLimit)
		case <-tick.C:
		}
	}
}

// Stop kills the agent, as a crash would. It may be called twice.
func (a *Agent) Stop() {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Kill() // it may be gone already
	<-a.exited
	a.cmd = nil
}

// Restart starts a stopped agent, or a running one anew, on the same ports and
// with the catalogue it had.
func (a *Agent) Restart() {
	a.t.Helper()
	a.Stop()
	if err := a.run(); err != nil {
		a.t.Fatal(err)
	}
}

// Reset restarts the agent without its data: services must be registered again.
func (a *Agent) Reset() {
	a.t.Helper()
	a.Stop()
	if err := os.RemoveAll(filepath.Join(a.dir, "data")); err != nil {
		a.t.Fatal(err)
	}
	a.Restart()
}

// Register adds an instance that passes its check.
func (a *Agent) Register(s Service) {
	a.t.Helper()
	a.put("/v1/agent/service/register", map[string]any{
		"ID": s.ID, "Name": s.Name, "Address": s.Address, "Port": s.Port, "Tags": s.Tags, "Meta": s.Meta,
		"Weights": map[string]int{"Passing": max(s.Weight, 1), "Warning": 1},
		"Check":   map[string]any{"CheckID": "service:" + s.ID, "TTL": "1h", "Status": "passing"},
	})
	a.PassCheck(s.ID) // Consul keeps a reported status over a restart, but not an initial one
}

// Deregister takes an instance out of the catalogue.
func (a *Agent) Deregister(id string) { a.t.Helper(); a.put("/v1/agent/service/deregister/"+id, nil) }

// FailCheck makes an instance critical.
func (a *Agent) FailCheck(id string) { a.t.Helper(); a.put("/v1/agent/check/fail/service:"+id, nil) }

// PassCheck makes an instance healthy again.
func (a *Agent) PassCheck(id string) { a.t.Helper(); a.put("/v1/agent/check/pass/service:"+id, nil) }

func (a *Agent) put(path string, body any) { a.t.Helper(); a.send(http.MethodPut, path, body, nil) }

func (a *Agent) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if a.Token != "" {
		r.Header.Set("X-Consul-Token", a.Token)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return text, err
}
