//go:build linux

package bpf

import (
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestEdgesOfBuckets(t *testing.T) {
	if Edge(0) != 1<<lowest || Edge(Buckets-2) != 1<<highest || Edge(Buckets-1) != math.MaxInt64 {
		t.Errorf("edges %v, %v, %v", Edge(0), Edge(Buckets-2), Edge(Buckets-1))
	}
	for i := range Buckets - 2 {
		low, high := Edge(i), Edge(i+1)
		if width := float64(high-low) / float64(low); width > 0.126 || width < 0.06 {
			t.Errorf("bucket %d is %.3f wide", i+1, width)
		}
		if m := Middle(i + 1); m < low || m >= high {
			t.Errorf("the middle of bucket %d is %v", i+1, m)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 || h.Mean() != 0 {
		t.Error("something of nothing")
	}
	h.Counts[10], h.Counts[100], h.Counts[Buckets-1], h.Sum = 90, 9, 1, 100
	for q, bucket := range map[float64]int{0: 10, 0.5: 10, 0.9: 10, 0.91: 100, 0.99: 100, 1: Buckets - 1} {
		if got := h.Quantile(q); got != Middle(bucket) {
			t.Errorf("quantile %v is %v, want %v", q, got, Middle(bucket))
		}
	}
	if h.Count() != 100 || h.Mean() != 1 {
		t.Errorf("%d, mean %v", h.Count(), h.Mean())
	}
}

func TestCountsRunOver(t *testing.T) {
	var c cell
	var now [Buckets]uint32
	for _, v := range []uint32{math.MaxUint32 - 1, 3, 4} {
		now[7] = v
		c.advance(&now, uint64(v))
	}
	if got := c.total.Counts[7]; got != 1<<32+4 {
		t.Errorf("%d, want %d", got, 1<<32+4)
	}
}

func TestMetricsOfCells(t *testing.T) {
	for i, want := range map[uint32]string{0: "connect ", 3: "srtt ", 5: "ttfb unknown", 10: "ttfb 2xx", 11: "ttfb_first 2xx", 29: "drain 5xx"} {
		if metric, class := metricOf(i); metric+" "+class != want {
			t.Errorf("cell %d is %q of %q", i, metric, class)
		}
	}
	if cellsPerRow != 30 {
		t.Errorf("%d cells", cellsPerRow)
	}
}

func TestPortsAreRead(t *testing.T) {
	for text, want := range map[string]Port{"80": {Number: 80}, "8443/tls": {8443, true, false}, "65535/h2": {65535, false, true}} {
		if got, err := ParsePort(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "http", "80/", "80/quic", "-1"} {
		if _, err := ParsePort(text); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	good := Options{Listen: []Port{{Number: 1}}, Labels: 4, Settle: time.Second}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for say, change := range map[string]func(*Options){
		"nothing to watch": func(o *Options) { o.Listen = nil },
		"too much":         func(o *Options) { o.AnyListen = true },
		"labels":           func(o *Options) { o.Labels = 0 },
		"1 to 4096":        func(o *Options) { o.Labels = 4097 },
		"settle":           func(o *Options) { o.Settle = 0 },
		"negative":         func(o *Options) { o.Outlier = -1 },
		"slash":            func(o *Options) { o.Prefixes = []Prefix{{"api", 1}} },
		"32 bytes":         func(o *Options) { o.Prefixes = []Prefix{{"/" + strings.Repeat("a", 32), 1}} },
		"more labels":      func(o *Options) { o.Prefixes = []Prefix{{"/", 4}} },
	} {
		o := good
		change(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q is not said in %v", say, err)
		}
		if _, err := Load(o); err == nil {
			t.Errorf("%s: loaded", say)
		}
	}
}

func TestMissingCapabilities(t *testing.T) {
	for status, want := range map[string][]string{
		"Name:\ta\nCapEff:\t0000000000000000\n": {"CAP_BPF", "CAP_PERFMON"},
		"CapEff:\t0000008000000000\n":           {"CAP_PERFMON"},
		"CapEff:\t000000c000000000\n":           nil,
		"CapEff:\t0000000000200000\n":           nil, // CAP_SYS_ADMIN
		"nothing":                               {"CAP_BPF", "CAP_PERFMON"},
	} {
		if got := missing(status); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", status, got, want)
		}
	}
}

// What libraries guess about a refusal is not repeated.
func TestRefusalsAreSaidPlainly(t *testing.T) {
	for want, err := range map[string]error{
		"x: operation not permitted": errors.Join(unix.EPERM, errors.New("MEMLOCK may be too low, consider rlimit.RemoveMemlock")),
		"x: not supported":           ebpf.ErrNotSupported,
		"x: invalid argument":        unix.EINVAL,
		"x: there is no such thing":  os.ErrNotExist,
		"x: rejected: R1 is bad":     &ebpf.VerifierError{Log: []string{"0: r1 = 1", "R1 is bad", "processed 2 insns"}, Cause: unix.EACCES},
		"x: unknown reason":          errors.New("rlimit"),
	} {
		got := refused("x", err)
		if text := got.Error(); !strings.Contains(text, want) || strings.Contains(text, "MEMLOCK") || strings.Contains(text, "rlimit") {
			t.Errorf("%v, want %s", got, want)
		}
		if !errors.Is(got, ErrKernel) && !errors.Is(got, ErrPrivilege) {
			t.Errorf("%v has no cause", got)
		}
	}
}

func TestProcIsRead(t *testing.T) {
	if got := mountOf("26 22 0:23 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"); got != "/sys/fs/cgroup/unified" {
		t.Errorf("mount %q", got)
	}
	if got := groupIn("4:memory:/a\n0::/system.slice/pithead.service\n"); got != "/system.slice/pithead.service" {
		t.Errorf("group %q", got)
	}
	port, inode, ok := listenerIn("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0")
	if port != 8080 || inode != "12345" || !ok {
		t.Errorf("%d, %q, %v", port, inode, ok)
	}
	if err := CheckCgroup(unifiedRoot()); err == nil {
		t.Error("the root passes")
	}
	if err := CheckCgroup(t.TempDir()); err == nil {
		t.Error("any folder passes")
	}
}

func FuzzOutlier(f *testing.F) {
	f.Add(make([]byte, eventSize))
	f.Add(slices.Repeat([]byte{0xff}, eventSize+1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := decodeOutlier(raw)
		if (err == nil) != (len(raw) >= eventSize) {
			t.Fatal(err)
		}
		if o.At < 0 || o.Accept < 0 || o.Queue < 0 || o.TTFB < 0 || o.Total < 0 || o.Drain < 0 || o.SRTT < 0 {
			t.Errorf("a negative duration: %+v", o)
		}
		if err == nil && !slices.Contains(Classes[:], o.Class) {
			t.Errorf("class %q", o.Class)
		}
	})
}

func FuzzProc(f *testing.F) {
	f.Add("26 22 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	f.Add("0::/a\nCapEff:\tffff\n")
	f.Add("   0: 0100007F:1F90 00000000:0000 0A 0 0 0 0 0 12345 1 0")
	f.Fuzz(func(t *testing.T, text string) {
		_, _, _ = mountOf(text), groupIn(text), missing(text)
		if _, inode, ok := listenerIn(text); ok && inode == "" {
			t.Error("a listener without an inode")
		}
	})
}
