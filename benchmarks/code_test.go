package main

import (
	"io"
	"strings"
	"testing"
)

func TestCodeIsTold(t *testing.T) {
	const run = `goos: linux
pkg: github.com/pithead/pithead/gateway/limiter
BenchmarkTake/table/keys=1-2   	 100	   90.26 ns/op	       0 B/op	       0 allocs/op
BenchmarkTake/table/keys=1-2   	 100	   120.0 ns/op	       0 B/op	       0 allocs/op
BenchmarkTake/table/keys=1-2   	 100	   100.0 ns/op	       0 B/op	       0 allocs/op
PASS
ok  	github.com/pithead/pithead/gateway/limiter	0.1s
pkg: github.com/pithead/pithead/gateway/route
BenchmarkMatch/exact/10000   	 10	   4987.4 ns/op	   2.0 MB/s	 16 B/op	       1 allocs/op
PASS
`
	var told, table strings.Builder
	rooms, err := readCode(strings.NewReader(run), &told)
	if err != nil {
		t.Fatal(err)
	}
	if told.String() != run {
		t.Errorf("told %q", told.String())
	}
	writeCode(&table, rooms)
	for _, want := range []string{
		"\n## gateway/limiter\n\n| benchmark | ns | bytes | allocations |\n|---|---|---|---|\n| `Take/table/keys=1` | 100.0 | 0 | 0 |\n\n",
		"\n## gateway/route\n\n| benchmark | ns | bytes | allocations |\n|---|---|---|---|\n| `Match/exact/10000` | 4987 | 16 | 1 |\n",
	} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("%q is missing in\n%s", want, table.String())
		}
	}
	for _, bad := range []string{"", "FAIL\n", "pkg: a/b\nBenchmarkX 1 nothing ns/op\n"} {
		if _, err := readCode(strings.NewReader(bad), io.Discard); err == nil {
			t.Errorf("%q is taken for benchmarks", bad)
		}
	}
}
