//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// topSettings are what the command line of top says, beyond what to watch.
type topSettings struct {
	settings

	probe string
	every time.Duration
	by    string
	sort  string
	json  bool
	once  bool
}

const aboutTop = `top shows the routes by where their time goes, and which part has most of it. In
a terminal it is updated in place; elsewhere it writes one table for each interval.

Without --probe it measures by itself, which needs the same capabilities as the
command without top. With it, it asks one that is running, and needs none.

  pithead-probe top --gateway $(pidof pithead) --admin 127.0.0.1:9901
  pithead-probe top --probe 127.0.0.1:9902 --once

Keys: t time, r requests, p slowest p99, e errors, n name; q ends it.`

func topCommand() *cobra.Command {
	var s topSettings
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show routes by where their time goes",
		Long:  aboutTop,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return top(cmd, &s) },
	}
	f := cmd.Flags()
	s.flags(f)
	f.StringVar(&s.probe, "probe", "", "a pithead-probe that is running, host:port, instead of measuring")
	f.DurationVar(&s.every, "every", 2*time.Second, "how long an interval is")
	f.StringVar(&s.by, "by", "route", "what a line is of: "+strings.Join(groupings, ", "))
	f.StringVar(&s.sort, "sort", "time", "what comes first: "+strings.Join(orderNames(), ", "))
	f.BoolVar(&s.json, "json", false, "write one JSON object for each interval")
	f.BoolVar(&s.once, "once", false, "end after one interval")
	return cmd
}

func (s *topSettings) check() error {
	switch {
	case s.every <= 0:
		return fmt.Errorf("--every %v: an interval must be more than nothing", s.every)
	case !slices.Contains(groupings, s.by):
		return fmt.Errorf("--by %q: write one of %s", s.by, strings.Join(groupings, ", "))
	case !slices.Contains(orderNames(), s.sort):
		return fmt.Errorf("--sort %q: write one of %s", s.sort, strings.Join(orderNames(), ", "))
	case s.probe != "" && (s.process != 0 || s.cgroup != "" || len(s.listenPorts)+len(s.upstreamPorts)+len(s.prefixes) > 0 || s.admin != ""):
		return errors.New("--probe: that one has been told what to watch; leave --gateway, --cgroup, --admin and the ports away")
	}
	return nil
}

func top(cmd *cobra.Command, s *topSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	sc, err := newScreen(cmd.InOrStdin(), cmd.OutOrStdout(), s)
	if err != nil {
		return err
	}
	defer sc.close()
	if s.probe != "" {
		return show(cmd.Context(), newRemote(s.probe), s, sc)
	}
	return s.measure(func(v *view) error { return show(cmd.Context(), v, s, sc) })
}

// answerer is a view, or a probe that runs elsewhere.
type answerer interface {
	answer(ctx context.Context) (*answer, error)
}

// remote is a probe that is running.
type remote struct {
	url    string
	client *http.Client
}

const remoteTimeout = 5 * time.Second

func newRemote(address string) *remote {
	return &remote{"http://" + address + "/snapshot", &http.Client{Timeout: remoteTimeout, Transport: &http.Transport{DisableKeepAlives: true}}}
}

func (r *remote) answer(ctx context.Context) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("--probe: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errServing, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %s answers %s", errServing, r.url, resp.Status)
	}
	a := &answer{}
	if err := json.NewDecoder(resp.Body).Decode(a); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errServing, r.url, err)
	}
	return a, nil
}

// show shows what happens in each interval until ctx ends or the user wants it to.
func show(ctx context.Context, from answerer, s *topSettings, sc *screen) error {
	before, err := from.answer(ctx)
	if err != nil {
		return err
	}
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	var shown *interval
	for {
		select {
		case <-ctx.Done():
			return nil
		case key := <-sc.keys:
			if !sc.press(key) {
				return nil
			}
		case <-tick.C:
			now, err := from.answer(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			shown = between(before, now, s.by)
			before = now
		}
		if shown == nil {
			continue
		}
		if err := sc.draw(shown); err != nil {
			return fmt.Errorf("%w: %w", errServing, err)
		}
		if s.once {
			return nil
		}
	}
}

// screen is where intervals are shown.
type screen struct {
	out      io.Writer
	json     bool
	every    time.Duration
	sort     string
	terminal *os.File // nil if the output is none, or no key can be pressed
	keyboard *os.File
	state    *term.State
	keys     chan byte
}

// A page of a terminal of its own without a cursor, and back (ECMA-48, xterm).
const (
	enter = "\x1b[?1049h\x1b[?25l"
	leave = "\x1b[?25h\x1b[?1049l"
)

func newScreen(in io.Reader, out io.Writer, s *topSettings) (*screen, error) {
	sc := &screen{out: out, json: s.json, every: s.every, sort: s.sort}
	keyboard, typed := in.(*os.File)
	terminal, seen := out.(*os.File)
	if s.json || s.once || !typed || !seen || !term.IsTerminal(int(terminal.Fd())) || !term.IsTerminal(int(keyboard.Fd())) {
		return sc, nil
	}
	state, err := term.MakeRaw(int(keyboard.Fd()))
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	sc.terminal, sc.keyboard, sc.state, sc.keys = terminal, keyboard, state, make(chan byte)
	go sc.listen(keyboard)
	_, err = io.WriteString(out, enter)
	return sc, err
}

// listen waits for keys until the process ends: reading a terminal cannot be given up.
func (sc *screen) listen(keyboard io.Reader) {
	var key [1]byte
	for {
		if n, err := keyboard.Read(key[:]); n == 0 || err != nil {
			return
		}
		sc.keys <- key[0]
	}
}

// press is false for the keys that end it.
func (sc *screen) press(key byte) bool {
	const interrupt, endOfText = 3, 4
	if key == 'q' || key == interrupt || key == endOfText {
		return false
	}
	for _, o := range orders {
		if o.name[0] == key {
			sc.sort = o.name
		}
	}
	return true
}

func (sc *screen) draw(i *interval) error {
	i.order(sc.sort)
	if sc.json {
		return json.NewEncoder(sc.out).Encode(i)
	}
	var b strings.Builder
	if sc.terminal == nil {
		width := plainWidth
		if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil {
			width = columns
		}
		if file, ok := sc.out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
			width, _, _ = term.GetSize(int(file.Fd()))
		}
		i.table(&b, table{width: width})
		b.WriteByte('\n')
	} else {
		width, height, err := term.GetSize(int(sc.terminal.Fd()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "pithead-probe %s  every %v  by %s\n\n", i.At.Format(time.TimeOnly), sc.every, sc.sort)
		i.table(&b, table{width: width, lines: height - 4, colors: os.Getenv("NO_COLOR") == ""})
	}
	text := b.String()
	if sc.terminal != nil { // raw mode needs both characters, and old text may be longer
		text = "\x1b[H" + strings.ReplaceAll(text, "\n", "\x1b[K\r\n") + "\x1b[J"
	}
	_, err := io.WriteString(sc.out, text)
	return err
}

func (sc *screen) close() {
	if sc.terminal == nil {
		return
	}
	_, _ = io.WriteString(sc.out, leave)
	_ = term.Restore(int(sc.keyboard.Fd()), sc.state)
}
