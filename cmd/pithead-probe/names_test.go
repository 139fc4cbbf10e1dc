//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/pithead/pithead/bpf"
)

// programsOf are the programs that a process holds, by its descriptors of links.
func programsOf(t *testing.T, pid int) (ids []ebpf.ProgramID) {
	t.Helper()
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, _ := os.ReadFile(name) // a descriptor that is closed meanwhile holds nothing
		for line := range strings.Lines(string(text)) {
			if digits, ok := strings.CutPrefix(line, "prog_id:"); ok {
				id, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, ebpf.ProgramID(id))
			}
		}
	}
	return ids
}

// left is how many of some programs are in the kernel. It never gives a number
// twice.
func left(ids []ebpf.ProgramID) (n int) {
	for _, id := range ids {
		if program, err := ebpf.NewProgramFromID(id); err == nil {
			_ = program.Close()
			n++
		}
	}
	return n
}

func TestNamesOfLabels(t *testing.T) {
	status := http.StatusOK
	path := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	admin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/labels" {
			t.Errorf("asked for %s", r.URL)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `[{"label":3,"route":"orders","arm":"canary","endpoint":"192.0.2.1:80"}]`)
	}))
	admin.Listener = listener
	admin.Start()
	defer admin.Close()
	n := newNames("unix:" + path)
	defer n.client.CloseIdleConnections()
	if got := n.all(t.Context())[3]; got.Route != "orders" || got.Arm != "canary" || got.Endpoint != "192.0.2.1:80" {
		t.Errorf("%+v", got)
	}
	status = http.StatusInternalServerError
	n.asked = time.Time{}
	if got := n.all(t.Context())[3]; got.Route != "orders" || n.failure() == nil {
		t.Errorf("%+v, %v: old names are better than none", got, n.failure())
	}
}

func TestRowsOfOneNameAreOne(t *testing.T) {
	rows := []bpf.Row{
		{Label: 1, Counters: bpf.Counters{Requests: 2}, Cells: []bpf.Cell{{Metric: "total", Class: "2xx"}}},
		{Label: 2, Counters: bpf.Counters{Requests: 3}, Cells: []bpf.Cell{{Metric: "total", Class: "2xx"}}},
	}
	rows[0].Cells[0].Histogram.Counts[5], rows[1].Cells[0].Histogram.Counts[5] = 2, 3
	all := merged(rows, nil)
	if len(all) != 1 {
		t.Fatalf("%d rows", len(all))
	}
	for _, row := range all {
		if n := row.cells[[2]string{"total", "2xx"}].Count(); row.counters.Requests != 5 || n != 5 {
			t.Errorf("%d requests, %d samples", row.counters.Requests, n)
		}
	}
}

func TestNativeBuckets(t *testing.T) {
	for d, want := range map[time.Duration]int{time.Second: 0, 2 * time.Second: 8, 1001 * time.Millisecond: 1, 500 * time.Millisecond: -8} {
		if got := nativeIndex(d); got != want {
			t.Errorf("%v in bucket %d, want %d", d, got, want)
		}
	}
}
