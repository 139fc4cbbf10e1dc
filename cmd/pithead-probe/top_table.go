//go:build linux

package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// plainWidth is how wide tables are that nobody looks at in a terminal.
const plainWidth = 200

// table is how an interval is shown.
type table struct {
	width  int
	lines  int // how many there is room for; 0 is any number
	colors bool
}

// column is one column of a table. Those with a higher number make room first in
// narrow terminals, and those with 0 never.
type column struct {
	title string
	drop  int
	left  bool
	text  func(*line) string
}

var columns = []column{
	{"ROUTE", 0, true, func(l *line) string {
		return strings.Join(nonEmpty(cmp.Or(l.Route, "(no name)"), l.Arm, l.Endpoint), " ")
	}},
	{"REQ/S", 0, false, func(l *line) string { return strconv.FormatFloat(l.Rate, 'f', decimals(l.Rate), 64) }},
	{"ERR", 4, false, func(l *line) string { return percent(l.Errors) }},
	{"TOTAL p50", 3, false, func(l *line) string { return short(l.Total.P50) }},
	{"TOTAL p99", 1, false, func(l *line) string { return short(l.Total.P99) }},
	{"ACCEPT p99", 9, false, func(l *line) string { return short(l.Accept.P99) }},
	{"QUEUE p50", 6, false, func(l *line) string { return short(l.Phases[inQueue].P50) }},
	{"QUEUE p99", 5, false, func(l *line) string { return short(l.Phases[inQueue].P99) }},
	{"GATEWAY mean", 8, false, func(l *line) string { return short(l.Phases[inGateway].Mean) }},
	{"CONNECT p99", 10, false, func(l *line) string { return short(l.Phases[inConnect].P99) }},
	{"NETWORK p50", 6, false, func(l *line) string { return short(l.Phases[inNetwork].P50) }},
	{"NETWORK p99", 5, false, func(l *line) string { return short(l.Phases[inNetwork].P99) }},
	{"SERVICE p50", 6, false, func(l *line) string { return short(l.Phases[inService].P50) }},
	{"SERVICE p99", 5, false, func(l *line) string { return short(l.Phases[inService].P99) }},
	{"DRAIN p50", 8, false, func(l *line) string { return short(l.Phases[inDrain].P50) }},
	{"DRAIN p99", 7, false, func(l *line) string { return short(l.Phases[inDrain].P99) }},
	{"RETR", 7, false, func(l *line) string { return strconv.FormatUint(l.Retransmits, 10) }},
	{"RST", 7, false, func(l *line) string { return strconv.FormatUint(l.Resets, 10) }},
	{"MOST OF IT", 0, true, func(l *line) string { return l.most() }},
}

func nonEmpty(all ...string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

func (l *line) most() string {
	for _, p := range l.Phases {
		if p.Name == l.Most {
			return p.Name + " " + percent(p.Share)
		}
	}
	return "-"
}

func percent(share float64) string { return strconv.Itoa(int(math.Round(share*100))) + "%" }

func decimals(rate float64) int {
	if rate < 100 {
		return 1
	}
	return 0
}

// short is a duration in three digits.
func short(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}} {
		n := float64(d) / float64(unit.of)
		if n >= 999.5 && unit.name != "s" {
			continue
		}
		digits := max(2-int(math.Floor(math.Log10(max(n, 1)))), 0)
		return strconv.FormatFloat(n, 'f', digits, 64) + unit.name
	}
	return "-"
}

// The bar with the shares has what room the columns leave.
const (
	barMin = 10
	barMax = 40
	gap    = 2
	// routeMin is how far the names of routes may be shortened.
	routeMin = 8
)

// table writes the interval as a table.
func (i *interval) table(w io.Writer, t table) {
	lines, more := i.Lines, 0
	if room := max(t.lines-1, 1); t.lines > 0 && len(lines) > room {
		more = len(lines) - room
		lines = lines[:room]
	}
	shown := slices.Clone(columns)
	cells, widths := layout(shown, lines)
	for sum(widths)+barMin > t.width {
		worst := 0
		for j := range shown {
			if shown[j].drop > shown[worst].drop {
				worst = j
			}
		}
		if shown[worst].drop == 0 {
			widths[0] = max(widths[0]-(sum(widths)+barMin-t.width), routeMin)
			break
		}
		shown = slices.Delete(shown, worst, worst+1)
		cells, widths = layout(shown, lines)
	}
	bar := min(max(t.width-sum(widths), 0), barMax)
	for n, row := range cells {
		for j, text := range row {
			text = clip(text, widths[j])
			if shown[j].left {
				_, _ = fmt.Fprintf(w, "%-*s", widths[j]+gap, text)
			} else {
				_, _ = fmt.Fprintf(w, "%*s%*s", widths[j], text, gap, "")
			}
		}
		if n == 0 {
			_, _ = io.WriteString(w, clip(strings.Join(phaseNames[:], " "), bar)+"\n")
			continue
		}
		_, _ = io.WriteString(w, lines[n-1].bar(bar, t.colors)+"\n")
	}
	i.remarks(w, t.width, more)
}

func (i *interval) remarks(w io.Writer, width, more int) {
	if len(i.Lines) == 0 {
		_, _ = io.WriteString(w, clip("no requests", width)+"\n")
	}
	if more > 0 {
		_, _ = io.WriteString(w, clip(fmt.Sprintf("and %d more", more), width)+"\n")
	}
	for _, what := range i.Missing {
		_, _ = io.WriteString(w, clip("not measured: "+what, width)+"\n")
	}
	if i.Names != "" {
		_, _ = io.WriteString(w, clip("names may be old: "+i.Names, width)+"\n")
	}
}

func layout(shown []column, lines []*line) (cells [][]string, widths []int) {
	head := make([]string, len(shown))
	widths = make([]int, len(shown))
	for j, c := range shown {
		head[j], widths[j] = c.title, len(c.title)
	}
	cells = append(cells, head)
	for _, l := range lines {
		row := make([]string, len(shown))
		for j, c := range shown {
			row[j] = printable(c.text(l))
			widths[j] = max(widths[j], len([]rune(row[j])))
		}
		cells = append(cells, row)
	}
	return cells, widths
}

// printable keeps names from moving the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func sum(widths []int) (n int) {
	for _, w := range widths {
		n += w + gap
	}
	return n
}

func clip(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	return string(runes[:width-1]) + "~"
}

// Backgrounds of the phases: red, yellow, magenta, blue, green, cyan, white.
var phaseColors = [phases]int{41, 43, 45, 44, 42, 46, 47}

// bar shows the shares in letters; their number adds up to width.
func (l *line) bar(width int, colors bool) string {
	var b strings.Builder
	if l.spent == 0 {
		return ""
	}
	edge, upTo := 0, 0.0
	for i, p := range l.Phases {
		upTo += p.Share
		n := int(math.Round(upTo*float64(width))) - edge
		edge += n
		if n <= 0 {
			continue
		}
		text := strings.Repeat(p.Name[:1], n)
		if colors {
			text = fmt.Sprintf("\x1b[30;%dm%s\x1b[0m", phaseColors[i], text)
		}
		b.WriteString(text)
	}
	return b.String()
}
