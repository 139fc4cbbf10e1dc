//go:build linux

// Command pithead-probe tells where the time of a gateway's requests goes, as the
// kernel sees it. docs/howto/probe.md shows how to use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/bpf"
)

// version is set by the linker.
var version = "unknown"

// What the process ends with.
const (
	statusFailed    = 1
	statusConfig    = 2
	statusPrivilege = 3
	statusKernel    = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is main with everything that a test wants to hold in its hands.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, "pithead-probe: "+err.Error()) // stderr is the last resort
	switch {
	case errors.Is(err, bpf.ErrPrivilege):
		return statusPrivilege
	case errors.Is(err, bpf.ErrKernel):
		return statusKernel
	case errors.Is(err, errServing):
		return statusFailed
	}
	return statusConfig
}

const about = `pithead-probe measures the connections of a gateway, or of any server, in the
kernel: how long they wait to be accepted, how long their bytes lie unread, when
an answer begins and ends, and when the client has all of it.

  pithead-probe --gateway $(pidof pithead) --admin 127.0.0.1:9901
  pithead-probe --port 8080 --upstream-port 9000 --prefix /api/
  pithead-probe top --gateway $(pidof pithead) --admin 127.0.0.1:9901

It ends with status 2 if what it is told makes no sense, 3 if it lacks
capabilities (CAP_BPF and CAP_PERFMON, and CAP_NET_ADMIN for the channel to the
gateway), and 4 if the kernel cannot do it.`

func command() *cobra.Command {
	var s settings
	root := &cobra.Command{
		Use:           "pithead-probe",
		Short:         "Where the time of a gateway's requests goes, as the kernel sees it",
		Long:          about,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return watch(cmd, &s) },
	}
	s.flags(root.Flags())
	s.serving(root.Flags())
	root.AddCommand(topCommand())
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

// watch loads the programs and serves what they measure until it is told to end.
func watch(cmd *cobra.Command, s *settings) error {
	return s.measure(func(v *view) error {
		if s.once {
			return once(cmd.Context(), v, s.span, cmd.OutOrStdout())
		}
		return serve(cmd.Context(), v, s.listen, cmd.ErrOrStderr())
	})
}

// measure has the programs in the kernel while use runs.
func (s *settings) measure(use func(*view) error) error {
	options, names, err := s.options()
	if err != nil {
		return err
	}
	probe, err := bpf.Load(options)
	if err != nil {
		return err
	}
	debug.FreeOSMemory() // the kernel's types took half of it, and are needed no more
	err = use(newView(probe, names))
	if closed := probe.Close(); err == nil {
		err = closed
	}
	return err
}
