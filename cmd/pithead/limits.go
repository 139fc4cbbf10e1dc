package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/server"
)

func limitsView(ctx context.Context, s *server.Server, name string, who limitview.Facts) limitview.Report {
	report := s.Snapshot().Limits().Report(ctx, name, who)
	i := s.Overload()
	report.Overload = limitview.Overload{Step: i.Step.String(), Refusing: i.Share, Refused: i.Refused, Resources: []limitview.Resource{}}
	for _, resource := range slices.Sorted(maps.Keys(i.Bounds)) {
		p, known := i.Pressure[resource]
		bounds := i.Bounds[resource]
		report.Overload.Resources = append(report.Overload.Resources, limitview.Resource{
			Name: resource, Pressure: p, Known: known, Close: bounds[0], Shed: bounds[1], Stop: bounds[2],
		})
	}
	return report
}

func limitsCommand() *cobra.Command {
	var flags adminFlags
	var keys []string
	cmd := &cobra.Command{
		Use:   "limits [NAME]",
		Short: "List the limits of the running daemon, and what one caller has left",
		Long: `Limits lists what bounds the requests of the running daemon, or the limit called
NAME alone: rates, requests at a time, limits that follow the health of a service,
and what the process does about its own load.

With --key it says what one caller has left of each rate limit, and takes nothing
from it. A caller is described by the parts that keys of limits have.`,
		Example: `  pithead limits
  pithead limits fair --key client=203.0.113.7
  pithead limits --key subject=ada --key header:x-customer=acme`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := limitview.ParseFacts(keys); err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			client, err := flags.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			report, err := client.Limits(cmd.Context(), strings.Join(args, ""), keys)
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			return limitsTables(cmd.OutOrStdout(), &report)
		},
	}
	cmd.Flags().StringArrayVarP(&keys, "key", "k", nil, "a part of a caller's key, as client=203.0.113.7; also subject, host, route, header:NAME, cookie:NAME, query:NAME, claim:NAME")
	flags.add(cmd)
	return cmd
}

// limitsTables prints a table for each sort of limit that there is.
func limitsTables(to io.Writer, r *limitview.Report) error {
	return errors.Join(
		limitsTable(to, r.Rates, ratesHead(r.Rates), rateRow),
		limitsTable(to, r.Concurrency, "CONCURRENCY\tLIMIT\tBETWEEN\tACTIVE\tWAITING\tLATENCY\tUNLOADED\tREFUSED", concurrencyRow),
		limitsTable(to, r.Adaptive, "ADAPTIVE\tSTATE\tLIMIT\tP95\tTARGET\tREFUSED\tWHY", adaptiveRow),
		leftOffText(to, r.LeftOff),
		limitsTable(to, []limitview.Overload{r.Overload}, "OVERLOAD\tREFUSING\tREFUSED\tWATCHING", overloadRow),
	)
}

func limitsTable[T any](to io.Writer, all []T, head string, row func(*T) string) error {
	if len(all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, head) // Flush tells of errors
	for i := range all {
		_, _ = fmt.Fprintln(w, row(&all[i]))
	}
	return w.Flush()
}

func leftOffText(to io.Writer, n int) error {
	if n == 0 {
		return nil
	}
	_, err := fmt.Fprintf(to, "%d more; ask for one by its name\n", n)
	return err
}

func concurrencyRow(c *limitview.Concurrency) string {
	between := "fixed"
	if c.Adaptive {
		between = fmt.Sprintf("%d and %d", c.Min, c.Max)
	}
	return fmt.Sprintf("%s\t%d\t%s\t%d\t%d of %d\t%s\t%s\t%d", c.Name, c.Limit, between, c.Active, c.Waiting, c.Queue,
		durationText(c.Latency), durationText(c.Baseline), total(c.Refused))
}

func adaptiveRow(a *limitview.Adaptive) string {
	limit := "-"
	if a.Limit > 0 {
		limit = fmt.Sprintf("%.1f/s", a.Limit)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%d\t%s", a.Name, a.State, limit, durationText(a.P95), durationText(a.Target), total(a.Refused), a.Why)
}

func ratesHead(all []limitview.Rate) string {
	head := "RATE\tLIMITS\tBY\tSTORE\tKEYS\tALLOWED\tDENIED"
	if len(all) > 0 && all[0].Caller != nil {
		head += "\tLEFT"
	}
	return head
}

func rateRow(l *limitview.Rate) string {
	row := fmt.Sprintf("%s\t%s\t%s\t%s\t%d of %d\t%d\t%d", l.Name, limitsText(l.Limits), strings.Join(l.By, "+"), storeText(&l.Store),
		l.Keys, l.MaxKeys, l.Allowed, l.Denied)
	if l.DryRun {
		row += " (dry run)"
	}
	if l.Caller != nil {
		row += "\t" + leftText(l.Caller)
	}
	return row
}

func limitsText(all []limitview.Limit) string {
	var texts []string
	for _, l := range all {
		texts = append(texts, fmt.Sprintf("%s %d/%s burst %d", l.Name, l.Tokens, periodText(l.Period.Duration()), l.Burst))
	}
	return strings.Join(texts, ", ")
}

func periodText(d time.Duration) string {
	for _, p := range []struct {
		per  time.Duration
		text string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if d >= p.per && d%p.per == 0 {
			return strings.TrimPrefix(fmt.Sprintf("%d%s", d/p.per, p.text), "1")
		}
	}
	return d.String()
}

func storeText(s *limitview.Store) string {
	if s.Redis == nil {
		return s.Kind
	}
	if s.Redis.Up {
		return s.Redis.Address
	}
	text := s.Redis.Address + " away: " + s.Deciding
	if s.Deciding == "local" {
		text += fmt.Sprintf(", 1 of %d", s.Redis.Gateways)
	}
	return text
}

func leftText(c *limitview.Caller) string {
	missing := strings.Join(c.Missing, " and ")
	switch {
	case c.Unbound:
		return "passes without " + cmp.Or(missing, "its key")
	case c.Rejected:
		return "400 without " + cmp.Or(missing, "its key")
	case len(c.Left) == 0 && missing != "":
		return "needs --key with " + missing
	case len(c.Left) == 0:
		return c.Told
	}
	var texts []string
	for _, l := range c.Left {
		texts = append(texts, fmt.Sprintf("%s %d, full in %s", l.Name, l.Remaining, l.Full.Duration().Round(100*time.Millisecond)))
	}
	text := strings.Join(texts, "; ")
	if missing != "" {
		text += " (by client, without " + missing + ")"
	}
	return text
}

func durationText(s limitview.Seconds) string {
	if s == 0 {
		return "-"
	}
	return s.Duration().Round(100 * time.Microsecond).String()
}

func total(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func overloadRow(o *limitview.Overload) string {
	var watching []string
	for _, r := range o.Resources {
		switch {
		case !r.Known:
			watching = append(watching, r.Name+" ?")
		case r.Name == "memory":
			watching = append(watching, fmt.Sprintf("memory %.0f %% (refuses from %.0f %%)", 100*r.Pressure, 100*r.Shed))
		default:
			watching = append(watching, fmt.Sprintf("%s %s (refuses from %s)", r.Name, durationText(limitview.Seconds(r.Pressure)), durationText(limitview.Seconds(r.Shed))))
		}
	}
	return fmt.Sprintf("%s\t%.0f %%\t%d\t%s", o.Step, 100*o.Refusing, o.Refused, cmp.Or(strings.Join(watching, ", "), "nothing"))
}
