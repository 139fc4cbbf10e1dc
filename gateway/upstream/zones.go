package upstream

import (
	"slices"

	"github.com/pithead/pithead/gateway"
)

// ZoneOptions say which endpoints are near and when they are enough.
type ZoneOptions struct {
	Prefer       string  // "" prefers none
	MinEndpoints int     // of the zone that must be healthy
	MinHealthy   float64 // share of the zone's endpoints, by weight, that must be healthy
}

// choose gives the healthy endpoints of the preferred zone if they are enough,
// else all healthy ones, and says whether requests leave the zone. Nothing is in
// between, so that an operator who sees one request leave the zone knows what the
// others do. In a panic no zone is enough: healthy are all endpoints then.
func (z ZoneOptions) choose(members []member, healthy []*gateway.Endpoint, panicking bool) (chosen []*gateway.Endpoint, left bool) {
	if z.Prefer == "" {
		return healthy, false
	}
	var near []*gateway.Endpoint
	var known, well int
	for _, m := range members {
		if m.ep.Zone != z.Prefer {
			continue
		}
		known += max(m.ep.Weight, 1)
		if m.usable() {
			well += max(m.ep.Weight, 1)
			near = append(near, m.ep)
		}
	}
	if panicking || len(near) < max(z.MinEndpoints, 1) || float64(well) < z.MinHealthy*float64(known) {
		return healthy, slices.ContainsFunc(healthy, func(ep *gateway.Endpoint) bool { return ep.Zone != z.Prefer })
	}
	return near, false
}

// LeftZone says of each subset whether its requests leave the preferred zone,
// because too little of it is healthy; "" is the whole set. It is nil when no
// zone is preferred.
func (c *Cluster) LeftZone() map[string]bool {
	if c.opts.Zone.Prefer == "" {
		return nil
	}
	s := c.set.Load()
	left := map[string]bool{"": s.all.left}
	for name, g := range s.subsets {
		left[name] = g.left
	}
	return left
}
