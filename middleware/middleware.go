// Package middleware holds Pithead's middlewares, one file each. A file
// registers its kind, and that is all it takes: docs/howto/add-a-middleware.md
// walks through one.
package middleware

import (
	"embed"
	"log/slog"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

//go:embed *.go
var source embed.FS

// Kinds are the middlewares that a `use:` list may name.
var Kinds = kind.NewTable[Env, gateway.Step]("middleware", source)

// Env is what a middleware gets when it is built for one route.
type Env struct {
	Route string          // name of the route
	Match Match           // how the route matches
	To    gateway.Cluster // where the route goes unless a middleware says otherwise; nil without an upstream

	// Upstream finds any configured upstream by name. It is for the time in which the
	// middleware is built, and for no longer.
	Upstream func(name string) (gateway.Cluster, bool)

	// Key is the stable name of this block for values that outlive a reload:
	// the block's name, else route, kind and ordinal. Values under one key in
	// Keep are shared by all routes that use the named block.
	Key  string
	Keep *keep.Scope

	// Dir is the folder of the file that the block stands in. Relative paths start here.
	Dir string

	// Pages are the error pages of the whole configuration; nil if it has none.
	Pages gateway.Pages

	// Metrics are the counters of the route. Only requests may ask for them: there
	// are none before the snapshot is at work.
	Metrics func() *obs.Route

	// Process are the metrics of all routes together, for state that routes share.
	Process *obs.Metrics

	Log *slog.Logger
}

// blockName makes the name under which metrics and the admin API show a block of a kind out
// of its Env.Key: that of a named block, else its route, and which of several it is.
func blockName(kind, key string) string {
	if name, ok := strings.CutPrefix(key, "middleware/"); ok {
		return name
	}
	name, first := strings.CutSuffix(key, "/"+kind+"/0")
	if !first {
		name = strings.Replace(key, "/"+kind+"/", "/", 1)
	}
	return name
}

// Match is what a middleware may have to know of the match of its route.
type Match struct {
	Path   string // as the route file has it, with {parameters}; "" if the route matches otherwise
	Prefix string // as the route file has it; "" if the route matches the whole path

	Methods []string // nil: all of them
}

// maxProof bounds a file that proves who the gateway is, or says whom it trusts: a key, or
// certificates. The authorities of a whole system take a quarter of it.
const maxProof = 1 << 20
