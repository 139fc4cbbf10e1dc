package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// probeRound is a gateway without the probe and with it, CPU for each request.
type probeRound struct {
	without, with time.Duration
	ready         time.Duration // from the start of the probe until it serves
	memory        int64         // of the probe, after the load
	after         time.Duration // CPU for each request when the probe had been killed
}

// probeCommand measures what pithead-probe costs a gateway. It reads the output of the
// benchmark of bpf, which measures the same without one.
func probeCommand(ctx context.Context, flags *flag.FlagSet, args []string, in io.Reader, out io.Writer) error {
	bin := flags.String("bin", "../.bin", "folder of pithead and pithead-probe")
	path := flags.String("out", "results/probe.md", "the table")
	rounds := flags.Int("rounds", 10, "how often both are measured")
	o := runOptions{}
	flags.DurationVar(&o.time, "time", 3*time.Second, "time of one measuring")
	flags.DurationVar(&o.warm, "warm", time.Second/2, "time before it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cycle, err := readCycle(in, out)
	if err != nil {
		return err
	}
	if *bin, err = filepath.Abs(*bin); err != nil {
		return err
	}
	var all []probeRound
	for i := range *rounds {
		one, err := probeMeasured(ctx, *bin, o)
		if err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		fmt.Fprintf(out, "round %d: %v without, %v with, %v after; ready in %v, %d KiB\n", i+1, one.without, one.with, one.after, one.ready, one.memory>>10)
		all = append(all, one)
	}
	var text strings.Builder
	writeProbe(&text, cycle, all, o)
	return os.WriteFile(*path, []byte(text.String()), 0o644) //nolint:gosec // it is to be read by everybody
}

// readCycle finds the figures of BenchmarkCycle, by their units.
func readCycle(in io.Reader, out io.Writer) (map[string]float64, error) {
	found := map[string]float64{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		fmt.Fprintln(out, lines.Text())
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "BenchmarkCycle") {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			n, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, err
			}
			found[fields[i+1]] = n
		}
	}
	if found["ns-both"] == 0 {
		return nil, errors.New("no BenchmarkCycle in the input")
	}
	return found, nil
}

// probeMeasured is one round: a gateway in a control group of its own, without
// the probe, with it, and without it again.
func probeMeasured(ctx context.Context, bin string, o runOptions) (r probeRound, err error) {
	dir, err := os.MkdirTemp("", "pithead-bench-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	m, err := newMachine(ctx, dir)
	if err != nil {
		return r, err
	}
	defer m.close()
	s := m.setup
	s.Dir, s.Kind = dir, kinds[0]
	for _, addr := range []*string{&s.Addr, &s.Admin} {
		if *addr, err = freeAddr(ctx); err != nil {
			return r, err
		}
	}
	if _, s.Port, err = net.SplitHostPort(s.Addr); err != nil {
		return r, err
	}
	p := programs{bin}.peers()[0]
	gateway, err := p.start(ctx, s)
	if err != nil {
		return r, err
	}
	defer func() { _ = gateway.stop() }() // it is not needed any more
	leave, err := ownGroup(gateway)
	if err != nil {
		return r, err
	}
	defer leave()
	small, err := chosenCases("small")
	if err != nil {
		return r, err
	}
	if err := answers(ctx, small[0], s.Addr); err != nil {
		return r, fmt.Errorf("%w\n%s", err, gateway.out)
	}
	each := func() (time.Duration, error) { return m.cpuOfEach(ctx, o, gateway, small[0], s.Addr) }
	for range 2 { // a gateway that has just started is slower, so the first does not count
		if r.without, err = each(); err != nil {
			return r, err
		}
	}
	if err := r.withProbe(ctx, bin, gateway, s.Admin, each); err != nil {
		return r, err
	}
	r.after, err = each()
	return r, err
}

// withProbe measures while a probe watches the gateway, and kills it.
func (r *probeRound) withProbe(ctx context.Context, bin string, gateway *process, admin string, each func() (time.Duration, error)) error {
	address, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	probe, err := startOn(otherCore, "/", filepath.Join(bin, "pithead-probe"), "--gateway", strconv.Itoa(gateway.cmd.Process.Pid), "--admin", admin, "--listen", address)
	if err != nil {
		return err
	}
	defer func() {
		_ = probe.cmd.Process.Kill() // as hard as can be: what it leaves is measured next
		<-probe.ended
	}()
	for {
		if resp, err := http.Get("http://" + address + "/healthz"); err == nil { //nolint:noctx // on this machine
			_ = resp.Body.Close()
			break
		}
		if time.Since(begun) > 10*time.Second {
			return fmt.Errorf("the probe does not serve\n%s", probe.out)
		}
		time.Sleep(time.Millisecond)
	}
	r.ready = time.Since(begun)
	if r.with, err = each(); err != nil {
		return err
	}
	r.memory, err = probe.memory()
	return err
}

// cpuOfEach is the gateway's CPU time for each request of a closed loop.
func (m *machine) cpuOfEach(ctx context.Context, o runOptions, gateway *process, c testCase, addr string) (time.Duration, error) {
	var before, after time.Duration
	load, err := m.load(ctx, loadOptions{test: c, addr: addr, warm: o.warm, time: o.time},
		func() (err error) { before, err = gateway.cpu(); return err },
		func() (err error) { after, err = gateway.cpu(); return err })
	if err != nil {
		return 0, err
	}
	if load.Errors > 0 || load.Requests == 0 {
		return 0, fmt.Errorf("%d of %d requests failed: %s", load.Errors, load.Requests, load.First)
	}
	return (after - before) / time.Duration(load.Requests), nil
}

// ownGroup moves a process into a control group of its own, as systemd would.
func ownGroup(p *process) (leave func(), err error) {
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		dir := filepath.Join(root, fmt.Sprintf("pithead-bench-%d", p.cmd.Process.Pid))
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as all groups are
			return nil, err
		}
		number := []byte(strconv.Itoa(p.cmd.Process.Pid))
		move := func(to string) error { return os.WriteFile(filepath.Join(to, "cgroup.procs"), number, 0o600) }
		return func() { _, _ = move(root), os.Remove(dir) }, move(dir) //nolint:gocritic // the group may be left with the process
	}
	return nil, errors.New("no cgroup2 is mounted")
}

func middle[T cmp.Ordered](all []T) (least, median, most T) {
	slices.Sort(all)
	return all[0], all[len(all)/2], all[len(all)-1]
}

func writeProbe(w io.Writer, cycle map[string]float64, all []probeRound, o runOptions) {
	fmt.Fprintf(w, "# What pithead-probe costs\n\nWritten by `make bench-probe` on %s.\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, %d cores, Linux %s, %s.\n\n", cpuModel(), runtime.NumCPU(), kernel(), runtime.GOARCH)
	fmt.Fprintf(w, "## A request and its answer on loopback, in one thread\n\nThe best of many short batches, of which each takes its turn with the others: what else the machine does only adds.\n\n| watched | ns |\n|---|---|\n")
	fmt.Fprintf(w, "| nothing: the whole cycle | %.0f |\n", cycle["ns-without"])
	for _, v := range [][2]string{{"server", "more, with one side watched"}, {"both", "more, with both: a proxied request"}, {"both-and-status", "more, with both, and the status read"}} {
		fmt.Fprintf(w, "| %s | %.0f |\n", v[1], cycle["ns-"+v[0]])
	}
	fmt.Fprintf(w, "\n## CPU of the gateway for each request\n\n%d rounds, in each of them %v without the probe, with it, and without it again after `kill -9`. Ratios are taken within a round, because the machine does other work as well: with the probe to the mean of before and after, and after to before.\n\n", len(all), o.time)
	var without, with, ratio, back, ready, memory []float64
	for _, r := range all {
		without, with = append(without, micros(r.without)), append(with, micros(r.with))
		ratio = append(ratio, 2*float64(r.with)/float64(r.without+r.after))
		back = append(back, float64(r.after)/float64(r.without))
		ready, memory = append(ready, float64(r.ready.Microseconds())/1000), append(memory, float64(r.memory)/(1<<20))
	}
	fmt.Fprint(w, "| | median | least | most |\n|---|---|---|---|\n")
	for _, line := range []struct {
		name   string
		format string
		values []float64
	}{
		{"without, us", "%.1f", without},
		{"with, us", "%.1f", with},
		{"ratio", "%.3f", ratio},
		{"ratio, after to before", "%.3f", back},
		{"start until it serves, ms", "%.0f", ready},
		{"resident memory of the probe, MiB", "%.1f", memory},
	} {
		least, median, most := middle(line.values)
		f := line.format
		fmt.Fprintf(w, "| %s | "+f+" | "+f+" | "+f+" |\n", line.name, median, least, most)
	}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
