package upstream

// judgePanic decides whether so few endpoints are healthy that checks are more
// likely to be wrong than right, or that the rest would be trampled down: then
// all endpoints are used. The whole upstream is judged, not each subset, so that
// a canary that is ill is left alone and its requests go elsewhere. The caller
// holds c.mu or is alone.
func (c *Cluster) judgePanic(members []member) {
	healthy := 0
	for _, m := range members {
		if m.usable() {
			healthy++
		}
	}
	panicking := healthy*100 < c.opts.PanicThreshold*len(members)
	if c.panicking.Swap(panicking) == panicking {
		return
	}
	if panicking {
		c.opts.Log.Warn("too few endpoints are healthy, all are used", "healthy", healthy, "endpoints", len(members), "threshold", c.opts.PanicThreshold)
	} else {
		c.opts.Log.Info("enough endpoints are healthy, only those are used", "healthy", healthy, "endpoints", len(members))
	}
}

// Panicking says that too few endpoints are healthy and all of them are used.
func (c *Cluster) Panicking() bool { return c.panicking.Load() }
