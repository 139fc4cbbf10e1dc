package overload

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
)

// Memory tells how much of its memory the process, or its control group, has in use.
type Memory struct {
	root  string // of the file system; "" but for tests
	limit uint64
	usage func() (uint64, bool)
	most  func() (uint64, bool) // usage and perhaps more, for less work
	room  uint64                // what there is to use; of the limit of a group some is kept back
	from  string
}

// FindMemory looks for a limit: the given one, which is compared with what the
// process has in memory; else that of the control group, version 2 or 1, or of one
// around it; else GOMEMLIMIT. It is nil if there is none.
func FindMemory(given uint64) *Memory { return findMemory("", given) }

func findMemory(root string, given uint64) *Memory {
	m := &Memory{root: root}
	if given > 0 {
		m.room, m.limit, m.usage, m.most, m.from = given, given, m.resident, m.resident, "settings"
		return m
	}
	if m.group2() || m.group1() {
		m.room = m.limit - min(m.limit/4, mostKeptBack)
		return m
	}
	if limit := debug.SetMemoryLimit(-1); os.Getenv("GOMEMLIMIT") != "" && limit != math.MaxInt64 {
		m.room, m.limit, m.usage, m.most, m.from = uint64(limit), uint64(limit), m.resident, m.resident, "GOMEMLIMIT"
		return m
	}
	return nil
}

// Limit is how much there is, and who says so.
func (m *Memory) Limit() (bytes uint64, from string) { return m.limit, m.from }

// mostKeptBack is how much of a group's limit nobody is to use: the kernel ends a process
// that gets there, and what is under way when requests begin to be refused needs more yet.
const mostKeptBack = 64 << 20

// Pressure is the share in use of what there is to use.
func (m *Memory) Pressure() (float64, bool) {
	used, ok := m.usage()
	return float64(used) / float64(m.room), ok
}

// Most is at least the pressure, and found sooner: the page cache is not taken off.
func (m *Memory) Most() (float64, bool) {
	used, ok := m.most()
	return float64(used) / float64(m.room), ok
}

// Room is how much memory the Go runtime can have for the whole to stay below a share of
// what there is. What the kernel keeps for connections counts in a control group, and the
// runtime does not know of it.
func (m *Memory) Room(share float64) (bytes uint64, ok bool) {
	used, ok := m.usage()
	if !ok {
		return 0, false
	}
	all := uint64(share * float64(m.room))
	return max(all-min(all, used-min(used, managed())), m.room/4), true
}

// managed is the memory that the Go runtime has from the system.
func managed() uint64 {
	var both [2]metrics.Sample
	both[0].Name, both[1].Name = "/memory/classes/total:bytes", "/memory/classes/heap/released:bytes"
	metrics.Read(both[:])
	return both[0].Value.Uint64() - both[1].Value.Uint64()
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
			usage := openNumber(at + "/" + usageFile)
			m.usage = func() (uint64, bool) { return groupUsage(usage, at, cache) }
			m.most = usage.read
		}
		if dir == "/" {
			return m.limit > 0
		}
	}
}

// numberFile is a file with one number. It is read without an allocation: one that waits for
// the collector would keep back the news that there is too much to collect.
type numberFile struct {
	mu   sync.Mutex
	file *os.File // which the package os closes when nobody has it any more
	text [24]byte
}

func openNumber(path string) *numberFile {
	file, _ := os.Open(path) // nil tells nothing
	return &numberFile{file: file}
}

func (f *numberFile) read() (n uint64, ok bool) {
	if f.file == nil {
		return 0, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	size, err := f.file.ReadAt(f.text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, false
	}
	for _, c := range f.text[:size] {
		if c < '0' || c > '9' {
			break
		}
		n, ok = n*10+uint64(c-'0'), true
	}
	return n, ok
}

// groupUsage leaves out the part of the page cache that the kernel takes back first.
func groupUsage(usage *numberFile, dir, cache string) (uint64, bool) {
	used, ok := usage.read()
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
