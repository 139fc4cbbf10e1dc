package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	var modules bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, the Go version and the modules inside",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.Printf("pithead %s\ncommit  %s\ngo      %s %s/%s\n", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			info, ok := debug.ReadBuildInfo()
			if !ok || !modules {
				return nil
			}
			slices.SortFunc(info.Deps, func(a, b *debug.Module) int { return cmp.Compare(a.Path, b.Path) })
			for _, m := range info.Deps {
				if m.Replace != nil {
					m = m.Replace
				}
				cmd.Printf("  %s\n", fmt.Sprintf("%s %s", m.Path, m.Version))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&modules, "modules", true, "list the modules")
	return cmd
}
