package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pithead/pithead/bpf"
)

// probeRole is a probe in a process of its own, for the control group of its first
// argument. It says when it is ready, and for each line that it reads how many
// requests it has seen on which side, by label.
func probeRole() {
	p, err := bpf.Load(bpf.Options{Cgroup: os.Args[1], AnyListen: true, AnyUpstream: true, Labels: 64, Status: true, Settle: time.Nanosecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode("ready") // whoever does not read it has ended
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		s, err := p.Snapshot()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = out.Encode(s.Rows)
	}
}

// probed is a running probe.
type probed struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *json.Decoder
}

func startProbe(t *testing.T, group string) *probed {
	t.Helper()
	p := &probed{t: t, cmd: exec.Command("probe", group)}
	p.cmd.Stderr = os.Stderr
	endWithParent(p.cmd)
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.in, p.out = in, json.NewDecoder(out)
	var ready string
	if err := p.out.Decode(&ready); err != nil {
		t.Fatalf("the probe has not started: %v", err)
	}
	return p
}

func (p *probed) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// requests are those that the probe has seen begin an answer, by side and label.
func (p *probed) requests() map[bpf.Side]map[uint32]int {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "\n"); err != nil {
		p.t.Fatal(err)
	}
	var rows []bpf.Row
	if err := p.out.Decode(&rows); err != nil {
		p.t.Fatal(err)
	}
	all := map[bpf.Side]map[uint32]int{bpf.Server: {}, bpf.Upstream: {}}
	for _, row := range rows {
		all[row.Side][row.Label] += int(row.Counters.Requests)
	}
	return all
}

// controlGroup makes one for the test, where that is possible. It must be in CI.
func controlGroup(t *testing.T) string {
	t.Helper()
	problem := ""
	root := "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/unified/cgroup.procs"); err == nil {
		root += "/unified"
	}
	dir := filepath.Join(root, fmt.Sprintf("pithead-anatomy-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if os.Geteuid() != 0 {
		problem = "programs are loaded by root here"
	} else if _, err := os.Stat(root + "/cgroup.procs"); err != nil {
		problem = "no cgroup2 is mounted"
	} else if err := os.Mkdir(dir, 0o755); err != nil {
		problem = err.Error()
	}
	if problem != "" {
		if os.Getenv("PITHEAD_PROBE") == "required" {
			t.Fatal(problem)
		}
		t.Skip(problem)
	}
	t.Cleanup(func() {
		for range 200 { // the last process leaves a moment after it has ended
			if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Errorf("%s could not be removed", dir)
	})
	return dir
}

// inGroup starts the gateway in a control group.
func inGroup(t *testing.T, g *gatewayUnderLoad, group string) {
	t.Helper()
	folder, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	g.prepare = func(cmd *exec.Cmd) {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = new(syscall.SysProcAttr)
		}
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(folder.Fd())
	}
}
