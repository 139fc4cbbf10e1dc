package upstream

import (
	"maps"
	"slices"
)

// Subsets are the names of the defined subsets, sorted.
func (c *Cluster) Subsets() []string { return slices.Sorted(maps.Keys(c.opts.Subsets)) }
