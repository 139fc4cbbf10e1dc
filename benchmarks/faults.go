package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// faultsCommand reads what `go test -json` says of the fault runs and writes
// their table. Its error says which of them failed.
func faultsCommand(flags *flag.FlagSet, args []string, in io.Reader, out io.Writer) error {
	path := flags.String("out", "results/faults.md", "the table")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runs, err := readRuns(in, out)
	if err != nil {
		return err
	}
	var text strings.Builder
	writeRuns(&text, runs)
	if err := os.WriteFile(*path, []byte(text.String()), 0o644); err != nil { //nolint:gosec // it is to be read by everybody
		return err
	}
	return failedRuns(runs)
}

// faultRun is one test and what it told.
type faultRun struct {
	room, name string
	row        string // of the list of faults, by its name or its attribute "row"
	wants      string // the criterion: its attribute "wants"
	result     string // "pass", "fail" or "skip"
	took       time.Duration
	told       []string
}

// testEvent is what `go doc test2json` describes.
type testEvent struct {
	Action, Package, Test, Output string
	Key, Value                    string
	Elapsed                       float64
}

// readRuns collects the tests of a run, in the order in which they ended, and
// shows each on out as it ends.
func readRuns(in io.Reader, out io.Writer) ([]faultRun, error) {
	var done []faultRun
	under := map[string]*faultRun{}
	events := bufio.NewScanner(in)
	events.Buffer(nil, 1<<20)
	for events.Scan() {
		var e testEvent
		if json.Unmarshal(events.Bytes(), &e) != nil {
			fmt.Fprintln(out, events.Text()) // a compiler's words, say
			continue
		}
		name, inner, _ := strings.Cut(e.Test, "/")
		if name == "" {
			failed := func(r faultRun) bool { return r.room == roomOf(e.Package) && r.result == "fail" }
			if e.Action == "fail" && !slices.ContainsFunc(done, failed) { // it was not built, or left something behind
				done = append(done, faultRun{room: roomOf(e.Package), name: "(the package)", result: e.Action})
			}
			continue
		}
		key := e.Package + " " + name
		run := under[key]
		if run == nil {
			run = &faultRun{room: roomOf(e.Package), name: name, row: faultRowOf(name)}
			under[key] = run
		}
		run.hear(&e, inner)
		if inner == "" && run.result != "" {
			done = append(done, *run)
			fmt.Fprintf(out, "%s %s %s %.1fs\n", run.result, run.room, run.name, e.Elapsed)
		}
	}
	return done, events.Err()
}

// hear takes an event of the test, or of the one in it that is named inner.
func (r *faultRun) hear(e *testEvent, inner string) {
	switch e.Action {
	case "output":
		if line, ok := toldLine(e.Output); ok {
			if inner != "" {
				line = strings.ReplaceAll(inner, "_", " ") + ": " + line
			}
			r.told = append(r.told, line)
		}
	case "attr":
		switch e.Key {
		case "row":
			r.row = e.Value
		case "wants":
			r.wants = e.Value
		}
	case "pass", "fail", "skip":
		if inner == "" {
			r.result, r.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		}
	}
}

var numberOfFault = regexp.MustCompile(`^TestFault(\d+)`)

// faultRowOf is the row that the name of a test begins with.
func faultRowOf(name string) string {
	if m := numberOfFault.FindStringSubmatch(name); m != nil {
		return "fault " + m[1]
	}
	return ""
}

func roomOf(pkg string) string { return strings.TrimPrefix(pkg, "github.com/pithead/pithead/") }

var placeOfLog = regexp.MustCompile(`^\s+[a-z0-9_]+_test\.go:\d+: `)

// toldLine is a line of t.Log or t.Error, without its place.
func toldLine(output string) (string, bool) {
	place := placeOfLog.FindString(output)
	if place == "" {
		return "", false
	}
	return strings.TrimSpace(strings.TrimPrefix(output, place)), true
}

func writeRuns(w io.Writer, runs []faultRun) {
	fmt.Fprintf(w, "# Faults, in full length\n\nWritten by `make faults` on %s. Each line is a test, with what it demands and what it told. With the race detector, which makes everything several times slower, but for changes under traffic and at scale (fault 29).\n\n",
		time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s.\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH)
	passed, took := 0, time.Duration(0)
	var others []string
	for _, r := range runs {
		took += r.took
		if r.result == "pass" {
			passed++
		} else {
			others = append(others, fmt.Sprintf("`%s` in `%s`: **%s**", r.name, r.room, r.result))
		}
	}
	fmt.Fprintf(w, "- %d of %d passed, in %s.\n", passed, len(runs), took.Round(time.Second))
	for _, o := range others {
		fmt.Fprintf(w, "- %s\n", o)
	}
	fmt.Fprint(w, "\n| row | what must be | test | result | seconds | what it told |\n|---|---|---|---|---|---|\n")
	for _, r := range inRows(runs) {
		result := r.result
		if result != "pass" {
			result = "**" + result + "**"
		}
		fmt.Fprintf(w, "| %s | %s | `%s` `%s` | %s | %.1f | %s |\n", cell(r.row), cell(r.wants), r.room, r.name, result, r.took.Seconds(), cell(strings.Join(r.told, "<br>")))
	}
}

// cell keeps a text in its column.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// inRows sorts by the numbers of the rows; those without one come last.
func inRows(runs []faultRun) []faultRun {
	number := func(r faultRun) int {
		var n int
		if _, err := fmt.Sscanf(r.row, "fault %d", &n); err != nil {
			return math.MaxInt
		}
		return n
	}
	return slices.SortedStableFunc(slices.Values(runs), func(a, b faultRun) int { return cmp.Compare(number(a), number(b)) })
}

func failedRuns(runs []faultRun) error {
	var all []error
	for _, r := range runs {
		if r.result != "pass" {
			all = append(all, fmt.Errorf("%s %s: %s", r.room, r.name, r.result))
		}
	}
	return errors.Join(all...)
}
