package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// memoryGroup is a control group with a limit on memory, below the one that the test is in.
type memoryGroup struct {
	dir   string
	old   bool   // version 1
	kills string // the file that counts them
	peak  string
}

// newMemoryGroup makes one, or says why it cannot. Of version 2 it may have to stand beside
// the test's own group: one that has processes gives its members no memory to divide.
func newMemoryGroup(limit int) (*memoryGroup, error) {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("pithead-memory-%d-%d", os.Getpid(), time.Now().UnixNano())
	problems := errors.New("no hierarchy for memory is mounted")
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		var tries []*memoryGroup
		switch fields[1] {
		case "memory":
			tries = []*memoryGroup{{dir: filepath.Join("/sys/fs/cgroup/memory", fields[2]), old: true}}
		case "":
			at := filepath.Join("/sys/fs/cgroup", fields[2])
			tries = []*memoryGroup{{dir: at}, {dir: filepath.Dir(at)}}
		}
		for _, g := range tries {
			if !strings.HasPrefix(g.dir, "/sys/fs/cgroup/") && g.dir != "/sys/fs/cgroup" {
				continue
			}
			g.dir = filepath.Join(g.dir, name)
			err := g.make(limit)
			if err == nil {
				return g, nil
			}
			problems = errors.Join(problems, err)
		}
	}
	return nil, problems
}

func (g *memoryGroup) make(limit int) error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	limitFile, swapFile := "memory.max", "memory.swap.max"
	g.kills, g.peak = "memory.events", "memory.peak"
	if g.old {
		limitFile, swapFile = "memory.limit_in_bytes", ""
		g.kills, g.peak = "memory.oom_control", "memory.max_usage_in_bytes"
	}
	err := g.set(limitFile, strconv.Itoa(limit))
	if err == nil && swapFile != "" {
		if err = g.set(swapFile, "0"); errors.Is(err, os.ErrNotExist) {
			err = nil // there is no swap
		}
	}
	if err != nil {
		return errors.Join(err, os.Remove(g.dir))
	}
	return nil
}

// set writes a file that is there: O_CREATE has another error for one that is not.
func (g *memoryGroup) set(name, value string) error {
	f, err := os.OpenFile(filepath.Join(g.dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// holds has a program begin its life in the group.
func (g *memoryGroup) holds(cmd *exec.Cmd) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		shell = "/bin/sh"
	}
	cmd.Args = append([]string{"sh", "-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, g.dir, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = shell
}

// killed is how many processes the kernel has ended for want of memory.
func (g *memoryGroup) killed(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.kills))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), " "); name == "oom_kill" {
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("nothing about kills in %s", text)
	return 0
}

// most is how much memory the group has had in use, in MiB.
func (g *memoryGroup) most(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, g.peak))
	if err != nil {
		return 0 // the kernel is older than this file
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n >> 20
}

// remove ends the group. The last process leaves a moment after it has ended.
func (g *memoryGroup) remove(t *testing.T) {
	t.Helper()
	for range 200 {
		if err := os.Remove(g.dir); err == nil || os.IsNotExist(err) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("%s could not be removed", g.dir)
}

// resident is the most that a process has had in memory, in MiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n >> 10
		}
	}
	t.Fatal("the process tells nothing of its memory")
	return 0
}
