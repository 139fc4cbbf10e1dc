package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say everything that a start would reject, with file, line and column",
		Long: `Check reads FILE (default pithead.yaml) and the route files that it includes,
and builds everything that a start would build, without starting anything and
without talking to anybody. Exit status 1 means that a start would fail.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			snap, err := compileFile(fileOf(args))
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			defer closeQuietly(snap)
			for _, w := range snap.Config.Warnings {
				cmd.PrintErrln("warning:", w)
			}
			c := snap.Config
			cmd.Printf("%s: ok (%s, %s, %s)\n", fileOf(args), count(len(c.Listeners), "listener"), count(len(c.Upstreams), "upstream"), count(len(c.Routes), "route"))
			return nil
		},
	}
}

// compileFile builds the snapshot of a file, for commands that start nothing.
func compileFile(path string) (*build.Snapshot, error) {
	env := build.Env{
		Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler),
		Metrics: obs.NewMetrics(obs.Build{Version: version, Commit: commit}),
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, build.Mistakes(cfg, err, env)
	}
	return build.Compile(cfg, env)
}

// closeQuietly closes a snapshot that served nobody: nothing can be lost.
func closeQuietly(snap *build.Snapshot) { _ = snap.Close() }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
