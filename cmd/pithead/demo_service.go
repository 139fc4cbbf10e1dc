package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/demo"
)

// demoServiceCommand runs a demo service without a gateway: what a container
// beside one is for.
func demoServiceCommand() *cobra.Command {
	var name, arm, listen string
	var faults bool
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Run one instance of the demo service, without a gateway",
		Long: `Service runs one instance of the demo service. Each answer says which instance
and which arm it is from, and /healthz answers 200.

With --faults it does its work badly when it is told to: "curl -d hang ADDRESS/-/fault". It
can answer with an "error", be "slow 300ms", "hang", "drip", "cut" its answers off, "reset"
connections, "crash", and be "ok" again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return demo.Run(ctx, name, arm, listen, faults, func(addr string) {
				cmd.Printf("%s, arm %s, serves on %s\n", name, arm, addr)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "orders-1", "name of the instance")
	cmd.Flags().StringVar(&arm, "arm", "stable", "the arm that it says it belongs to")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:9000", "address of the service")
	cmd.Flags().BoolVar(&faults, "faults", false, "fail when POST /-/fault says so")
	return cmd
}
