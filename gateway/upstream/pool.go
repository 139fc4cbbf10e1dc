package upstream

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// pool is the transport of a cluster. So that no connection is used for ever, a
// new one takes its place from time to time; the old one keeps those that are in
// use, and lets go of each when it is not.
type pool struct {
	current atomic.Pointer[http.Transport]
	timer   *time.Timer // guarded by Cluster.mu; nil when connections have no age
}

// renewLater sees to it that the connections are renewed: after the age, or up to
// a tenth earlier, so that upstreams and gateways do not do it together. The
// caller holds c.mu.
func (c *Cluster) renewLater() {
	if age := c.opts.MaxAge; age > 0 {
		c.pool.timer = time.AfterFunc(age-rand.N(age/10+1), c.renew)
	}
}

func (c *Cluster) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	old := c.pool.current.Swap(newTransport(&c.opts))
	old.CloseIdleConnections()
	c.renewLater()
}

// letGo closes what an attempt may just have left idle, if nobody is to use it.
func (c *Cluster) letGo(t *http.Transport) {
	if c.closed.Load() || t != c.pool.current.Load() {
		t.CloseIdleConnections()
	}
}
