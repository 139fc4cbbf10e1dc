package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/secrets"
)

// explainWait bounds how long explain waits for the endpoints of a file's upstreams.
const explainWait = 2 * time.Second

func explainCommand() *cobra.Command {
	var flags adminFlags
	var headers []string
	var client string
	cmd := &cobra.Command{
		Use:   "explain [FILE] METHOD URL",
		Short: "Say what would become of a request: route, chain, arm, upstream, endpoint",
		Long: `Explain says which route a request would take, why the nearer routes do not
match, what each middleware of the chain would do, and where it would go. With
FILE it works on a configuration, whose sources of endpoints are asked; without,
on the running daemon. The request itself is not sent.`,
		Example: `  pithead explain pithead.yaml GET http://api.example.com/v1/orders/7 -H 'x-canary: always'`,
		Args:    cobra.RangeArgs(2, 3), ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			asked, err := explainRequest(args[len(args)-2:], headers)
			if err != nil {
				return err
			}
			var e admin.Explanation
			if len(args) == 3 {
				e, err = explainFile(cmd.Context(), args[0], client, asked)
			} else {
				e, err = explainDaemon(cmd.Context(), &flags, asked)
			}
			if err != nil {
				cmd.PrintErrln(err)
				return errSaid
			}
			_, err = io.WriteString(cmd.OutOrStdout(), explanationText(e))
			return err
		},
	}
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "request header `Name: value`; several are possible")
	cmd.Flags().StringVar(&client, "client", "127.0.0.1:50000", "address:port that the request comes from; with FILE only")
	flags.add(cmd)
	return cmd
}

func explainRequest(args, headers []string) (admin.ExplainRequest, error) {
	asked := admin.ExplainRequest{Method: args[0], URL: args[1], Headers: map[string][]string{}}
	if u, err := url.Parse(asked.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return asked, fmt.Errorf("%q is no URL to ask for; write for example http://api.example.com/v1/orders/7", asked.URL)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return asked, fmt.Errorf("%q is no header; write `Name: value`", h)
		}
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		asked.Headers[name] = append(asked.Headers[name], strings.TrimSpace(value))
	}
	return asked, nil
}

// explainFile builds the file and asks its sources for endpoints, so that arms
// and endpoints are those of the moment.
func explainFile(ctx context.Context, path, client string, asked admin.ExplainRequest) (admin.Explanation, error) {
	snap, err := compileFile(ctx, path, secrets.NewKeeper().Opening)
	if err != nil {
		return admin.Explanation{}, err
	}
	defer closeQuietly(snap)
	r, err := asked.Request(ctx, client)
	if err != nil {
		return admin.Explanation{}, err
	}
	snap.Start()
	waiting, cancel := context.WithTimeout(ctx, explainWait)
	defer cancel()
	snap.Wait(waiting)
	return explainView(snap, r), nil
}

func explainDaemon(ctx context.Context, flags *adminFlags, asked admin.ExplainRequest) (admin.Explanation, error) {
	client, err := flags.dial()
	if err != nil {
		return admin.Explanation{}, err
	}
	defer client.Close()
	return client.Explain(ctx, asked)
}

// explanationText is an explanation for people.
func explanationText(e admin.Explanation) string {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", label, fmt.Sprintf(format, args...))
	}
	line("request", "%s", e.Request)
	if e.TLS != "" {
		line("tls", "%s", e.TLS)
	}
	for _, n := range e.Nearer {
		line("not", "%s: %s", n.Route, n.Why)
	}
	if e.Route != "" {
		line("route", "%s  (%s)  at %s", e.Route, e.Match, e.Position)
	}
	for _, s := range e.Steps {
		line("  "+s.Name, "%s", s.Does)
	}
	if e.Upstream != "" {
		line("upstream", "%s", e.Upstream)
	}
	if e.Arm != "" {
		line("arm", "%s", e.Arm)
	}
	if e.Endpoint != "" {
		line("endpoint", "%s", e.Endpoint)
	}
	if e.Refused != nil {
		line("answer", "%d %s: %s", e.Refused.Status, e.Refused.Reason, e.Refused.Detail)
	}
	return b.String()
}
