// Package discovery holds the sources that tell which endpoints an upstream
// has, one file each. A source implements gateway.Source and passes the
// conformance test in discoverytest; docs/howto/add-a-source.md walks through one.
package discovery

import (
	"embed"
	"log/slog"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

//go:embed *.go
var source embed.FS

// Kinds are the sources that `discover:` may name.
var Kinds = kind.NewTable[Env, gateway.Source]("discovery source", source)

// Env is what a source gets when it is built for one upstream.
type Env struct {
	Upstream string // name of the upstream, for logs
	Dir      string // folder of the file that names the source; relative paths start here
	Log      *slog.Logger

	// Watches are what a source shares with others that ask the same. With nil it
	// asks alone.
	Watches *Watches

	// Failed is told of each failed attempt to reach the registry, for the
	// metric; the source itself logs what changed and goes on trying.
	Failed func(err error)

	// Skipped is told with each answer of the registry how many instances of it
	// are left out: those with addresses that cannot be used, and those beyond
	// what one upstream may have.
	Skipped func(count int)
}
