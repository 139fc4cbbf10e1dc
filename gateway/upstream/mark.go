package upstream

// EndpointsMark is a number that is another one when the set of endpoints is
// another one. Health, weights and labels do not change it.
func (c *Cluster) EndpointsMark() uint64 {
	mark := uint64(1)
	for _, m := range c.set.Load().members {
		mark += m.ep.ID // in any order
	}
	return mark
}
