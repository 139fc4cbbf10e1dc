package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/build"
)

func breakersView(snap *build.Snapshot) []admin.BreakerInfo {
	all := []admin.BreakerInfo{}
	for _, s := range snap.Breakers().List() {
		all = append(all, breakerView(s))
	}
	return all
}

func breakerView(s breaker.Status) admin.BreakerInfo {
	i := s.Info
	return admin.BreakerInfo{
		Name: s.Name, State: i.State.String(), Force: i.Force.String(), Reason: i.Why, Since: i.Since, Until: i.Until,
		Opened: i.Opened, Probes: i.Probes, Requests: i.Requests, Failures: i.Failures, Slow: i.Slow,
		Consecutive: i.Consecutive, Rejected: i.TotalRefused,
	}
}

// forceBreaker does what an operator wants, and says so in the log.
func forceBreaker(snap *build.Snapshot, log *slog.Logger, name, force, by string) (admin.BreakerInfo, error) {
	wish, ok := breaker.ParseForce(force)
	if !ok {
		return admin.BreakerInfo{}, admin.ErrNoForce
	}
	status, err := snap.Breakers().Force(name, wish)
	if err != nil {
		return admin.BreakerInfo{}, admin.ErrNoBreaker
	}
	log.Warn("circuit breaker forced by an operator", "breaker", name, "force", force, "by", by)
	return breakerView(status), nil
}

func breakersCommand() *cobra.Command {
	var flags adminFlags
	var force string
	cmd := &cobra.Command{
		Use:   "breakers [NAME]",
		Short: "List the circuit breakers of the running daemon, or open and close one by hand",
		Long: `Breakers lists the circuit breakers of the running daemon: what they do, why, and
what they have counted. Each begins with the first request that it guards.

With --force it opens or closes the one called NAME, until --force auto leaves it
to itself again. That outlives reloads, but no restart.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (force != "") != (len(args) == 1) {
				return fmt.Errorf("give both a NAME and --force, or neither")
			}
			client, err := flags.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			var all []admin.BreakerInfo
			if force == "" {
				all, err = client.Breakers(cmd.Context())
			} else {
				all = make([]admin.BreakerInfo, 1)
				all[0], err = client.ForceBreaker(cmd.Context(), args[0], force)
			}
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			return breakersTable(cmd.OutOrStdout(), all, time.Now())
		},
	}
	cmd.Flags().StringVar(&force, "force", "", "open, closed or auto")
	flags.add(cmd)
	return cmd
}

func breakersTable(to io.Writer, all []admin.BreakerInfo, now time.Time) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "BREAKER\tSTATE\tFORCE\tREASON\tFOR\tLEFT\tATTEMPTS\tFAILED\tSLOW\tREJECTED") // Flush tells of errors
	for _, b := range all {
		left := "-"
		if !b.Until.IsZero() {
			left = max(0, b.Until.Sub(now)).Round(100 * time.Millisecond).String()
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", b.Name, b.State, b.Force, cmp.Or(b.Reason, "-"),
			now.Sub(b.Since).Round(time.Second), left, b.Requests, b.Failures, b.Slow, b.Rejected)
	}
	return w.Flush()
}
