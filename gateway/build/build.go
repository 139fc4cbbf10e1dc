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
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/httpcache"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/pace"
	"github.com/pithead/pithead/gateway/proxy"
	"github.com/pithead/pithead/gateway/upstream"
)

// Env is what outlives every snapshot of a process.
type Env struct {
	Pool    *keep.Pool
	Log     *slog.Logger
	Metrics *obs.Metrics
	Kernel  *anatomy.Kernel // is told what connections are used for; may be nil

	// Old is the snapshot in use, whose routes the new one takes over as far as nothing
	// has changed for them. It must not be closed before the new one is compiled. Nil
	// when there is none.
	Old *Snapshot
}

// compiler collects the parts of one snapshot and every mistake on the way.
type compiler struct {
	Env
	old      *Snapshot
	pace     *pace.Pacer // nil when no snapshot serves yet
	cfg      *config.Config
	scope    *keep.Scope
	clusters map[string]*upstream.Cluster
	kept     map[*config.Upstream][]string // as in Snapshot
	own      *upstream.Own                 // where the process listens; set when a snapshot starts
	watches  *discovery.Watches            // that upstreams share
	blocks   map[string]namedBlock         // those of which enough could be understood
	built    []*compiledRoute              // what the snapshot holds of routes
	used     map[string]bool               // upstreams that a route may send to
	pages    gateway.Pages                 // of the top level; nil for none
	errs     config.Errors

	meanings     map[string]meaning // of the blocks under `middleware`
	pagesMeaning meaning

	// partial is set when config has found mistakes: what seems to be missing may
	// only have been misspelt.
	partial bool
}

// Compile builds a snapshot. Its error is a config.Errors with every mistake
// that a start would reject.
func Compile(cfg *config.Config, env Env) (*Snapshot, error) {
	c := newCompiler(cfg, env)
	snap := &Snapshot{Config: cfg, metrics: env.Metrics, scope: c.scope, clusters: c.clusters, kept: c.kept, used: c.used}
	snap.tls = c.certificates()
	c.accessLog()
	c.upstreams()
	snap.own = c.own
	c.namedBlocks()
	c.errorPages()
	snap.pages, snap.pagesMeaning, snap.meanings = c.pages, c.pagesMeaning, c.meanings
	snap.watch = watchOf(&cfg.Anatomy)
	var owned []string
	snap.routes, owned = c.routes(proxy.New(proxy.Options{Log: env.Log}))
	c.built = snap.routes
	snap.close = sync.OnceValue(c.release)
	snap.byConfig = make(map[*config.Route]*compiledRoute, len(snap.routes))
	for i, r := range cfg.Routes {
		c.pace.Step()
		snap.byConfig[r] = snap.routes[i]
	}
	snap.table, snap.matches = c.table()
	snap.canon = c.canon(snap.routes, owned)
	snap.register = c.registration()
	snap.breakers, _ = keep.Get(c.scope, breaker.Kept, func() (*breaker.Registry, error) { return breaker.NewRegistry(), nil })     // cannot fail
	snap.caches, _ = keep.Get(c.scope, httpcache.Kept, func() (*httpcache.Registry, error) { return httpcache.NewRegistry(), nil }) // cannot fail
	snap.limits, _ = keep.Get(c.scope, limitview.Kept, func() (*limitview.Registry, error) { return limitview.NewRegistry(), nil }) // cannot fail
	snap.ready, _ = keep.Get(c.scope, "ready", func() (*atomic.Bool, error) { return new(atomic.Bool), nil })                       // cannot fail
	if err := cfg.Refuse(c.errs); err != nil {
		c.abandon()
		return nil, err
	}
	return snap, nil
}

// Mistakes adds to what config.Parse found wrong what Compile would find in the
// rest, because an operator wants to hear of everything at once. cfg is what
// Parse could understand; found is its error.
func Mistakes(cfg *config.Config, found error, env Env) error {
	errs, ok := errors.AsType[config.Errors](found)
	if cfg == nil || !ok {
		return found
	}
	c := newCompiler(cfg, env)
	c.partial = true
	defer c.abandon()
	c.certificates()
	c.accessLog()
	c.upstreams()
	c.namedBlocks()
	c.errorPages()
	c.built, _ = c.routes(http.NotFoundHandler())
	c.table()
	c.registration()
	told := make(map[config.Pos]bool, len(errs))
	for _, e := range errs {
		told[e.Pos] = true
	}
	// What follows from a mistake that has been told stands at the same place.
	more := slices.DeleteFunc(c.errs, func(e *config.Error) bool { return told[e.Pos] })
	return cfg.Refuse(slices.Concat(errs, more))
}

func newCompiler(cfg *config.Config, env Env) *compiler {
	c := &compiler{
		Env: env, old: env.Old, cfg: cfg, meanings: make(map[string]meaning), scope: env.Pool.Scope(), clusters: make(map[string]*upstream.Cluster),
		kept:   make(map[*config.Upstream][]string),
		blocks: make(map[string]namedBlock), used: make(map[string]bool),
	}
	if env.Old != nil {
		c.pace = pace.New()
	}
	return c
}

// abandon lets go of what was made for a configuration that is refused.
func (c *compiler) abandon() {
	if err := c.release(); err != nil {
		c.Log.Warn("closing what a refused configuration had made", "error", err)
	}
}

// release lets go of what the snapshot has in keep.
func (c *compiler) release() error {
	err := c.scope.Close()
	for _, r := range c.built {
		c.pace.Step()
		if bad := r.release(); bad != nil {
			err = errors.Join(err, bad)
		}
	}
	return err
}

// fail records a mistake at a field of the configuration.
func (c *compiler) fail(field any, format string, args ...any) {
	c.errs = append(c.errs, c.cfg.Errorf(field, format, args...))
}

// wrong records a mistake about a whole block.
func (c *compiler) wrong(b *config.Block, format string, args ...any) {
	c.errs = append(c.errs, b.Errors(fmt.Errorf(format, args...))...)
}

// canon makes the canonical view of each listener: limits are the listener's,
// everything else is the same for all. The one under "" is for connections that
// outlive their listener.
func (c *compiler) canon(routes []*compiledRoute, owned []string) map[string]*canon.Policy {
	o := canon.Options{Trusted: c.cfg.TrustedProxies, Owned: owned, Keep: c.cfg.KeepHeaders}
	for i, r := range routes {
		c.pace.Step()
		o.AllowEncoded |= r.allow
		for _, m := range c.cfg.Routes[i].Match {
			o.AllowTrace = o.AllowTrace || slices.Contains(m.Methods, http.MethodTrace)
		}
	}
	policies := map[string]*canon.Policy{"": canon.NewPolicy(o)}
	for name, l := range c.cfg.Listeners {
		o.HeaderFields, o.Target = l.Limits.HeaderFields, int(l.Limits.Target)
		o.QueryParams, o.Cookies = l.Limits.QueryParams, l.Limits.Cookies
		policies[name] = canon.NewPolicy(o)
	}
	return policies
}

// errNoRoute is what a request gets that no route matches.
var errNoRoute = &gateway.Error{Status: 404, Reason: "no_route", Msg: "no route matches this request", Cause: gateway.CauseClient}
