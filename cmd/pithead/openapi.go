package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/build"
)

func openAPICommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "openapi ROUTE [FILE]",
		Short: "Write the OpenAPI document of a route, of a file or of the running daemon",
		Long: `OpenAPI writes what clients can ask of ROUTE, as an OpenAPI document: of FILE, or of
the running daemon, which also knows what services tell by reflection.

For a route with grpc_transcode it is generated from the descriptors, version 3.1. For
routes with openapi_validate or mock it is their document, in one piece.`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := documentOf(cmd, args, &flags)
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s", doc)
			return err
		},
	}
	flags.add(cmd)
	return cmd
}

func documentOf(cmd *cobra.Command, args []string, flags *adminFlags) ([]byte, error) {
	if len(args) == 2 {
		snap, err := compileFile(cmd.Context(), args[1], nil)
		if err != nil {
			return nil, err
		}
		defer closeQuietly(snap)
		return snap.OpenAPI(args[0])
	}
	client, err := flags.dial()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.OpenAPI(cmd.Context(), args[0])
}

func openAPIView(snap *build.Snapshot, route string) ([]byte, error) {
	doc, err := snap.OpenAPI(route)
	if errors.Is(err, build.ErrNoDocument) {
		return nil, admin.ErrNoDocument
	}
	return doc, err
}
