package overload

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestMemoryOfGroups(t *testing.T) {
	const v2, v1 = "0::/pods/a\n", "12:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"
	for name, c := range map[string]struct {
		files    map[string]string
		limit    uint64
		pressure float64
	}{
		"version 2": {map[string]string{
			"proc/self/cgroup": v2, "sys/fs/cgroup/pods/a/memory.max": "1000\n", "sys/fs/cgroup/pods/a/memory.current": "900\n",
			"sys/fs/cgroup/pods/a/memory.stat": "anon 500\ninactive_file 400\nactive_file 1\n",
		}, 1000, 0.5},
		"a tighter group around it": {map[string]string{
			"proc/self/cgroup": v2, "sys/fs/cgroup/pods/a/memory.max": "1000\n", "sys/fs/cgroup/pods/a/memory.current": "100\n",
			"sys/fs/cgroup/pods/memory.max": "800\n", "sys/fs/cgroup/pods/memory.current": "600\n",
		}, 800, 0.75},
		"the mount is the group": {map[string]string{
			"proc/self/cgroup": v2, "sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "900\n",
		}, 1000, 0.9},
		"version 1": {map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "1000\n",
			"sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "980\n", "sys/fs/cgroup/memory/docker/abc/memory.stat": "cache 7\ntotal_inactive_file 30\n",
		}, 1000, 0.95},
		"no limit, version 2": {map[string]string{"proc/self/cgroup": v2, "sys/fs/cgroup/pods/a/memory.max": "max\n"}, 0, 0},
		"no limit, version 1": {map[string]string{
			"proc/self/cgroup": v1, "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0, 0},
		"no groups": {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", "")
			root := t.TempDir()
			for path, text := range c.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m := findMemory(root, 0)
			if c.limit == 0 {
				if m != nil {
					t.Fatalf("found a limit of %d from %s", m.limit, m.from)
				}
				return
			}
			if m == nil || m.limit != c.limit {
				t.Fatalf("found %+v", m)
			}
			if p, ok := m.Pressure(); !ok || math.Abs(p*float64(c.limit-c.limit/4)/float64(c.limit)-c.pressure) > 1e-9 {
				t.Errorf("pressure %v %t, want %v of three quarters", p, ok, c.pressure)
			}
			if most, ok := m.Most(); !ok || most < c.pressure {
				t.Errorf("at most %v %t, with a pressure of %v", most, ok, c.pressure)
			}
			if n := testing.AllocsPerRun(100, func() { m.Most() }); n != 0 {
				t.Errorf("%v allocations: it would wait for the collector", n)
			}
			for path := range c.files {
				if err := os.Truncate(filepath.Join(root, path), 0); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := m.Pressure(); ok {
				t.Error("a pressure of files that say nothing")
			}
		})
	}
}

func TestMemoryOfTheProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // there is no /proc
	}
	m := FindMemory(1 << 30)
	if p, ok := m.Pressure(); !ok || p <= 0.001 || p > 1 {
		t.Errorf("pressure %v %t", p, ok)
	}
	if limit, from := m.Limit(); limit != 1<<30 || from != "settings" {
		t.Errorf("%d from %s", limit, from)
	}
}

// What others than the runtime have in use is taken off what it may use.
func TestRoomOfTheRuntime(t *testing.T) {
	m := &Memory{room: 1 << 40, limit: 1 << 40}
	for _, others := range []uint64{0, 1 << 30} {
		m.usage = func() (uint64, bool) { return managed() + others, true }
		got, ok := m.Room(0.5)
		if want := uint64(1<<39) - others; !ok || math.Abs(float64(got)-float64(want)) > 64<<20 {
			t.Errorf("%d others: room %d %t, want some %d", others, got, ok, want)
		}
	}
	m.usage = func() (uint64, bool) { return 1 << 41, true }
	if got, ok := m.Room(0.5); !ok || got != 1<<38 {
		t.Errorf("room %d %t, want a quarter at least", got, ok)
	}
	m.usage = func() (uint64, bool) { return 0, false }
	if _, ok := m.Room(0.5); ok {
		t.Error("room where nothing is known")
	}
}

// Goroutines that wait for a processor show, whoever has it.
func TestDelayOfProcessors(t *testing.T) {
	c := NewCPU()
	var stop sync.WaitGroup
	end := time.Now().Add(300 * time.Millisecond)
	for range 20 * runtime.GOMAXPROCS(0) {
		stop.Go(func() {
			for time.Now().Before(end) {
				runtime.Gosched()
			}
		})
	}
	stop.Wait()
	if d, ok := c.Delay(); !ok || d <= 0 || d > 10*time.Second {
		t.Errorf("delay %s %t", d, ok)
	}
}

func TestQuantileOfDelays(t *testing.T) {
	bounds := []float64{math.Inf(-1), 0, 0.001, 0.002, 0.5, math.Inf(1)}
	for _, c := range []struct {
		counts []uint64
		want   time.Duration
		ok     bool
	}{
		{[]uint64{0, 50, 49, 0, 0}, 0, false},
		{[]uint64{0, 500, 500, 0, 0}, 2 * time.Millisecond, true},
		{[]uint64{0, 990, 0, 10, 0}, time.Millisecond, true},
		{[]uint64{0, 980, 0, 20, 0}, 500 * time.Millisecond, true},
		{[]uint64{0, 900, 0, 0, 100}, 500 * time.Millisecond, true},
	} {
		sum := uint64(0)
		for _, n := range c.counts {
			sum += n
		}
		if got, ok := quantile(c.counts, bounds, sum); got != c.want || ok != c.ok {
			t.Errorf("%v: %s %t, want %s %t", c.counts, got, ok, c.want, c.ok)
		}
	}
}
