package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program of ours under measurement, with its children.
type process struct {
	cmd   *exec.Cmd
	out   *bytes.Buffer
	ended chan struct{}
}

// startOn starts a program on one core. It dies with this one.
func startOn(core int, dir string, args ...string) (*process, error) {
	return startWith(nil, strconv.Itoa(core), dir, args...)
}

// startWith is startOn for a list of cores, and for a program whose standard
// output goes to out, unless that is nil.
func startWith(out *os.File, cores, dir string, args ...string) (*process, error) {
	line := append([]string{"-c", cores}, args...)
	p := &process{cmd: exec.Command("taskset", line...), out: new(bytes.Buffer), ended: make(chan struct{})} //nolint:noctx // stop ends it: the programs of this benchmark
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p.out, p.out
	if out != nil {
		p.cmd.Stdout = out
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter, that it did is seen
		close(p.ended)
	}()
	return p, nil
}

// stop ends the process and its group.
func (p *process) stop() error {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM) // it may have ended
	select {
	case <-p.ended:
		return nil
	case <-time.After(5 * time.Second):
	}
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
	return err
}

// pids are the process and all its descendants.
func (p *process) pids() ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, name := range stats {
		pid, ppid, _, err := readStat(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		children[ppid] = append(children[ppid], pid)
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// userHZ is the unit of times in /proc, the same on all Linux systems that Go runs on.
const userHZ = 100

// cpu is the CPU time that the process and its descendants have used.
func (p *process) cpu() (time.Duration, error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	var ticks uint64
	for _, pid := range pids {
		_, _, used, err := readStat(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		ticks += used
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

// readStat reads pid, parent and CPU time. The second field is a name in
// brackets that may hold anything, brackets too.
func readStat(name string) (pid, ppid int, ticks uint64, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, 0, 0, err
	}
	return parseStat(string(text))
}

func parseStat(text string) (pid, ppid int, ticks uint64, err error) {
	head, _, opened := strings.Cut(text, " (")
	end := strings.LastIndex(text, ") ")
	if !opened || end < 0 {
		return 0, 0, 0, errors.New("not a stat line")
	}
	fields := strings.Fields(text[end+2:])
	if len(fields) < 13 {
		return 0, 0, 0, errors.New("a short stat line")
	}
	numbers := make([]uint64, 4)
	for i, field := range []string{head, fields[1], fields[11], fields[12]} {
		if numbers[i], err = strconv.ParseUint(field, 10, 64); err != nil {
			return 0, 0, 0, err
		}
	}
	return int(numbers[0]), int(numbers[1]), numbers[2] + numbers[3], nil
}

// memory is the resident memory of the process and its descendants in bytes.
// Pages that they share are counted once for each.
func (p *process) memory() (int64, error) {
	pids, err := p.pids()
	if err != nil {
		return 0, err
	}
	var total int64
	for _, pid := range pids {
		kb, err := residentKB(pid)
		if err != nil {
			return 0, err
		}
		total += kb << 10
	}
	return total, nil
}

func residentKB(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // it is only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			return strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		}
	}
	return 0, fmt.Errorf("process %d has no memory", pid)
}
