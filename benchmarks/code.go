package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// codeCommand reads what `go test -bench` says and writes its table.
func codeCommand(flags *flag.FlagSet, args []string, in io.Reader, out io.Writer) error {
	path := flags.String("out", "results/code.md", "the table")
	if err := flags.Parse(args); err != nil {
		return err
	}
	rooms, err := readCode(in, out)
	if err != nil {
		return err
	}
	var text strings.Builder
	writeCode(&text, rooms)
	return os.WriteFile(*path, []byte(text.String()), 0o644) //nolint:gosec // it is to be read by everybody
}

// codeRoom are the benchmarks of a package.
type codeRoom struct {
	name  string
	cases []*codeCase
}

// codeCase is a benchmark; a figure is that of one of its runs.
type codeCase struct {
	name    string
	figures map[string][]float64 // by unit
}

var processorsOfName = regexp.MustCompile(`-\d+$`)

// readCode passes on what it reads, and keeps the figures of each benchmark.
func readCode(in io.Reader, out io.Writer) ([]codeRoom, error) {
	var rooms []codeRoom
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		fmt.Fprintln(out, lines.Text())
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 2 && fields[0] == "pkg:":
			rooms = append(rooms, codeRoom{name: roomOf(fields[1])})
		case len(fields) >= 4 && strings.HasPrefix(fields[0], "Benchmark") && len(rooms) > 0:
			name := processorsOfName.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
			if err := rooms[len(rooms)-1].caseOf(name).add(fields[2:]); err != nil {
				return nil, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(rooms) == 0 {
		return nil, errors.New("no benchmarks in the input")
	}
	return rooms, nil
}

// caseOf finds a benchmark of that name, which may run several times.
func (r *codeRoom) caseOf(name string) *codeCase {
	if i := slices.IndexFunc(r.cases, func(c *codeCase) bool { return c.name == name }); i >= 0 {
		return r.cases[i]
	}
	c := &codeCase{name: name, figures: make(map[string][]float64)}
	r.cases = append(r.cases, c)
	return c
}

// add takes pairs of a figure and its unit.
func (c *codeCase) add(pairs []string) error {
	for i := 0; i+1 < len(pairs); i += 2 {
		n, err := strconv.ParseFloat(pairs[i], 64)
		if err != nil {
			return fmt.Errorf("benchmark %s: %w", c.name, err)
		}
		c.figures[pairs[i+1]] = append(c.figures[pairs[i+1]], n)
	}
	return nil
}

// figure is the median of the runs.
func (c *codeCase) figure(unit string) string {
	all := slices.Sorted(slices.Values(c.figures[unit]))
	if len(all) == 0 {
		return ""
	}
	middle := all[len(all)/2]
	if unit == "ns/op" && middle < 1000 {
		return strconv.FormatFloat(middle, 'f', 1, 64)
	}
	return strconv.FormatFloat(middle, 'f', 0, 64)
}

func writeCode(w io.Writer, rooms []codeRoom) {
	fmt.Fprintf(w, "# The code by itself\n\nWritten by `make bench` on %s: Go benchmarks of what each request goes through, and of what a change of the configuration or of the endpoints costs. Medians; those of the limiters run on 16 goroutines at once, those of the breaker as their names say. Names that end in a number have so many routes, endpoints or targets.\n\n",
		time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s, %s.\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH, runtime.Version())
	for _, r := range rooms {
		if len(r.cases) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n## %s\n\n| benchmark | ns | bytes | allocations |\n|---|---|---|---|\n", r.name)
		for _, c := range r.cases {
			fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", c.name, c.figure("ns/op"), c.figure("B/op"), c.figure("allocs/op"))
		}
	}
}
