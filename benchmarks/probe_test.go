package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestCostsAreTold(t *testing.T) {
	const bench = "goos: linux\nBenchmarkCycle-2 \t 25\t 3590658038 ns/op\t 1104 ns-both\t 1409 ns-both-and-status\t 865.3 ns-server\t 10088 ns-without\nPASS\n"
	cycle, err := readCycle(strings.NewReader(bench), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	rounds := []probeRound{
		{without: 100 * time.Microsecond, with: 103 * time.Microsecond, after: 100 * time.Microsecond, ready: 90 * time.Millisecond, memory: 13 << 20},
		{without: 50 * time.Microsecond, with: 52 * time.Microsecond, after: 50 * time.Microsecond, ready: 80 * time.Millisecond, memory: 12 << 20},
		{without: 50 * time.Microsecond, with: 51 * time.Microsecond, after: 52 * time.Microsecond, ready: 85 * time.Millisecond, memory: 14 << 20},
	}
	var out strings.Builder
	writeProbe(&out, cycle, rounds, runOptions{time: time.Second})
	for _, want := range []string{
		"| more, with both: a proxied request | 1104 |", "3 rounds", "| ratio | 1.030 | 1.000 | 1.040 |", "| ratio, after to before | 1.000 | 1.000 | 1.040 |",
		"| start until it serves, ms | 85 | 80 | 90 |", "| resident memory of the probe, MiB | 13.0 | 12.0 | 14.0 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if _, err := readCycle(strings.NewReader("FAIL\n"), io.Discard); err == nil {
		t.Error("figures of nothing")
	}
}
