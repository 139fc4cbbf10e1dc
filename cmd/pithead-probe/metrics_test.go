//go:build linux

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// The table of metrics in docs/howto/probe.md is what the rules and dashboards in
// docker/ are checked against.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/howto/probe.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, metric := range slices.Sorted(maps.Keys(durations)) {
		fmt.Fprintf(&want, "| `pithead_probe_%s` | histogram | %s |\n", durations[metric].name, durations[metric].help)
	}
	for _, c := range counters {
		fmt.Fprintf(&want, "| `pithead_probe_%s` | counter | %s |\n", c.name, c.help)
	}
	want.WriteString("| `pithead_probe_tier_active` | gauge | Whether a part of what can be measured is: 1 or 0. |\n")
	if !strings.Contains(string(text), want.String()) {
		t.Errorf("the table should be\n%s", want.String())
	}
}
