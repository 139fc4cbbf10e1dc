package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// writeReport writes the tables as README.md and a chart of each into dir.
func writeReport(dir string, o *runOptions, versions map[string]string, tables []table) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "README.md"))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	writeMethod(w, o, versions)
	for _, t := range tables {
		fmt.Fprintf(w, "\n## %s: %s\n\n", t.test.name, t.test.about)
		fmt.Fprintf(w, "![CPU time of a request](%[1]s-cpu.svg) ![p99 at a fixed rate](%[1]s-p99.svg)\n\n", t.test.name)
		writeTable(w, &t)
		if err := writeCharts(dir, &t); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func writeMethod(w io.Writer, o *runOptions, versions map[string]string) {
	fmt.Fprintf(w, "# Pithead beside its peers\n\nWritten by `make bench` on %s; what is measured and how is told in [docs/benchmarks.md](../../docs/benchmarks.md).\n\n",
		time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s.\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH)
	fmt.Fprintf(w, "- The proxy alone on one core, origin and clients on the other. Rounds: %d, in each of them every proxy once, in turns; %v of warm-up and %v of measuring for the closed loop and again for the open one.\n",
		o.rounds, o.warm, o.time)
	fmt.Fprintf(w, "- Each figure is the median of the rounds, with the least and the most behind it.\n")
	fmt.Fprintf(w, "- Other runs: [changes under load](reload.md), [the code by itself](code.md), and [faults](faults.md) of `make faults`.\n")
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		fmt.Fprintf(w, "- %s: %s\n", name, versions[name])
	}
}

func writeTable(w io.Writer, t *table) {
	fmt.Fprintf(w, "| | CPU µs/request | requests/s | p50 µs at %[1]d/s | p99 µs at %[1]d/s | p99.9 µs at %[1]d/s | RSS MiB |\n|---|---|---|---|---|---|---|\n", t.test.rate)
	for _, r := range t.rows {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", r.peer, r.cpu.text(1), r.rate.text(0),
			r.p50.text(0), r.p99.text(0), r.p999.text(0), r.memory.text(0))
	}
	for _, r := range t.rows {
		if r.errors > 0 {
			fmt.Fprintf(w, "\n%s: %d requests failed, the first with: %s\n", r.peer, r.errors, r.first)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.not)) {
		fmt.Fprintf(w, "\n%s %s.\n", name, t.not[name])
	}
}

func (s spread) text(digits int) string {
	return fmt.Sprintf("**%.*f** (%.*f–%.*f)", digits, s.median, digits, s.least, digits, s.most)
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, "\t :"))
		}
	}
	return "unknown processor"
}

func kernel() string {
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "of an unknown version"
	}
	return strings.TrimSpace(string(text))
}
