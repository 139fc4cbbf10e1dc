//go:build linux

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// unifiedRoot is where cgroup2 is mounted, empty if it is not.
func unifiedRoot() string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	return mountOf(string(text))
}

// mountOf finds cgroup2 in a mountinfo, see proc_pid_mountinfo(5).
func mountOf(mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && len(fields) >= 5 && strings.HasPrefix(after, "cgroup2 ") {
			return fields[4]
		}
	}
	return ""
}

// CgroupOf is the folder of a process's control group, empty if that is the root,
// to which a probe must not be attached.
func CgroupOf(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("process %d: %w", pid, err)
	}
	path := groupIn(string(text))
	root := unifiedRoot()
	if path == "" || path == "/" || root == "" {
		return "", nil
	}
	return filepath.Join(root, path), nil
}

// groupIn is the unified group in a /proc/PID/cgroup, see cgroups(7).
func groupIn(text string) string {
	for line := range strings.Lines(text) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// CheckCgroup refuses folders that no probe should be attached to.
func CheckCgroup(dir string) error {
	root := unifiedRoot()
	if root == "" {
		return fmt.Errorf("no cgroup2 is mounted here: watch ports instead")
	}
	var top, group syscall.Stat_t
	if err := syscall.Stat(root, &top); err != nil {
		return fmt.Errorf("%s: %w", root, err)
	}
	if err := syscall.Stat(dir, &group); err != nil {
		return fmt.Errorf("control group %s: %w", dir, err)
	}
	if group.Dev != top.Dev {
		return fmt.Errorf("%s is no control group of version 2: they are under %s", dir, root)
	}
	if group.Ino == top.Ino {
		return fmt.Errorf("%s is the root, which is the whole machine: give the gateway a group of its own", dir)
	}
	return nil
}

// NetnsOf is the inode of a process's network namespace, and its path if that is
// another than the caller's.
func NetnsOf(pid int) (inode uint64, path string, err error) {
	var own, theirs syscall.Stat_t
	path = fmt.Sprintf("/proc/%d/ns/net", pid)
	if err := syscall.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return 0, "", fmt.Errorf("network namespace: %w", err)
	}
	if err := syscall.Stat(path, &theirs); errors.Is(err, os.ErrPermission) {
		return 0, "", fmt.Errorf("%w: missing CAP_SYS_PTRACE to see the network namespace of process %d, which is another user's", ErrPrivilege, pid)
	} else if err != nil {
		return 0, "", fmt.Errorf("network namespace of process %d: %w", pid, err)
	}
	if own.Ino == theirs.Ino {
		path = ""
	}
	return theirs.Ino, path, nil
}

// OwnNetns is the network namespace of the probe itself.
func OwnNetns() (inode uint64, path string, err error) { return NetnsOf(syscall.Gettid()) }

// MemberOf is a process in a control group, 0 if it is empty.
func MemberOf(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, _ := strconv.Atoi(first) // an empty group has no first line, and that is 0
	return pid
}

// ListenersOf are the TCP ports on which a process listens.
func ListenersOf(pid int) ([]Port, error) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		return nil, fmt.Errorf("process %d: its descriptors cannot be read: %w", pid, os.ErrPermission)
	}
	sockets := map[string]bool{}
	for _, name := range links {
		target, err := os.Readlink(name)
		if inode, ok := strings.CutPrefix(target, "socket:["); ok && err == nil {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var all []Port
	seen := map[uint16]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // a kernel without IPv6
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			port, inode, ok := listenerIn(lines.Text())
			if ok && sockets[inode] && !seen[port] {
				seen[port] = true
				all = append(all, Port{Number: port})
			}
		}
		_ = file.Close()
	}
	return all, nil
}

// listenerIn reads a line of /proc/net/tcp, see proc_net(5).
func listenerIn(line string) (port uint16, inode string, ok bool) {
	const listening = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listening {
		return 0, "", false
	}
	_, digits, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(digits, 16, 16)
	return uint16(n), fields[9], err == nil
}
