//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// With keepVariable set, the test binary is the program, with no more capabilities
// than the variable's bits.
const (
	keepVariable = "PITHEAD_PROBE_KEEP"
	keepAll      = "all"
)

func TestMain(m *testing.M) {
	switch keep := os.Getenv(keepVariable); keep {
	case "":
		goleak.VerifyTestMain(m)
	case keepAll:
		main()
	default:
		fmt.Fprintln(os.Stderr, without(keep))
		os.Exit(1)
	}
}

// without starts this binary again with some capabilities only: root gets on exec
// what is left in the thread's bounding set.
func without(keep string) error {
	set, err := strconv.ParseUint(keep, 16, 64)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	for bit := range uintptr(unix.CAP_LAST_CAP + 1) {
		if set>>bit&1 == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, bit, 0, 0, 0); err != nil {
				return err
			}
		}
	}
	if err := os.Setenv(keepVariable, keepAll); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

const (
	netAdmin = 1 << unix.CAP_NET_ADMIN
	perfmon  = 1 << unix.CAP_PERFMON
	bpfOnly  = 1 << unix.CAP_BPF
)

// privileged skips where programs cannot be loaded, but not in CI.
func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("PITHEAD_PROBE") == "required" {
		t.Fatal("not root")
	}
	t.Skip("programs are loaded by root here")
}

func program(t *testing.T, keep string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), keepVariable+"="+keep)
	return cmd
}

// started runs the program until it serves, and says where.
func started(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := program(t, keepAll, append(args, "--listen", "127.0.0.1:0")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "msg=serving address="); ok {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return cmd, "http://" + address
		}
		t.Log(lines.Text())
	}
	t.Fatal("it does not serve")
	return nil, ""
}

func get(t *testing.T, url string, headers ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if len(headers) > 0 {
		req.Header.Set("Accept", headers[0])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v: %s", url, resp.Status, err, body)
	}
	return string(body)
}

func service(t *testing.T) (url, port string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/labels" {
			_, _ = io.WriteString(w, `[]`)
		}
	}))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return server.URL, port
}

func TestWhatIsServed(t *testing.T) {
	privileged(t)
	url, port := service(t)
	_, probe := started(t, "--port", port, "--prefix", "/api/", "--prefix", "/", "--settle", "1ms", "--outlier", "1ns")
	for range 3 {
		get(t, url+"/api/orders")
	}
	get(t, url+"/other")
	metrics := get(t, probe+"/metrics")
	for _, want := range []string{
		`pithead_probe_requests_total{arm="",endpoint="",route="/api/",side="server"} 3`,
		`pithead_probe_requests_total{arm="",endpoint="",route="/",side="server"} 1`,
		`pithead_probe_first_byte_seconds_count{arm="",endpoint="",route="/api/",side="server",status="2xx"} 3`,
		`pithead_probe_first_byte_seconds_bucket{arm="",endpoint="",route="/api/",side="server",status="2xx",le="68.719476736"} 3`,
		`pithead_probe_tier_active{tier="connections"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in\n%s", want, metrics)
		}
	}
	if native := get(t, probe+"/metrics", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text"); !strings.Contains(native, "positive_span") || !strings.Contains(native, "upper_bound") {
		t.Error("histograms are not native and classic")
	}
	var a answer
	if err := json.Unmarshal([]byte(get(t, probe+"/snapshot")), &a); err != nil || len(a.Rows) != 2 || a.Rows[0].Route != "/api/" {
		t.Errorf("%v: %+v", err, a)
	}
	if health := get(t, probe+"/healthz"); !strings.Contains(health, `"writes by tracepoint"`) {
		t.Errorf("health %s", health)
	}
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(50 * time.Millisecond) {
		if strings.Contains(get(t, probe+"/outliers"), `"name":"/api/"`) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("outliers: %s", get(t, probe+"/outliers"))
		}
	}
}

// A probe that is killed leaves nothing in the kernel, and no request notices.
func TestKilledUnderLoad(t *testing.T) {
	privileged(t)
	url, port := service(t)
	var failed, done atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for ctx.Err() == nil {
			resp, err := client.Get(url)
			if err != nil {
				failed.Add(1)
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			done.Add(1)
		}
	}()
	for range 2 { // and a new one takes over
		cmd, probe := started(t, "--port", port, "--settle", "1ms")
		ids := programsOf(t, cmd.Process.Pid)
		if left(ids) != len(ids) || len(ids) < 6 {
			t.Errorf("%d programs", len(ids))
		}
		seen := done.Load()
		for done.Load() < seen+100 {
			<-time.After(time.Millisecond)
		}
		if !strings.Contains(get(t, probe+"/metrics"), `pithead_probe_requests_total{arm="",endpoint="",route="",side="server"}`) {
			t.Error("it has counted nothing")
		}
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		for deadline := time.Now().Add(20 * time.Second); left(ids) > 0; <-time.After(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d programs of %d are left", left(ids), len(ids))
			}
		}
	}
	stop()
	<-ended
	if failed.Load() != 0 || done.Load() < 200 {
		t.Errorf("%d requests failed of %d", failed.Load(), done.Load())
	}
}

// Every way of ending badly has its status and says what is missing.
func TestStatusOfFailures(t *testing.T) {
	privileged(t)
	for _, c := range []struct {
		name, keep string
		args       []string
		status     int
		say        string
	}{
		{"nothing to watch", keepAll, nil, 2, "nothing to watch"},
		{"no port", keepAll, []string{"--port", "http"}, 2, "--port: \"http\" is no port"},
		{"unknown flag", keepAll, []string{"--ports", "1"}, 2, "unknown flag"},
		{"root group", keepAll, []string{"--cgroup", "/sys/fs/cgroup/unified"}, 2, "--cgroup: "},
		{"no process", keepAll, []string{"--gateway", "2147483647"}, 2, "process 2147483647"},
		{"names twice", keepAll, []string{"--port", "1", "--prefix", "/", "--admin", "a:1"}, 2, "--prefix and --admin"},
		{"no capabilities", "0", []string{"--port", "1"}, 3, "missing CAP_BPF and CAP_PERFMON"},
		{"only BPF", fmt.Sprintf("%x", bpfOnly|netAdmin), []string{"--port", "1"}, 3, "missing CAP_PERFMON"},
		{"only PERFMON", fmt.Sprintf("%x", perfmon|netAdmin), []string{"--port", "1"}, 3, "missing CAP_BPF"},
		{"busy address", keepAll, []string{"--port", "1", "--listen", "192.0.2.1:1"}, 2, "--listen: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, _ := program(t, c.keep, c.args...).CombinedOutput()
			if !strings.Contains(string(out), c.say) || strings.Contains(string(out), "MEMLOCK") {
				t.Errorf("said %q, want %q", out, c.say)
			}
			cmd := program(t, c.keep, c.args...)
			if _ = cmd.Run(); cmd.ProcessState.ExitCode() != c.status {
				t.Errorf("status %d, want %d", cmd.ProcessState.ExitCode(), c.status)
			}
		})
	}
	t.Run("process of another user", func(t *testing.T) {
		other := exec.CommandContext(t.Context(), "sleep", "60")
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		if err := other.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = other.Process.Kill()
			_ = other.Wait()
		}()
		cmd := program(t, fmt.Sprintf("%x", bpfOnly|perfmon|netAdmin), "--gateway", strconv.Itoa(other.Process.Pid))
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "missing CAP_SYS_PTRACE") {
			t.Errorf("status %d, said %s", cmd.ProcessState.ExitCode(), out)
		}
	})
	t.Run("enough", func(t *testing.T) {
		out, err := program(t, fmt.Sprintf("%x", bpfOnly|perfmon), "--port", "1", "--once", "--for", "1ms").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
}
