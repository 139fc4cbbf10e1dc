//go:build linux

package bpf

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The processes that tests watch are this test binary in another role.
const roleVariable = "PITHEAD_BPF_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// need skips the test where programs cannot be loaded, but not in CI.
func need(t testing.TB) {
	t.Helper()
	err := privileged()
	if err == nil && unifiedRoot() == "" {
		err = fmt.Errorf("no cgroup2 is mounted")
	}
	if err == nil && os.Geteuid() != 0 {
		err = fmt.Errorf("control groups and network namespaces are made by root")
	}
	if err == nil {
		return
	}
	if os.Getenv("PITHEAD_PROBE") == "required" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// group makes a control group for the test.
func group(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(unifiedRoot(), fmt.Sprintf("pithead-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 { // the last process leaves a moment after it has ended
			if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Errorf("%s could not be removed", dir)
	})
	return dir
}

// process is a running role.
type process struct {
	*exec.Cmd

	addr string // where it listens
}

func (p *process) port() Port {
	_, digits, _ := strings.Cut(p.addr, ":")
	n, _ := strconv.Atoi(digits)
	return Port{Number: uint16(n)}
}

// start runs a role in a control group, or in the test's own if dir is empty. The
// command before it may change its namespace.
func start(t testing.TB, dir string, before []string, role string, args ...string) *process {
	t.Helper()
	line := append(append(before, os.Args[0]), args...)
	cmd := exec.CommandContext(t.Context(), line[0], line[1:]...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	if dir != "" {
		folder, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer folder.Close()
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(folder.Fd())}
	}
	stdout, err := cmd.StdoutPipe()
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
	said, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s has not started: %v", role, err)
	}
	return &process{cmd, strings.TrimSpace(said)}
}

// probe loads the programs for a test.
func probe(t testing.TB, o Options) *Probe {
	t.Helper()
	if o.Labels == 0 {
		o.Labels = 16
	}
	if o.Settle == 0 {
		o.Settle = time.Nanosecond // everything that has been answered is finished
	}
	p, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func snapshot(t testing.TB, p *Probe) *Snapshot {
	t.Helper()
	s, err := p.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually reads until the condition holds: a last acknowledgement may come up to
// 40 ms after the answer.
func eventually(t testing.TB, p *Probe, holds func(*Snapshot) bool) *Snapshot {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		s := snapshot(t, p)
		if holds(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("it has never come to that:\n%s", describe(s))
		}
	}
}

func describe(s *Snapshot) string {
	var b strings.Builder
	for _, row := range s.Rows {
		fmt.Fprintf(&b, "label %d %s %+v\n", row.Label, row.Side, row.Counters)
		for i := range row.Cells {
			c := &row.Cells[i]
			fmt.Fprintf(&b, "  %s %s: %d, mean %v, p50 %v, max %v\n", c.Metric, c.Class, c.Histogram.Count(),
				c.Histogram.Mean(), c.Histogram.Quantile(0.5), c.Histogram.Quantile(1))
		}
	}
	return b.String()
}

// attempts runs a measurement until its ranges hold: other work on the machine
// makes things later, which says nothing about the probe.
func attempts(t *testing.T, run func(t *testing.T, r *ranges)) {
	t.Helper()
	var r ranges
	for n := range 8 {
		r = ranges{try: n}
		run(t, &r)
		if len(r.wrong) == 0 {
			return
		}
	}
	t.Error(strings.Join(r.wrong, "; "))
}

// ranges are those that did not hold in a try.
type ranges struct {
	try   int
	wrong []string
}

func (r *ranges) within(what string, got, low, high time.Duration) {
	if got < low || got > high {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: %v, want %v to %v", what, got, low, high))
	}
}

// longer is a pause that stands out more in later tries, from what a slow machine adds.
func (r *ranges) longer(d time.Duration) time.Duration { return d << (r.try / 2) }

// inside checks a duration that nothing else on the machine can push out of range.
func inside(t testing.TB, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %v, want %v to %v", what, got, low, high)
	}
}
