package build

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/upstream"
	"github.com/pithead/pithead/middleware"
)

// compiledRoute is a route ready to serve.
type compiledRoute struct {
	name    string
	to      *upstream.Cluster // nil for a route that answers by itself
	allow   canon.Encoded
	steps   []namedStep
	handler http.Handler
	watch   *gateway.Watch
	metrics *obs.Route // set by the Start of the first snapshot

	users atomic.Int64                 // snapshots that have the route
	scope *keep.Scope                  // what its steps keep; closed with the last of them
	asked map[string]*upstream.Cluster // the upstreams that it knows; nil for one that was not there
	reads readings                     // of the files that its own blocks name
}

// namedStep is a step under the name that the route file gives it.
type namedStep struct {
	gateway.Step
	name string
}

// start begins what the steps do beside requests, and returns what tells that they
// are ready.
func (r *compiledRoute) start() (awaited []<-chan struct{}) {
	for _, step := range r.steps {
		if step.Start != nil {
			awaited = append(awaited, step.Start()...)
		}
	}
	return awaited
}

// routes builds every route's chain around the proxy core, unless the snapshot before
// has it. owned are the headers that only middlewares may produce, of all routes
// together.
func (c *compiler) routes(core http.Handler) (all []*compiledRoute, owned []string) {
	all = make([]*compiledRoute, 0, len(c.cfg.Routes))
	for _, r := range c.cfg.Routes {
		c.pace.Step()
		rt := c.taken(r)
		if rt == nil {
			rt = c.route(r, core)
		}
		for name, cluster := range rt.asked {
			if cluster != nil {
				c.used[name] = true
			}
		}
		for _, step := range rt.steps {
			owned = append(owned, step.Owns...)
		}
		all = append(all, rt)
	}
	slices.Sort(owned)
	return all, slices.Compact(owned)
}

// route builds one route.
func (c *compiler) route(r *config.Route, core http.Handler) *compiledRoute {
	rt := &compiledRoute{name: r.Name, watch: c.watch(r), scope: c.Pool.Scope(), asked: make(map[string]*upstream.Cluster)}
	rt.users.Store(1)
	if r.To != "" {
		rt.to = c.clusters[r.To]
		rt.asked[r.To] = rt.to
	}
	var err error
	if rt.allow, err = canon.ParseEncoded(r.AllowEncoded); err != nil {
		c.fail(&r.AllowEncoded, "%w", err)
	}
	rt.steps = c.chain(r, rt)
	handler := core
	for _, step := range slices.Backward(rt.steps) {
		handler = step.Wrap(handler)
	}
	rt.handler = withBounds(handler, r)
	return rt
}

// namedBlocks decodes the named middlewares, used or not: a mistake in one is
// not to show only when the first route uses it.
func (c *compiler) namedBlocks() {
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Middleware)) {
		b := c.cfg.Middleware[name]
		k, ok := kindIn(c, middleware.Kinds, b)
		if !ok {
			continue
		}
		c.blocks[name] = c.namedBlock(k, b)
		if known := c.blocks[name]; known.whole {
			c.meanings[name] = meaningOf(b, known.settings.Value)
		}
	}
}

// namedBlock is a block under `middleware` and its settings, as far as they are good.
type namedBlock struct {
	block    *config.Block // without the settings that have been complained of
	settings *stepSettings // nil when too little is left
	whole    bool          // nothing has been complained of
}

type (
	stepKind     = kind.Kind[middleware.Env, gateway.Step]
	stepSettings = kind.Settings[middleware.Env, gateway.Step]
)

func (c *compiler) namedBlock(k *stepKind, b *config.Block) namedBlock {
	known := namedBlock{block: b}
	known.whole = c.judge(b, func(b *config.Block) error {
		settings, err := k.Decode(b.Decode)
		if err == nil {
			known.block, known.settings = b, &settings
		}
		return err
	})
	return known
}

// chain builds the steps of a route and checks their order: a step that needs
// an identity comes after one that proves it, and only one canary chooses the arm.
func (c *compiler) chain(r *config.Route, rt *compiledRoute) []namedStep {
	var steps []namedStep
	proven := make(map[gateway.Identity]bool)
	ordinals := make(map[string]int) // of the blocks without a name, by kind
	// whole is that no step is missing which might have proven something.
	whole := !c.cfg.UnsureOf(r, "use")
	known := whole                  // of what kind each step is
	chosen := false                 // the arm, by a canary
	before := make(map[string]bool) // kinds
	answers := false                // some step, by itself
	for _, b := range r.Use {
		step, ok := c.step(r, rt, b, ordinals)
		before[c.kindOf(b)] = true
		if !ok {
			whole = false
			_, isKind := middleware.Kinds.Get(c.kindOf(b))
			known = known && isKind
			answers = answers || slices.Contains(answering[:], c.kindOf(b))
			continue
		}
		if step.Behind != "" && known && !before[step.Behind] {
			c.wrong(b, "%s relies on a `%s` before it in `use`, and there is none; put one there", step.name, step.Behind)
		}
		for _, need := range step.Needs {
			if whole && !proven[need] {
				c.wrong(b, "%s needs a proven %s, and nothing before it in `use` proves one", step.name, need)
			}
		}
		if c.kindOf(b) == "canary" {
			if chosen {
				c.wrong(b, "a second canary in `use` always overrules the first; keep one of them")
			}
			chosen = true
		}
		for _, identity := range step.Proves {
			proven[identity] = true
		}
		answers = answers || step.Answers
		steps = append(steps, step)
	}
	if r.Public && whole {
		c.public(r, steps)
	}
	if r.To == "" && !answers && known && !c.cfg.UnsureOf(r, "to") {
		c.fail(&r.To, "a route needs `to`, or `%s`, `%s` or `%s` in `use`", answering[0], answering[1], answering[2])
	}
	return steps
}

// answering are the kinds whose steps answer by themselves.
var answering = [...]string{"respond", "redirect", "mock"}

// kindOf is the kind of an entry of `use`, which may be the name of a block.
func (c *compiler) kindOf(b *config.Block) string {
	if named, ok := c.cfg.Middleware[b.Kind]; ok && b.Ref {
		return named.Kind
	}
	return b.Kind
}

// step builds one entry of `use`. What is wrong has been reported when it is not ok.
func (c *compiler) step(r *config.Route, rt *compiledRoute, b *config.Block, ordinals map[string]int) (step namedStep, ok bool) {
	from, key, ok := c.block(r, b, ordinals)
	if !ok {
		return namedStep{}, false
	}
	k, _ := middleware.Kinds.Get(from.block.Kind)
	find := &finder{c: c, asked: rt.asked}
	env := middleware.Env{
		Route: r.Name, Match: matchFor(r), To: find.target(r), Upstream: find.upstream,
		Key: key, Keep: rt.scope, Metrics: func() *obs.Route { return rt.metrics }, Process: c.Metrics,
		Dir: from.block.Dir(), Pages: c.pages, Log: c.Log.With("route", r.Name, "middleware", b.Kind),
	}
	step.name = b.Kind
	ok = c.judge(from.block, func(block *config.Block) error {
		settings := from.settings
		if settings == nil || block != from.block {
			decoded, err := k.Decode(block.Decode)
			if err != nil {
				return err
			}
			settings = &decoded
		}
		if block == b {
			if paths := filesIn(settings.Value); len(paths) > 0 { // read before the step reads them: a change in between is seen
				rt.reads = append(rt.reads, reading{paths, contentOf(paths)})
			}
		}
		built, err := settings.Build(env)
		if err != nil && c.cfg.Closed(block.Errors(err)) {
			built, err = closedStep, nil
		}
		step.Step = built
		return err
	}) && from.whole
	if ok {
		c.warn(from.block, step.Warnings)
	}
	return step, ok
}

// warn passes on what a step has to say to the operator. A named block says it once,
// however many routes use it.
func (c *compiler) warn(block *config.Block, warnings []string) {
	for _, warning := range warnings {
		for _, w := range block.Errors(errors.New(warning)) {
			if !slices.ContainsFunc(c.cfg.Warnings, func(told *config.Error) bool { return told.Pos == w.Pos && told.Msg == w.Msg }) {
				c.cfg.Warnings = append(c.cfg.Warnings, w)
			}
		}
	}
}

// closedStep stands for a step whose sealed settings nobody has opened, in
// configurations that are only looked at. It lets nobody pass.
var closedStep = gateway.Step{
	Wrap: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gateway.Fail(w, r, &gateway.Error{Status: http.StatusServiceUnavailable, Reason: "sealed", Msg: "not available"})
		})
	},
	Proves:   []gateway.Identity{gateway.Subject},
	Optional: true,
	Explain: func(*http.Request, *gateway.Exchange) string {
		return "has sealed settings, which have not been opened"
	},
}

// block finds what an entry of `use` stands for: a named block, or a kind with
// its settings or its defaults. key is its name for what it keeps.
func (c *compiler) block(r *config.Route, b *config.Block, ordinals map[string]int) (block namedBlock, key string, ok bool) {
	if _, isNamed := c.cfg.Middleware[b.Kind]; b.Ref && isNamed {
		block = c.blocks[b.Kind]
		return block, "middleware/" + b.Kind, block.settings != nil
	}
	if _, isKind := middleware.Kinds.Get(b.Kind); b.Ref && !isKind {
		if !c.cfg.Lost("middleware", b.Kind) {
			c.wrong(b, "no block named %q under `middleware`%s", b.Kind,
				config.Suggest(b.Kind, slices.AppendSeq(middleware.Kinds.Names(), maps.Keys(c.cfg.Middleware))))
		}
		return block, "", false
	}
	_, ok = kindIn(c, middleware.Kinds, b)
	key = fmt.Sprintf("route/%s/%s/%d", r.Name, b.Kind, ordinals[b.Kind])
	ordinals[b.Kind]++
	return namedBlock{block: b, whole: true}, key, ok
}
