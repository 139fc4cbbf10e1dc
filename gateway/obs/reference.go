package obs

import (
	_ "embed"
	"strings"
)

// The golden file of the tests is the list of all metrics, and a test keeps it true.
//
//go:embed testdata/metrics.golden
var golden string

// MetricInfo is what there is to know of a metric.
type MetricInfo struct {
	Name, Type string // Type is "counter", "gauge" or "histogram"
	Labels     []string
	Help       string
}

// Reference lists all metrics of this package, sorted by name.
func Reference() []MetricInfo {
	var all []MetricInfo
	for line := range strings.Lines(golden) {
		line = strings.TrimRight(line, "\n")
		if help, ok := strings.CutPrefix(line, "    "); ok {
			all[len(all)-1].Help = help
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		kind, labels, _ := strings.Cut(rest, " ")
		all = append(all, MetricInfo{Name: name, Type: kind, Labels: strings.FieldsFunc(labels, func(r rune) bool {
			return strings.ContainsRune("{},", r)
		})})
	}
	return all
}
