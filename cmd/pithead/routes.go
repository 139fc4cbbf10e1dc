package main

import (
	"cmp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
)

func routesCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "routes [FILE]",
		Short: "List the routes in order of precedence, of a file or of the running daemon",
		Long: `Routes lists the routes in order of precedence: of FILE, or of the running daemon.

AUTH are the middlewares that ask who is calling or whether he may pass, with
"(optional)" behind those that let requests without a proof pass too. It is none
when there are none, and public when the route says so by itself.`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			routes, err := routesOf(cmd, args, &flags)
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			table := [][]string{{"ROUTE", "MATCH", "USE", "AUTH", "TO", "WRITTEN AT"}}
			for _, r := range routes {
				use, auth := cmp.Or(strings.Join(r.Use, ", "), "-"), cmp.Or(strings.Join(r.Auth, ", "), "none")
				table = append(table, []string{r.Name, r.Match, use, auth, cmp.Or(r.Upstream, "-"), r.Position})
			}
			for _, row := range table {
				if _, err := w.Write([]byte(strings.Join(row, "\t") + "\n")); err != nil {
					return err
				}
			}
			return w.Flush()
		},
	}
	flags.add(cmd)
	return cmd
}

func routesOf(cmd *cobra.Command, args []string, flags *adminFlags) ([]admin.RouteInfo, error) {
	if len(args) == 1 {
		snap, err := compileFile(cmd.Context(), args[0], nil)
		if err != nil {
			return nil, err
		}
		defer closeQuietly(snap)
		return routesView(snap), nil
	}
	client, err := flags.dial()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Routes(cmd.Context())
}
