//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Why the programs cannot be loaded.
var (
	ErrPrivilege = errors.New("not privileged enough")
	ErrKernel    = errors.New("this kernel cannot do it")
)

// Capabilities that programs need. CAP_SYS_ADMIN stands for all of them.
var capabilities = []struct {
	bit  uint
	name string
}{{unix.CAP_BPF, "CAP_BPF"}, {unix.CAP_PERFMON, "CAP_PERFMON"}}

// missing are the capabilities that this process lacks, by the CapEff of a
// /proc/PID/status.
func missing(status string) (names []string) {
	have := effective(status)
	if have>>unix.CAP_SYS_ADMIN&1 == 1 {
		return nil
	}
	for _, c := range capabilities {
		if have>>c.bit&1 == 0 {
			names = append(names, c.name)
		}
	}
	return names
}

func effective(status string) uint64 {
	for line := range strings.Lines(status) {
		if digits, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 64)
			if err == nil {
				return set
			}
		}
	}
	return 0
}

// privileged is nil if this process may load programs.
func privileged() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKernel, err)
	}
	if names := missing(string(status)); len(names) > 0 {
		return fmt.Errorf("%w: missing %s", ErrPrivilege, strings.Join(names, " and "))
	}
	return nil
}

// refused is what the kernel says to one program, without the guesses of
// libraries: they take every EPERM for a limit on locked memory.
func refused(what string, err error) error {
	cause := ErrKernel
	text := "unknown reason"
	verdict, isVerdict := errors.AsType[*ebpf.VerifierError](err)
	errno, isErrno := errors.AsType[unix.Errno](err)
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		text = "not supported"
	case errors.Is(err, unix.EPERM):
		text = "operation not permitted" + lockdown()
		if privileged() != nil {
			cause = ErrPrivilege
		}
	case isVerdict:
		text = "rejected: " + lastWord(verdict.Log)
	case isErrno:
		text = errno.Error()
	case errors.Is(err, os.ErrNotExist):
		text = "there is no such thing"
	}
	return fmt.Errorf("%w: %s: %s", cause, what, text)
}

// lastWord is the reason in the verifier's log: what stands before its statistics.
func lastWord(log []string) string {
	for _, line := range slices.Backward(log) {
		if !strings.HasPrefix(line, "processed ") {
			return strings.TrimSpace(line)
		}
	}
	return "unknown reason"
}

// lockdown is the state of the kernel's lockdown, as far as it can be seen.
func lockdown() string {
	text, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), "[")
	state, _, _ := strings.Cut(rest, "]")
	if state == "" || state == "none" {
		return ""
	}
	return " (kernel lockdown: " + state + "; trampolines are blocked, tracepoints are used)"
}
