// Command pithead is an API gateway: one daemon at the edge. README.md shows
// how to use it; `pithead help` lists its commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/config"
)

// Set by the linker.
var (
	version = "unknown"
	commit  = "unknown"
)

const defaultFile = "pithead.yaml"

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with everything that a test wants to hold in its hands.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (status int) {
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, errFound) {
		return 2
	}
	if !errors.Is(err, errSaid) {
		_, _ = fmt.Fprintln(stderr, told(err)) // stderr is the last resort
	}
	return 1
}

// told is what there is to say of err. A mistake in a file begins with its
// place, as compilers write it, so that editors can jump there.
func told(err error) string {
	if _, mistake := errors.AsType[*config.Error](err); mistake {
		return err.Error()
	}
	return "pithead: " + err.Error()
}

// errSaid ends a command with status 1 after it has said why itself.
var errSaid = errors.New("said")

// errFound ends a command with status 2: it works, and has said what should be looked at.
var errFound = errors.New("found")

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "pithead",
		Short:         "An API gateway: canary routing, discovery, strict reloads, and the truth about latency",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		runCommand(), checkCommand(), explainCommand(), routesCommand(), kindsCommand(), schemaCommand(),
		reloadCommand(), breakersCommand(), limitsCommand(), cacheCommand(), openAPICommand(), transcodeCommand(), demoCommand(), secretCommand(), versionCommand(), referenceCommand(),
	)
	return root
}

// fileOf is the configuration file that a command works on.
func fileOf(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return defaultFile
}

// yamlFiles lets the shell complete configuration files.
func yamlFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}
