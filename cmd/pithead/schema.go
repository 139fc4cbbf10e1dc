package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/build"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration, for editors",
		Long: `Schema prints a JSON Schema (2020-12) of process files and route files. Save it
and begin a file with

  # yaml-language-server: $schema=pithead.schema.json

to have the editor complete settings and mark mistakes.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := build.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(schema))
			return err
		},
	}
}
