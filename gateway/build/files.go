package build

import (
	"reflect"
	"slices"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/middleware"
)

var filerType = reflect.TypeFor[kind.Filer]()

// Files are the paths of the files that middlewares are built from and that
// change on their own, each of them once. Blocks with mistakes have none: they
// keep the configuration from being built whatever the files say.
func Files(c *config.Config) (paths []string) {
	add := func(b *config.Block) {
		k, ok := middleware.Kinds.Get(b.Kind)
		if !ok || !k.Type().Implements(filerType) {
			return
		}
		if settings, err := k.Decode(b.Decode); err == nil {
			paths = append(paths, settings.Value.(kind.Filer).Files()...)
		}
	}
	for _, b := range c.Middleware {
		add(b)
	}
	for _, r := range c.Routes {
		for _, b := range r.Use {
			if !b.Ref {
				add(b)
			}
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
