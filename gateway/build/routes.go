package build

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/upstream"
	"github.com/pithead/pithead/middleware"
)

// compiledRoute is a route ready to serve.
type compiledRoute struct {
	name    string
	to      *upstream.Cluster
	allow   canon.Encoded
	steps   []namedStep
	handler http.Handler
	metrics *obs.Route
}

// namedStep is a step under the name that the route file gives it.
type namedStep struct {
	gateway.Step
	name string
}

// routes builds every route's chain around the proxy core. owned are the headers
// that only middlewares may produce, of all routes together.
func (c *compiler) routes(core http.Handler) (all []*compiledRoute, owned []string) {
	for _, r := range c.cfg.Routes {
		built := &compiledRoute{name: r.Name, to: c.clusters[r.To], metrics: c.Metrics.Route(r.Name)}
		var err error
		if built.allow, err = canon.ParseEncoded(r.AllowEncoded); err != nil {
			c.fail(&r.AllowEncoded, "%w", err)
		}
		built.steps = c.chain(r)
		handler := core
		for _, step := range slices.Backward(built.steps) {
			handler = step.Wrap(handler)
			owned = append(owned, step.Owns...)
		}
		built.handler = withBounds(handler, r)
		all = append(all, built)
	}
	slices.Sort(owned)
	return all, slices.Compact(owned)
}

// chain builds the steps of a route and checks their order: a step that needs
// an identity comes after one that proves it.
func (c *compiler) chain(r *config.Route) []namedStep {
	var steps []namedStep
	proven := make(map[gateway.Identity]bool)
	for i, b := range r.Use {
		step, ok := c.step(r, i, b)
		if !ok {
			continue
		}
		for _, need := range step.Needs {
			if !proven[need] {
				c.wrong(b, "%s needs a proven %s, and nothing before it in `use` proves one", step.name, need)
			}
		}
		for _, identity := range step.Proves {
			proven[identity] = true
		}
		steps = append(steps, step)
	}
	return steps
}

func (c *compiler) step(r *config.Route, i int, b *config.Block) (namedStep, bool) {
	name, key := b.Kind, fmt.Sprintf("route/%s/%s/%d", r.Name, b.Kind, i)
	if b.Ref {
		named, ok := c.cfg.Middleware[b.Kind]
		if !ok {
			c.wrong(b, "%s", c.unknownBlock(b.Kind))
			return namedStep{}, false
		}
		key, b = "middleware/"+name, named
	}
	settings, ok := decodeBlock(c, middleware.Kinds, b, nil)
	if !ok {
		return namedStep{}, false
	}
	to, ok := c.clusters[r.To]
	if !ok {
		return namedStep{}, false // the missing upstream has been reported
	}
	step, err := settings.Build(middleware.Env{
		Route: r.Name, To: to, Upstream: c.upstream, Key: key, Keep: c.scope,
		Log: c.Log.With("route", r.Name, "middleware", name),
	})
	if err != nil {
		c.errs = append(c.errs, b.Errors(err)...)
		return namedStep{}, false
	}
	return namedStep{step, name}, true
}

func (c *compiler) unknownBlock(name string) string {
	if _, isKind := middleware.Kinds.Get(name); isKind {
		return fmt.Sprintf("no block named %q under `middleware`; for the kind %s write `{%s: {...}}`", name, name, name)
	}
	known := slices.Collect(func(yield func(string) bool) {
		for name := range c.cfg.Middleware {
			if !yield(name) {
				return
			}
		}
	})
	return fmt.Sprintf("no block named %q under `middleware`%s", name, config.Suggest(name, append(known, middleware.Kinds.Names()...)))
}

func (c *compiler) upstream(name string) (gateway.Cluster, bool) {
	cluster, ok := c.clusters[name]
	return cluster, ok
}
