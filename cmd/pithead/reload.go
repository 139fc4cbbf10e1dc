package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway"
)

func reloadCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the running daemon read its files now",
		Long: `Reload asks the running daemon to read its files. All or nothing: when something
is wrong with them, it says what and where, and the daemon goes on as it was.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := flags.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			result, err := client.Reload(cmd.Context())
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			for _, w := range result.Warnings {
				cmd.PrintErrln("warning:", w)
			}
			cmd.Printf("generation %d in use:%s\n", result.Generation, changesText(&result.Changes))
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

func readToken(path string) (gateway.Secret, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	return gateway.Secret(strings.TrimSpace(string(text))), err
}
