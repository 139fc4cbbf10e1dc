package main

import (
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/httpcache"
)

func cachesView(snap *build.Snapshot) []admin.CacheInfo {
	all := []admin.CacheInfo{}
	for _, s := range snap.Caches().List() {
		all = append(all, admin.CacheInfo{
			Name: s.Name, URLs: s.URLs, Answers: s.Answers, Bytes: s.Bytes, MaxBytes: s.MaxBytes, Evicted: s.Evicted, Requests: s.Results,
		})
	}
	return all
}

// purgeCache does what an operator wants, and says so in the log.
func purgeCache(snap *build.Snapshot, log *slog.Logger, name string, what admin.CachePurge, by string) (forgotten int, err error) {
	store, ok := snap.Caches().Get(name)
	if !ok {
		return 0, admin.ErrNoCache
	}
	forgotten = store.Purge(httpcache.Purge{URL: what.URL, Prefix: what.Prefix, Tag: what.Tag, All: what.All})
	log.Info("cache purged by an operator", "cache", name, "answers", forgotten, "by", by)
	return forgotten, nil
}

func cacheCommand() *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "List the caches of the running daemon",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := flags.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			all, err := client.Caches(cmd.Context())
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			return cachesTable(cmd.OutOrStdout(), all)
		},
	}
	flags.add(cmd)
	cmd.AddCommand(cachePurgeCommand())
	return cmd
}

func cachePurgeCommand() *cobra.Command {
	var flags adminFlags
	var what admin.CachePurge
	cmd := &cobra.Command{
		Use:   "purge NAME",
		Short: "Take answers out of a cache of the running daemon",
		Long: `Purge has the cache called NAME forget answers: those of one URL, of all URLs that
begin in some way, with a tag, or all. What is being fetched at that time is
not stored either. ` + "`pithead cache`" + ` lists the names.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.dial()
			if err != nil {
				return err
			}
			defer client.Close()
			purged, err := client.PurgeCache(cmd.Context(), args[0], what)
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d answers forgotten\n", purged.Name, purged.Forgotten)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&what.URL, "url", "", "one URL, with its query: https://shop.example/a?b=c")
	f.StringVar(&what.Prefix, "prefix", "", "what URLs begin with: https://shop.example/a/")
	f.StringVar(&what.Tag, "tag", "", "a tag of answers")
	f.BoolVar(&what.All, "all", false, "everything")
	cmd.MarkFlagsMutuallyExclusive("url", "prefix", "tag", "all")
	cmd.MarkFlagsOneRequired("url", "prefix", "tag", "all")
	flags.add(cmd)
	return cmd
}

func cachesTable(to io.Writer, all []admin.CacheInfo) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "CACHE\tURLS\tANSWERS\tBYTES\tMAX\tEVICTED\tHITS\tSTALE\tMISSES") // Flush tells of errors
	for _, c := range all {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", c.Name, c.URLs, c.Answers, c.Bytes, c.MaxBytes, c.Evicted,
			c.Requests["hit"], c.Requests["stale"], c.Requests["miss"])
	}
	return w.Flush()
}
