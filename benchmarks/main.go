package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := interruptible(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func interruptible(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command(ctx, args, os.Stdout)
}

func command(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("benchmarks run, reload, origin, load, probe, transcode, code or faults")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "run":
		return runCommand(ctx, flags, args[1:], out)
	case "reload":
		return reloadCommand(ctx, flags, args[1:], out)
	case "origin":
		h1 := flags.String("h1", "127.0.0.1:9000", "address for HTTP/1.1")
		h2c := flags.String("h2c", "127.0.0.1:9001", "address for gRPC")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serveOrigin(ctx, *h1, *h2c)
	case "load":
		return loadCommand(ctx, flags, args[1:], out)
	case "probe":
		return probeCommand(ctx, flags, args[1:], os.Stdin, out)
	case "transcode":
		return transcodeCommand(ctx, flags, args[1:], out)
	case "code":
		return codeCommand(flags, args[1:], os.Stdin, out)
	case "faults":
		return faultsCommand(flags, args[1:], os.Stdin, out)
	}
	return fmt.Errorf("%q is not known; it is run, reload, origin, load, probe, transcode, code or faults", args[0])
}

func loadCommand(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	name := flags.String("case", "small", strings.Join(caseNames(), ", "))
	var o loadOptions
	flags.StringVar(&o.addr, "addr", "127.0.0.1:8080", "the proxy")
	flags.IntVar(&o.rate, "rate", 0, "requests a second; 0 is as many as the answers allow")
	flags.DurationVar(&o.warm, "warm", time.Second, "time before the measuring")
	flags.DurationVar(&o.time, "time", 5*time.Second, "time of the measuring")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := chosenCases(*name)
	if err != nil {
		return err
	}
	o.test = chosen[0]
	return runLoad(ctx, o, out)
}

func runCommand(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	o := runOptions{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	bin := flags.String("bin", "../.bin", "folder of pithead, and of peers/ with caddy, traefik and skipper")
	dir := flags.String("out", "results", "folder for tables and charts")
	peers := flags.String("peers", "", "names with commas; all by default")
	chosen := flags.String("cases", "", strings.Join(caseNames(), ", ")+"; all by default")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each proxy is measured")
	flags.DurationVar(&o.time, "time", 4*time.Second, "time of one measuring")
	flags.DurationVar(&o.warm, "warm", time.Second, "time before it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if *bin, err = filepath.Abs(*bin); err != nil { // the programs run elsewhere
		return err
	}
	if o.peers, err = choose(programs{*bin}.peers(), *peers, "peer", func(p peer) string { return p.name }); err != nil {
		return err
	}
	if o.cases, err = chosenCases(*chosen); err != nil {
		return err
	}
	versions := make(map[string]string)
	for i := range o.peers {
		p := &o.peers[i]
		if versions[p.name], err = p.versionOf(ctx); err != nil {
			return err
		}
	}
	all, err := run(ctx, o)
	if err != nil {
		return err
	}
	tables := summarise(&o, all)
	for _, t := range tables {
		fmt.Fprintf(out, "\n%s: %s\n\n", t.test.name, t.test.about)
		writeTable(out, &t)
	}
	return writeReport(*dir, &o, versions, tables)
}
