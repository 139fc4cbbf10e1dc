package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The configuration is spread over files of a hundred routes, with an upstream for
// every ten of them. The clients ask for what no change touches.
const (
	reloadRoutes  = 10_000
	reloadFile    = 100
	reloadRate    = 2000 // requests a second
	reloadEvery   = time.Second
	reloadHeader  = "X-Version"
	reloadPath    = "/live"
	reloadPatient = 20 * time.Second
)

// reloadSample is what one gateway showed: its clients without changes and with
// some, and how long each change took from its file to an answer.
type reloadSample struct {
	calm, busy loadResult
	live       []time.Duration
	memory     int64
}

// reloadCommand measures what changes of a large configuration do to requests.
func reloadCommand(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	bin := flags.String("bin", "../.bin", "folder of pithead")
	path := flags.String("out", "results/reload.md", "the table")
	o := runOptions{}
	flags.IntVar(&o.rounds, "rounds", 5, "how many gateways are measured, one after the other")
	flags.DurationVar(&o.time, "time", 10*time.Second, "time of one measuring, without changes and with one each second")
	flags.DurationVar(&o.warm, "warm", 2*time.Second, "time before it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	program, err := filepath.Abs(filepath.Join(*bin, "pithead"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pithead-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	m, err := newMachine(ctx, dir)
	if err != nil {
		return err
	}
	defer m.close()
	var samples []reloadSample
	for range o.rounds {
		s, err := m.reloads(ctx, &o, program)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "p99 %v before, %v during %d changes, live after %v\n", s.calm.P99, s.busy.P99, len(s.live), s.live)
		samples = append(samples, s)
	}
	var text bytes.Buffer
	writeReload(&text, &o, samples)
	fmt.Fprintf(out, "\n%s", text.Bytes())
	return os.WriteFile(*path, text.Bytes(), 0o644) //nolint:gosec // it is to be read by everybody
}

// estate is the configuration of a gateway.
type estate struct{ dir, addr, origin string }

func (e *estate) write(name, text string) error {
	temporary := filepath.Join(e.dir, ".new")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(e.dir, name))
}

// change writes the first file anew.
func (e *estate) change(version int) error { return e.write("routes.00000.yaml", e.file(0, version)) }

// file has routes of all sorts; the first one of all shows the version.
func (e *estate) file(first, version int) string {
	var b strings.Builder
	b.WriteString("upstreams:\n")
	for i := first; i < first+reloadFile; i += 10 {
		fmt.Fprintf(&b, "  u%d: {discover: {static: {targets: [%q]}}}\n", i, e.origin)
	}
	b.WriteString("routes:\n")
	for i := first; i < first+reloadFile; i++ {
		match, use := fmt.Sprintf("host: h%d.example.com, prefix: /", i), "tag"
		switch {
		case i == 0:
			match, use = "path: "+reloadPath, fmt.Sprintf("{headers: {response: {set: {%s: %q}}}}", reloadHeader, strconv.Itoa(version))
		case i%10 == 3:
			match = fmt.Sprintf("path: \"/r%d/{id}\"", i)
		case i%10 == 6:
			match = fmt.Sprintf("prefix: /r%d, methods: [GET, POST]", i)
		}
		fmt.Fprintf(&b, "  - {name: r%d, match: {%s}, use: [%s], to: u%d}\n", i, match, use, i-i%10)
	}
	return b.String()
}

func (e *estate) writeAll() error {
	for first := 0; first < reloadRoutes; first += reloadFile {
		if err := e.write(fmt.Sprintf("routes.%05d.yaml", first), e.file(first, 0)); err != nil {
			return err
		}
	}
	return e.write("pithead.yaml", fmt.Sprintf(`listeners: {web: {address: %q}}
admin: {address: "127.0.0.1:0"}
access_log: {output: "off"}
shutdown: {delay: 0s, lame_duck: 0s, grace: 1s}
include: ["routes.*.yaml"]
middleware: {tag: {headers: {request: {set: {X-Edge: "1"}}}}}
upstreams: {origin: {discover: {static: {targets: [%q]}}, max_idle: 256}}
routes: [{name: all, match: {prefix: /}, to: origin}]
`, e.addr, e.origin))
}

// reloads measures one gateway.
func (m *machine) reloads(ctx context.Context, o *runOptions, program string) (s reloadSample, err error) {
	e := &estate{origin: m.setup.H1}
	if e.dir, err = os.MkdirTemp(m.scratch, "reload"); err != nil {
		return s, err
	}
	if e.addr, err = freeAddr(ctx); err != nil {
		return s, err
	}
	if err := e.writeAll(); err != nil {
		return s, err
	}
	// A reload may use what cores there are.
	gateway, err := startWith(nil, fmt.Sprintf("%d,%d", proxyCore, otherCore), e.dir, program, "run", "pithead.yaml")
	if err != nil {
		return s, err
	}
	defer func() { _ = gateway.stop() }() // it is not needed any more
	if err := accepts(ctx, e.addr, gateway.ended); err != nil {
		return s, fmt.Errorf("%w\n%s", err, gateway.out)
	}
	test, err := chosenCases("small")
	if err != nil {
		return s, err
	}
	l := loadOptions{test: test[0], addr: e.addr, rate: reloadRate, warm: o.warm, time: o.time}
	nothing := func() error { return nil }
	if s.calm, err = m.load(ctx, l, nothing, nothing); err != nil {
		return s, err
	}
	changing, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.change(changing, e) }()
	s.busy, err = m.load(ctx, l, nothing, func() error { stop(); return nil })
	stop() // when the load has failed, too
	if err = errors.Join(err, <-ended); err != nil {
		return s, fmt.Errorf("%w\n%s", err, gateway.out)
	}
	s.memory, err = gateway.memory()
	return s, err
}

// change changes the configuration each second until ctx ends.
func (s *reloadSample) change(ctx context.Context, e *estate) error {
	client := &http.Client{Timeout: reloadPatient}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for version := 1; ; version++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		begun := time.Now()
		if err := e.change(version); err != nil {
			return err
		}
		if err := awaitVersion(ctx, client, "http://"+e.addr+reloadPath, strconv.Itoa(version)); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		s.live = append(s.live, time.Since(begun))
	}
}

// awaitVersion asks until an answer is of the version wanted.
func awaitVersion(ctx context.Context, client *http.Client, url, version string) error {
	for late := time.Now().Add(reloadPatient); time.Now().Before(late); {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		if err = errors.Join(err, res.Body.Close()); err != nil {
			return err
		}
		if res.Header.Get(reloadHeader) == version {
			return nil
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("version %s is not in use after %v", version, reloadPatient)
}
