package build

import (
	"math/rand/v2"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// watch is what is looked at closely on a route.
func (c *compiler) watch(r *config.Route) *gateway.Watch {
	if r.Anatomy != nil {
		return watchOf(r.Anatomy)
	}
	return watchOf(&c.cfg.Anatomy)
}

func watchOf(a *config.Anatomy) *gateway.Watch {
	told := map[string]gateway.ServerTiming{
		"off": gateway.ServerTimingOff, "trusted": gateway.ServerTimingTrusted, "all": gateway.ServerTimingAll,
	}
	return &gateway.Watch{Sample: uint64(float64(a.Sample) * (1 << 32)), Slow: a.Slow, ServerTiming: told[a.ServerTiming]}
}

// chance is true for a share of all calls, of 2^32.
func chance(share uint64) bool { return share > 0 && uint64(rand.Uint32()) < share }
