package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func example() (*runOptions, results) {
	o := &runOptions{
		peers: []peer{{name: "slow"}, {name: "pithead"}, {name: "none", not: map[string]string{"small": "cannot"}}},
		cases: cases[:1], rounds: 3, time: time.Second,
	}
	one := func(requests int, cpu time.Duration, errors int) sample {
		return sample{
			closed: loadResult{Requests: requests, Time: 2 * time.Second, Errors: errors, First: strings.Repeat("broken", errors)},
			open:   loadResult{P50: 100 * time.Microsecond, P99: time.Millisecond, P999: 2 * time.Millisecond},
			cpu:    cpu, memory: 20 << 20,
		}
	}
	return o, results{
		"slow":    {"small": {one(1000, 60*time.Millisecond, 0), one(1000, 50*time.Millisecond, 1), one(1000, 70*time.Millisecond, 0)}},
		"pithead": {"small": {one(1000, 10*time.Millisecond, 0), one(2000, 20*time.Millisecond, 0), one(4000, 40*time.Millisecond, 0)}},
	}
}

func TestSummary(t *testing.T) {
	o, all := example()
	tables := summarise(o, all)
	if len(tables) != 1 || len(tables[0].rows) != 2 {
		t.Fatalf("%+v", tables)
	}
	first, second := tables[0].rows[0], tables[0].rows[1]
	if first.peer != "pithead" || first.cpu != (spread{10, 10, 10}) || first.rate != (spread{1000, 500, 2000}) {
		t.Errorf("first row: %+v", first)
	}
	if second.peer != "slow" || second.cpu != (spread{60, 50, 70}) || second.errors != 1 || second.p99.median != 1000 || second.memory.median != 20 {
		t.Errorf("second row: %+v", second)
	}
	if got := spreadOf([]float64{4, 1, 3, 2}); got != (spread{2.5, 1, 4}) {
		t.Errorf("spread of four: %+v", got)
	}
}

func TestReport(t *testing.T) {
	o, all := example()
	dir := t.TempDir()
	if err := writeReport(dir, o, map[string]string{"pithead": "1.0"}, summarise(o, all)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| pithead | **10.0** (10.0–10.0) | **1000** (500–2000) |", "slow: 1 requests failed, the first with: broken", "none cannot.", "- pithead: 1.0",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"small-cpu.svg", "small-p99.svg"} {
		svg, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(svg, []byte("<svg")) || !bytes.Contains(svg, []byte("pithead  ")) {
			t.Errorf("%s is no chart of pithead", name)
		}
	}
}
