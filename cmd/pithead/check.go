package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/secrets"
)

func checkCommand() *cobra.Command {
	var lint, open bool
	var format string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say everything that a start would reject, with file, line and column",
		Long: `Check reads FILE (default pithead.yaml) and the route files that it includes,
and builds everything that a start would build, without starting anything and
without talking to anybody. Exit status 1 means that a start would fail.

Sealed values are not opened, so that no secret is needed: their form is checked,
and not what is in them. With --secrets they are opened as a start would open them,
for which the identities of age and Vault must be within reach.

With --lint it also tells what a start accepts and somebody should look at, each
with its place and the name of its rule. Exit status 2 means that there is such:

  no_auth            a route where nothing asks who is calling, and no public: true
  optional_auth      a route where something asks, but lets requests without a proof pass
  unreached          a middleware after one that answers every request
  stripped_header    a match by a header that a middleware sets, and that nobody may send
  subject_unproven   balancing by the subject of the caller where nothing proves one
  mtls_unasked       a middleware for client certificates where no listener asks for any
  clear_credentials  a listener without TLS, open to a network, with no trusted proxy before it

With --format json it writes one object to standard output: ok, and the lists
mistakes, warnings and findings, whose entries have file, line, column, message
and, for findings, rule. The exit status is the same.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != formatText && format != formatJSON {
				return fmt.Errorf("--format %s is not known; write text or json", format)
			}
			var opening config.Opening
			if open {
				opening = secrets.NewKeeper().Opening
			}
			snap, err := compileFile(cmd.Context(), fileOf(args), opening)
			var findings []build.Finding
			if err == nil {
				defer closeQuietly(snap)
				if lint {
					findings = snap.Lint()
				}
			}
			if format == formatJSON {
				return checkedJSON(cmd, snap, err, findings)
			}
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			return checkedText(cmd, fileOf(args), snap.Config, findings)
		},
	}
	cmd.Flags().BoolVar(&lint, "lint", false, "also tell what works and should be looked at, such as routes without authentication")
	cmd.Flags().BoolVar(&open, "secrets", false, "open sealed values, and check what is in them")
	cmd.Flags().StringVar(&format, "format", formatText, "text or json")
	return cmd
}

const (
	formatText = "text"
	formatJSON = "json"
)

func checkedText(cmd *cobra.Command, path string, c *config.Config, findings []build.Finding) error {
	for _, w := range c.Warnings {
		cmd.PrintErrln("warning:", w)
	}
	for _, f := range findings {
		cmd.PrintErrf("%v: %s (%s)\n", f.Pos, f.Msg, f.Rule)
	}
	if n := c.Unchecked(); n > 0 {
		cmd.PrintErrf("%s not opened; --secrets does\n", count(n, "sealed setting"))
	}
	cmd.Printf("%s: ok (%s, %s, %s)\n", path, count(len(c.Listeners), "listener"), count(len(c.Upstreams), "upstream"), count(len(c.Routes), "route"))
	if len(findings) > 0 {
		return errFound
	}
	return nil
}

// checked is the result of a check for programs.
type checked struct {
	OK       bool     `json:"ok"` // a start would not fail
	Mistakes []placed `json:"mistakes"`
	Warnings []placed `json:"warnings"`
	Findings []placed `json:"findings"`
}

// placed is something to say about a place. An error that is about no place in a file
// has none.
type placed struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message"`
}

func placedError(e *config.Error, rule string) placed {
	return placed{File: e.File, Line: e.Line, Column: e.Column, Rule: rule, Message: e.Msg}
}

func checkedJSON(cmd *cobra.Command, snap *build.Snapshot, err error, findings []build.Finding) error {
	out := checked{OK: err == nil, Mistakes: []placed{}, Warnings: []placed{}, Findings: []placed{}}
	if errs, ok := errors.AsType[config.Errors](err); ok {
		for _, e := range errs {
			out.Mistakes = append(out.Mistakes, placedError(e, ""))
		}
	} else if err != nil {
		out.Mistakes = append(out.Mistakes, placed{Message: err.Error()})
	} else {
		for _, w := range snap.Config.Warnings {
			out.Warnings = append(out.Warnings, placedError(w, ""))
		}
	}
	for _, f := range findings {
		out.Findings = append(out.Findings, placedError(f.Error, f.Rule))
	}
	write := json.NewEncoder(cmd.OutOrStdout())
	write.SetIndent("", "  ")
	write.SetEscapeHTML(false)
	switch failed := write.Encode(out); {
	case failed != nil:
		return failed
	case err != nil:
		return errSaid
	case len(findings) > 0:
		return errFound
	}
	return nil
}

// compileFile builds the snapshot of a file, for commands that start nothing. Without
// an opening sealed values stay closed.
func compileFile(ctx context.Context, path string, opening config.Opening) (*build.Snapshot, error) {
	env := build.Env{
		Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler),
		Metrics: obs.NewMetrics(obs.Build{Version: version, Commit: commit}),
	}
	files, err := config.Read(path)
	if err != nil {
		return nil, err
	}
	var cfg *config.Config
	if opening != nil {
		cfg, err = config.ParseOpened(ctx, files, opening)
	} else {
		cfg, err = config.ParseClosed(files)
	}
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
