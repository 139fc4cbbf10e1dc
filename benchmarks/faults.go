package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
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
	result     string // "pass", "fail" or "skip"
	took       time.Duration
	told       []string
}

// testEvent is what `go doc test2json` describes.
type testEvent struct {
	Action, Package, Test, Output string
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
			if e.Action == "fail" && e.Elapsed == 0 { // it was not built, or none of its tests began
				done = append(done, faultRun{room: roomOf(e.Package), name: "(the package)", result: e.Action})
			}
			continue
		}
		key := e.Package + " " + name
		run := under[key]
		if run == nil {
			run = &faultRun{room: roomOf(e.Package), name: name}
			under[key] = run
		}
		switch e.Action {
		case "output":
			if line, ok := toldLine(e.Output); ok {
				run.told = append(run.told, line)
			}
		case "pass", "fail", "skip":
			if inner == "" {
				run.result, run.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
				done = append(done, *run)
				fmt.Fprintf(out, "%s %s %s %.1fs\n", run.result, run.room, run.name, e.Elapsed)
			}
		}
	}
	return done, events.Err()
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
	fmt.Fprintf(w, "# Faults, in full length\n\nWritten by `make faults` on %s. Each line is a test; what it demands stands in its code. With the race detector, which makes everything several times slower.\n\n",
		time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s.\n\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH)
	fmt.Fprint(w, "| where | test | result | seconds | what it told |\n|---|---|---|---|---|\n")
	for _, r := range runs {
		told := strings.ReplaceAll(strings.Join(r.told, "<br>"), "|", `\|`)
		fmt.Fprintf(w, "| `%s` | `%s` | %s | %.1f | %s |\n", r.room, r.name, r.result, r.took.Seconds(), told)
	}
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
