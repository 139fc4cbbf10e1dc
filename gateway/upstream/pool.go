package upstream

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// pool is the transport of a cluster. So that no connection is used for ever, a
// new one takes its place from time to time. It does so little by little, because
// opening all connections in one moment costs the endpoints more than having them.
type pool struct {
	current  atomic.Pointer[transport]
	handover atomic.Pointer[handover] // nil but for a tenth of the age
	timer    *time.Timer              // guarded by Cluster.mu; nil when connections have no age
}

// handover is the time in which attempts go over from the transport before to the
// current one: few at first, nearly all in the end.
type handover struct {
	from   *transport
	began  time.Time
	length time.Duration
}

// take is the transport for one attempt.
func (p *pool) take() *transport {
	if h := p.handover.Load(); h != nil && rand.N(h.length) >= time.Since(h.began) {
		return h.from
	}
	return p.current.Load()
}

// closeIdle closes what nobody uses, of all transports.
func (p *pool) closeIdle() {
	p.current.Load().CloseIdleConnections()
	if h := p.handover.Load(); h != nil {
		h.from.CloseIdleConnections()
	}
}

// renewLater sees to it that the connections are renewed. The handover ends when
// they have the age, or up to a tenth earlier, so that upstreams and gateways do
// not do it together. used is how old they are now. The caller holds c.mu.
func (c *Cluster) renewLater(used time.Duration) {
	if age := c.opts.MaxAge; age > 0 {
		c.pool.timer = time.AfterFunc(age-age/10-rand.N(age/10+1)-used, c.renew)
	}
}

func (c *Cluster) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	h := &handover{from: c.pool.current.Load(), began: time.Now(), length: max(c.opts.MaxAge/10, 1)}
	c.pool.handover.Store(h) // first, or letGo would take the connections for old ones
	c.pool.current.Store(newTransport(&c.opts, true))
	c.pool.timer = time.AfterFunc(h.length, c.renewed)
}

// renewed ends the handover: each connection that is in use is let go when it is not.
func (c *Cluster) renewed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	h := c.pool.handover.Swap(nil)
	h.from.CloseIdleConnections()
	c.renewLater(h.length)
}

// letGo closes what an attempt may just have left idle, if nobody is to use it.
func (c *Cluster) letGo(t *transport) {
	if !c.closed.Load() {
		if h := c.pool.handover.Load(); t == c.pool.current.Load() || h != nil && t == h.from {
			return
		}
	}
	t.CloseIdleConnections()
}
