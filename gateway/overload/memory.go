package overload

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// Memory tells how much of its memory the process, or its control group, has in use.
type Memory struct {
	root  string // of the file system; "" but for tests
	limit uint64
	usage func() (uint64, bool)
	most  func() (uint64, bool) // usage and perhaps more, for less work
	from  string
}

// FindMemory looks for a limit: the given one, which is compared with what the
// process has in memory; else that of the control group, version 2 or 1, or of one
// around it; else GOMEMLIMIT. It is nil if there is none.
func FindMemory(given uint64) *Memory { return findMemory("", given) }

func findMemory(root string, given uint64) *Memory {
	m := &Memory{root: root}
	if given > 0 {
		m.limit, m.usage, m.most, m.from = given, m.resident, m.resident, "settings"
		return m
	}
	if m.group2() || m.group1() {
		return m
	}
	if limit := debug.SetMemoryLimit(-1); os.Getenv("GOMEMLIMIT") != "" && limit != math.MaxInt64 {
		m.limit, m.usage, m.most, m.from = uint64(limit), m.resident, m.resident, "GOMEMLIMIT"
		return m
	}
	return nil
}

// Limit is how much there is, and who says so.
func (m *Memory) Limit() (bytes uint64, from string) { return m.limit, m.from }

// Pressure is the share of the limit that is in use.
func (m *Memory) Pressure() (float64, bool) {
	used, ok := m.usage()
	return float64(used) / float64(m.limit), ok
}

// Most is at least the pressure, and found sooner: the page cache is not taken off.
func (m *Memory) Most() (float64, bool) {
	used, ok := m.most()
	return float64(used) / float64(m.limit), ok
}

// Room is how much memory the Go runtime can have for the whole to stay below a share of
// the limit. What the kernel keeps for connections counts in a control group, and the
// runtime does not know of it.
func (m *Memory) Room(share float64) (bytes uint64, ok bool) {
	used, ok := m.usage()
	if !ok {
		return 0, false
	}
	var mine [2]metrics.Sample
	mine[0].Name, mine[1].Name = "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes"
	metrics.Read(mine[:])
	runtime := mine[0].Value.Uint64() - mine[1].Value.Uint64()
	all := uint64(share * float64(m.limit))
	return max(all-min(all, used-min(used, runtime)), m.limit/4), true
}

// groupOf is the control group of the process in a hierarchy.
func (m *Memory) groupOf(hierarchy string) (path string, ok bool) {
	data, err := os.ReadFile(m.root + "/proc/self/cgroup")
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for name := range strings.SplitSeq(fields[1], ",") {
			if name == hierarchy {
				return fields[2], true
			}
		}
	}
	return "", false
}

// group2 finds the tightest group of version 2 that the process is in. In a container the path may be that
// of the host, and what is mounted the group itself.
func (m *Memory) group2() bool {
	group, ok := m.groupOf("")
	return ok && m.tightest(m.root+"/sys/fs/cgroup", group, "memory.max", "memory.current", "inactive_file")
}

func (m *Memory) group1() bool {
	group, ok := m.groupOf("memory")
	return ok && m.tightest(m.root+"/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
}

// noLimit is what version 1 writes for none, or a page less.
const noLimit = math.MaxInt64 &^ 0xfffff

func (m *Memory) tightest(mount, group, limitFile, usageFile, cache string) bool {
	for dir := filepath.Clean("/" + group); ; dir = filepath.Dir(dir) {
		at := mount + dir
		if limit, ok := readNumber(at + "/" + limitFile); ok && limit > 0 && limit < noLimit && (m.limit == 0 || limit < m.limit) {
			m.limit, m.from = limit, at
			m.usage = func() (uint64, bool) { return groupUsage(at, usageFile, cache) }
			m.most = func() (uint64, bool) { return readNumber(at + "/" + usageFile) }
		}
		if dir == "/" {
			return m.limit > 0
		}
	}
}

// groupUsage leaves out the part of the page cache that the kernel takes back first.
func groupUsage(dir, usageFile, cache string) (uint64, bool) {
	used, ok := readNumber(dir + "/" + usageFile)
	if !ok {
		return 0, false
	}
	data, err := os.ReadFile(dir + "/memory.stat")
	if err != nil {
		return used, true
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseUint(value, 10, 64); name == cache && err == nil {
			return used - min(n, used), true
		}
	}
	return used, true
}

// resident is what the process has in memory.
func (m *Memory) resident() (uint64, bool) {
	data, err := os.ReadFile(m.root + "/proc/self/statm")
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err == nil
}

func readNumber(path string) (uint64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64) // "max" is no number
	return n, err == nil
}
