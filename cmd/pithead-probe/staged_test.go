//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pithead/pithead/test/cable"
	"github.com/pithead/pithead/test/freeport"
)

// stage is a gateway with two services, orders on this machine and stock beyond a
// cable.
type stage struct {
	gateway *exec.Cmd
	wire    *cable.Cable
	front   string
	orders  string
	stock   string
}

// pithead builds the gateway's program.
func pithead(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pithead")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", name, "github.com/pithead/pithead/cmd/pithead").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return name
}

func freeAddr(t *testing.T, host string) string {
	t.Helper()
	port, release, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// running starts a program and kills it after the test.
func running(t *testing.T, line ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	said := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said)
		}
	})
	return cmd
}

func answering(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		resp, err := client.Get(url)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", url, err)
		}
	}
}

// build makes the stage. The wire delays packets by a millisecond at most, until a
// problem is staged.
func build(t *testing.T, delay time.Duration) *stage {
	t.Helper()
	privileged(t)
	program := pithead(t)
	s := &stage{wire: cable.Far(t), front: freeAddr(t, "127.0.0.1"), orders: freeAddr(t, "127.0.0.1")}
	s.stock = freeAddr(t, s.wire.There)
	s.wire.Delay.Store(int64(delay))
	running(t, program, "demo", "service", "--faults", "--listen", s.orders)
	running(t, "ip", "netns", "exec", s.wire.Namespace, program, "demo", "service", "--faults", "--listen", s.stock)
	config := filepath.Join(t.TempDir(), "pithead.yaml")
	text := fmt.Sprintf(`
listeners: {web: {address: "%s"}}
admin: {address: "127.0.0.1:0"}
upstreams:
  orders: {discover: {static: {targets: ["%s"]}}}
  stock: {discover: {static: {targets: ["%s"]}}}
routes:
  - {name: orders, match: {prefix: /orders/}, to: orders}
  - {name: stock, match: {prefix: /stock/}, to: stock}
`, s.front, s.orders, s.stock)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.gateway = running(t, program, "run", config)
	answering(t, "http://"+s.front+"/orders/7")
	answering(t, "http://"+s.front+"/stock/7")
	return s
}

// load asks for both routes until the test ends.
func (s *stage) load(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, path := range []string{"/orders/7", "/stock/7", "/orders/8", "/stock/8"} {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.front+path, http.NoBody)
				if resp, err := client.Do(req); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
				}
				<-time.After(2 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		all.Wait()
	})
}

// look is one look at top, as an operator has it, and the same for the test.
func (s *stage) look(t *testing.T) map[string]*line {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.front)
	_, orders, _ := net.SplitHostPort(s.orders)
	_, stock, _ := net.SplitHostPort(s.stock)
	_, probe := started(t, "--port", port, "--upstream-port", orders+","+stock, "--prefix", "/orders/", "--prefix", "/stock/")
	address := strings.TrimPrefix(probe, "http://")
	var wait sync.WaitGroup
	var shown, exact []byte
	wait.Go(func() {
		shown, _ = program(t, keepAll, "top", "--probe", address, "--every", "3s", "--once").CombinedOutput()
	})
	wait.Go(func() {
		exact, _ = program(t, keepAll, "top", "--probe", address, "--every", "3s", "--once", "--json").CombinedOutput()
	})
	wait.Wait()
	t.Logf("\n%s", shown)
	var i interval
	if err := json.Unmarshal(exact, &i); err != nil {
		t.Fatalf("%v: %s", err, exact)
	}
	lines := map[string]*line{}
	for _, l := range i.Lines {
		lines[l.Route] = l
	}
	for _, route := range []string{"/orders/", "/stock/"} {
		if lines[route] == nil || lines[route].Requests < 10 {
			t.Fatalf("no requests on %s:\n%s", route, shown)
		}
	}
	return lines
}

// find looks until the lines are as they should be: what else runs on the machine can
// hide a problem for a while.
func (s *stage) find(t *testing.T, want map[string]string) {
	t.Helper()
	s.load(t)
	var wrong string
	for range 4 {
		wrong = ""
		for route, l := range s.look(t) {
			if want[route] != "" && l.Most != want[route] {
				wrong += fmt.Sprintf("%s: most of the time is in %s, want %s; ", route, l.Most, want[route])
			}
		}
		if wrong == "" {
			return
		}
	}
	t.Error(wrong)
}

// A gateway that may run a fifth of the time is what a CPU quota makes of it: stopped
// most of each period.
func TestFindTheSlowPartStarvedGateway(t *testing.T) {
	s := build(t, 0)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_ = s.gateway.Process.Signal(syscall.SIGSTOP)
			<-time.After(40 * time.Millisecond)
			_ = s.gateway.Process.Signal(syscall.SIGCONT)
			<-time.After(10 * time.Millisecond)
		}
	}()
	defer func() {
		stop()
		<-ended
	}()
	s.find(t, map[string]string{"/orders/": "queue", "/stock/": "queue"})
}

func TestFindTheSlowPartNetwork(t *testing.T) {
	s := build(t, 10*time.Millisecond)
	s.find(t, map[string]string{"/stock/": "network"})
}

func TestFindTheSlowPartService(t *testing.T) {
	s := build(t, 0)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+s.orders+"/-/fault", "", strings.NewReader("slow 20ms"))
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
	s.find(t, map[string]string{"/orders/": "service"})
}
