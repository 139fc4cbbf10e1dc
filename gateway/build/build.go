// Package build turns a configuration into a Snapshot: it is the only package
// that sees every other one. Compile is free of side effects (it starts nothing
// and dials nobody), so `pithead check` and a reload run the same code.
//
//	cfg, err := config.Load("pithead.yaml")
//	snap, err := build.Compile(cfg, env)   // every mistake at once, with its place
//	snap.Start()                           // discovery and health checks of what is new
//	snap.Wait(ctx)                         // until upstreams have endpoints
//	...                                    // snap serves
//	snap.Close()                           // what no other snapshot shares ends
package build

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/proxy"
	"github.com/pithead/pithead/gateway/route"
	"github.com/pithead/pithead/gateway/upstream"
)

// Env is what outlives every snapshot of a process.
type Env struct {
	Pool    *keep.Pool
	Log     *slog.Logger
	Metrics *obs.Metrics
}

// compiler collects the parts of one snapshot and every mistake on the way.
type compiler struct {
	Env
	cfg      *config.Config
	scope    *keep.Scope
	clusters map[string]*upstream.Cluster
	errs     config.Errors
}

// Compile builds a snapshot. Its error is a config.Errors with every mistake
// that a start would reject.
func Compile(cfg *config.Config, env Env) (*Snapshot, error) {
	c := &compiler{Env: env, cfg: cfg, scope: env.Pool.Scope(), clusters: make(map[string]*upstream.Cluster)}
	snap := &Snapshot{Config: cfg, scope: c.scope, clusters: c.clusters}
	snap.tls = c.certificates()
	c.upstreams()
	var owned []string
	snap.routes, owned = c.routes(proxy.New(proxy.Options{Log: env.Log}))
	snap.table = c.table()
	snap.canon = c.canon(owned)
	if err := cfg.Refuse(c.errs); err != nil {
		if closing := c.scope.Close(); closing != nil {
			env.Log.Warn("closing what a refused configuration had made", "error", closing)
		}
		return nil, err
	}
	return snap, nil
}

// fail records a mistake at a field of the configuration.
func (c *compiler) fail(field any, format string, args ...any) {
	c.errs = append(c.errs, c.cfg.Errorf(field, format, args...))
}

// wrong records a mistake about a whole block.
func (c *compiler) wrong(b *config.Block, format string, args ...any) {
	c.errs = append(c.errs, b.Errors(fmt.Errorf(format, args...))...)
}

func (c *compiler) table() *route.Table {
	rules := make([]route.Rule, len(c.cfg.Routes))
	for i, r := range c.cfg.Routes {
		hosts := r.Match.Hosts
		if r.Match.Host != "" {
			hosts = append([]string{r.Match.Host}, hosts...)
		}
		rules[i] = route.Rule{
			Name: r.Name, Hosts: hosts, Path: r.Match.Path, Prefix: r.Match.Prefix, PathRegex: r.Match.PathRegex,
			Methods: r.Match.Methods, Headers: r.Match.Headers, Query: r.Match.Query,
		}
	}
	table, err := route.New(rules)
	bad, ok := errors.AsType[route.RuleErrors](err)
	if err != nil && !ok {
		c.fail(&c.cfg.Routes, "%w", err)
	}
	for _, e := range bad {
		match := &c.cfg.Routes[e.Rule].Match
		field, known := map[string]any{"path": &match.Path, "prefix": &match.Prefix, "path_regex": &match.PathRegex}[e.Field]
		if !known {
			field = match
		}
		c.fail(field, "%s: %w", e.Field, e.Err)
	}
	return table
}

// canon makes the canonical view of each listener: limits are the listener's,
// everything else is the same for all.
func (c *compiler) canon(owned []string) map[string]*canon.Policy {
	var allow canon.Encoded
	trace := false
	for _, r := range c.cfg.Routes {
		encoded, _ := canon.ParseEncoded(r.AllowEncoded) // routes has reported a mistake
		allow |= encoded
		for _, m := range r.Match.Methods {
			trace = trace || m == "TRACE"
		}
	}
	policies := make(map[string]*canon.Policy, len(c.cfg.Listeners))
	for name, l := range c.cfg.Listeners {
		policies[name] = canon.NewPolicy(canon.Options{
			Trusted: c.cfg.TrustedProxies, Owned: owned, Keep: c.cfg.KeepHeaders, AllowEncoded: allow, AllowTrace: trace,
			HeaderFields: l.Limits.HeaderFields, Target: int(l.Limits.Target),
			QueryParams: l.Limits.QueryParams, Cookies: l.Limits.Cookies,
		})
	}
	return policies
}

// errNoRoute is what a request gets that no route matches.
var errNoRoute = &gateway.Error{Status: 404, Reason: "no_route", Msg: "no route matches this request", Cause: gateway.CauseClient}
