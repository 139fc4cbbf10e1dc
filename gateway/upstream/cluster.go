package upstream

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/anatomy"
)

// Options say what an upstream is like.
type Options struct {
	Name   string
	Feed   *Feed          // tells the endpoints; the cluster starts it, whoever made it closes it
	Stats  *StatsStore    // nil: stats of its own
	Policy gateway.Policy // chooses among healthy endpoints

	Subsets  map[string]Selector
	Protocol string // "http" (default), "https" or "h2c"
	// ProxyProtocol is the version of the header that begins each connection, 1 or
	// 2; 0 is none. With it no connection is used twice, and none speaks HTTP/2.
	ProxyProtocol uint8
	TLS           *tls.Config    // for https; nil trusts the system's authorities
	Pins          []Pin          // of which one must be in the chain; none asks for nothing
	SANs          []string       // names of which the certificate must have one, in place of the server's
	Host          string         // sent as Host; "" sends what the request has
	Timeouts      Timeouts       // zero values mean the defaults
	MaxIdle       int            // idle connections kept to one endpoint; default 64
	Health        *HealthOptions // nil: every endpoint is taken to be well
	Outliers      OutlierOptions // the zero value ejects nobody

	Limits         Limits // of requests at a time
	PanicThreshold int    // percentage of healthy endpoints below which all are used; 0 is never

	Zone      ZoneOptions   // which endpoints are near; the zero value prefers none
	MaxAge    time.Duration // of connections; 0 is for ever
	SlowStart time.Duration // over which an endpoint that joins gets to its full share; 0 is at once

	Kernel *anatomy.Kernel // is told what connections are used for; nil is told nothing

	Own *Own         // where this process listens, which no name may lead to
	Log *slog.Logger // says which upstream it is about

	dial     dialFunc      // for tests
	resolver *net.Resolver // for tests
}

// Selector says which endpoints belong to a subset. All of it must hold.
type Selector struct {
	Tag  string            // that the endpoint must have; "" asks for none
	Meta map[string]string // that the endpoint must have
}

func (s Selector) matches(t gateway.Target) bool {
	if s.Tag != "" && !slices.Contains(t.Tags, s.Tag) {
		return false
	}
	for key, want := range s.Meta {
		if got, ok := t.Meta[key]; !ok || got != want {
			return false
		}
	}
	return true
}

// EndpointStatus is what there is to know of one endpoint at the moment.
type EndpointStatus struct {
	Addr      string
	Weight    int
	Zone      string
	Tags      []string
	Meta      map[string]string
	Subsets   []string          // that it belongs to, sorted
	Healthy   bool              // has not failed its checks
	Ejected   *gateway.Ejection // nil while it may be used
	SlowStart int               // the percentage of its weight that it has while it starts slowly; 0 when it has it all
	Active    int64             // requests on their way
	Requests  uint64            // attempts begun
	Failures  uint64            // attempts that failed by the endpoint's or the network's fault
}

// Cluster is one upstream. It implements gateway.Cluster.
type Cluster struct {
	opts   Options
	pool   pool
	checks *checks // nil without health checks
	probes *probes
	set    atomic.Pointer[set]
	filled chan struct{}
	closed atomic.Bool
	stale  atomic.Bool // the set does not show what checks have found

	mu          sync.Mutex // for everything that changes the set
	endpoints   []*gateway.Endpoint
	unsubscribe func()
	started     bool
	ramps       ramps
	returns     *time.Timer // for the end of an ejection; nil when there is none to wait for
	peers       *peers      // compares endpoints with each other; nil when no rule does
	panicking   atomic.Bool // too few endpoints are healthy, all are used
}

var _ gateway.Cluster = (*Cluster)(nil)

// set is what requests see of the endpoints. It is immutable.
type set struct {
	members []member
	all     group
	subsets map[string]group
}

type member struct {
	ep      *gateway.Endpoint
	healthy bool              // has not failed its checks
	ejected *gateway.Ejection // nil while it is not ejected
	step    int               // of its slow start, of rampSteps; 0 when it has its full share
}

// usable says whether requests may go there.
func (m member) usable() bool { return m.healthy && m.ejected == nil }

// group is a subset, ready to pick from.
type group struct {
	picker  gateway.Picker
	healthy []*gateway.Endpoint // and not ejected
	spare   []*gateway.Endpoint // healthy, but ejected
	left    bool                // requests leave the preferred zone
}

// New makes a cluster without any side effect; Start starts it.
func New(o Options) *Cluster {
	if o.Stats == nil {
		o.Stats = NewStatsStore()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Timeouts = o.Timeouts.withDefaults()
	o.MaxIdle = cmp.Or(o.MaxIdle, 64)
	o.Outliers = o.Outliers.withDefaults()
	c := &Cluster{opts: o, filled: make(chan struct{}), probes: newProbes()}
	c.pool.current.Store(newTransport(&c.opts, true))
	if o.Health != nil {
		c.checks = newChecks(c, *o.Health)
	}
	c.rebuild()
	return c
}

// Start starts the feed, and with its first set the health checks. Only the
// first call counts.
func (c *Cluster) Start() {
	c.mu.Lock()
	first := !c.started && !c.closed.Load()
	c.started = true
	c.mu.Unlock()
	if !first {
		return
	}
	c.opts.Feed.Start()
	unsubscribe := c.opts.Feed.Subscribe(c.update)
	c.mu.Lock()
	c.unsubscribe = unsubscribe
	late := c.closed.Load()
	if !late {
		c.renewLater(0)
	}
	c.mu.Unlock()
	if late {
		unsubscribe()
	}
}

// Close ends health checks and forgets idle connections. The last set stays:
// requests that began before, and those still to come from exchanges that hold
// this cluster, are carried out.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if c.closed.Swap(true) {
		c.mu.Unlock()
		return nil
	}
	unsubscribe := c.unsubscribe
	c.ramps.stop()
	for _, timer := range []*time.Timer{c.returns, c.pool.timer, c.peers.running()} {
		if timer != nil {
			timer.Stop()
		}
	}
	endpoints := c.endpoints
	c.endpoints = nil
	c.mu.Unlock()
	if unsubscribe != nil {
		unsubscribe()
	}
	if c.checks != nil {
		c.checks.close()
	}
	c.probes.close()
	for _, ep := range endpoints {
		c.opts.Stats.Release(ep.Addr)
	}
	c.pool.closeIdle()
	return nil
}

// Name is the name of the upstream.
func (c *Cluster) Name() string { return c.opts.Name }

// HTTP2 says whether requests may go out over HTTP/2.
func (c *Cluster) HTTP2() bool {
	return c.opts.Protocol == "h2c" || c.opts.Protocol == "https" && c.opts.ProxyProtocol == 0
}

// Filled is closed when the first set that discovery has confirmed is in use,
// even if it is empty: then an answer from here on is the truth.
func (c *Cluster) Filled() <-chan struct{} { return c.filled }

// Confirmed is when discovery last confirmed the set; zero before the first time.
func (c *Cluster) Confirmed() time.Time { return c.opts.Feed.Confirmed() }

// HasSubset implements gateway.Cluster.
func (c *Cluster) HasSubset(name string) bool {
	_, ok := c.opts.Subsets[name]
	return ok
}

// Healthy implements gateway.Cluster.
func (c *Cluster) Healthy(subset string) int {
	g, _ := c.set.Load().group(subset)
	return len(g.healthy)
}

// Endpoints is the state of all endpoints, sorted by address.
func (c *Cluster) Endpoints() []EndpointStatus {
	s := c.set.Load()
	all := make([]EndpointStatus, len(s.members))
	for i, m := range s.members {
		all[i] = EndpointStatus{
			Addr: m.ep.Addr, Weight: m.ep.Weight, Zone: m.ep.Zone, Tags: m.ep.Tags, Meta: m.ep.Meta,
			Subsets: c.subsetsOf(m.ep.Target), Healthy: m.healthy, Ejected: m.ejected, SlowStart: m.step * 100 / rampSteps,
			Active: m.ep.Stats.Active.Load(), Requests: m.ep.Stats.Requests.Load(), Failures: m.ep.Stats.Failures.Load(),
		}
	}
	return all
}

func (c *Cluster) subsetsOf(t gateway.Target) []string {
	var names []string
	for name, sel := range c.opts.Subsets {
		if sel.matches(t) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// update takes over a set from the feed.
func (c *Cluster) update(targets []gateway.Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	gone := make(map[string]*gateway.Endpoint, len(c.endpoints))
	for _, ep := range c.endpoints {
		gone[ep.Addr] = ep
	}
	added := 0
	endpoints := make([]*gateway.Endpoint, len(targets))
	for i, t := range targets {
		ep, known := gone[t.Addr]
		switch {
		case !known:
			added++
			ep = &gateway.Endpoint{Target: t, ID: endpointID(c.opts.Name, t.Addr), Stats: c.opts.Stats.Acquire(t.Addr)}
		case !sameTarget(ep.Target, t):
			ep = &gateway.Endpoint{Target: t, ID: ep.ID, Stats: ep.Stats}
		}
		delete(gone, t.Addr)
		endpoints[i] = ep
	}
	for addr := range gone {
		c.opts.Stats.Release(addr)
	}
	c.endpoints = endpoints
	if c.checks != nil {
		c.checks.follow(endpoints)
	}
	c.rebuild()
	c.comparePeers()
	c.opts.Log.Info("endpoints changed", "endpoints", len(endpoints), "added", added, "removed", len(gone))
	select {
	case <-c.filled:
	default:
		close(c.filled)
	}
}

// flipped is told by checks that an endpoint turned well or unwell. When many
// do so at once, they wait here and one rebuild serves them all.
func (c *Cluster) flipped() {
	c.stale.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stale.Load() && !c.closed.Load() {
		c.rebuild()
	}
}

// rebuild swaps in a new set. The caller holds c.mu or is alone.
func (c *Cluster) rebuild() {
	c.stale.Store(false) // first, so that a flip from here on asks for another one
	c.readmit()
	s := &set{members: make([]member, len(c.endpoints)), subsets: make(map[string]group, len(c.opts.Subsets))}
	for i, ep := range c.endpoints {
		// Without checks nobody would ever clear what those of an earlier
		// configuration have found.
		s.members[i] = member{ep: ep, healthy: c.checks == nil || !ep.Stats.Unhealthy.Load()}
		if c.opts.Outliers.on() {
			s.members[i].ejected = ep.Stats.Conduct.Ejection.Load()
		}
	}
	c.startSlowly(s.members)
	for i := range s.members {
		s.members[i].step = c.ramps.step[s.members[i].ep.Addr]
	}
	c.judgePanic(s.members)
	s.all = c.newGroup(s.members, true)
	for name, sel := range c.opts.Subsets {
		var chosen []member
		for _, m := range s.members {
			if sel.matches(m.ep.Target) {
				chosen = append(chosen, m)
			}
		}
		s.subsets[name] = c.newGroup(chosen, false)
	}
	c.set.Store(s)
	c.endpointsChanged()
}

// newGroup makes the subset of these members. When checks have left none of the
// whole set but ejected ones, those are used; the requests of an arm have
// somewhere else to go.
func (c *Cluster) newGroup(members []member, whole bool) group {
	healthy := make([]*gateway.Endpoint, 0, len(members))
	var spare []*gateway.Endpoint
	for _, m := range members {
		switch {
		case m.usable() || c.panicking.Load():
			healthy = append(healthy, m.ep)
		case m.healthy:
			spare = append(spare, m.ep)
		}
	}
	if whole && len(healthy) == 0 {
		healthy, spare = spare, nil
	}
	chosen, left := c.opts.Zone.choose(members, healthy, c.panicking.Load())
	return group{c.opts.Policy(c.ramps.apply(chosen)), healthy, spare, left}
}

func (s *set) group(subset string) (g group, ok bool) {
	if subset == "" {
		return s.all, true
	}
	g, ok = s.subsets[subset]
	return g, ok
}
