package build

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/upstream"
)

// upstreams builds a cluster for each configured upstream. Feeds, statistics
// and clusters are kept by what defines them, so a reload that does not touch
// an upstream leaves its endpoints, connections and health as they are, and one
// that changes only its policy or timeouts keeps the known endpoints.
func (c *compiler) upstreams() {
	// Neither of these can fail. The scope holds both even if it takes all clusters over.
	c.own, _ = keep.Get(c.scope, "own", func() (*upstream.Own, error) { return new(upstream.Own), nil })
	log := c.Log // not c: the watches outlive it
	c.watches, _ = keep.Get(c.scope, "watches", func() (*discovery.Watches, error) { return discovery.NewWatches(log), nil })
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Upstreams)) {
		c.pace.Step()
		if cluster := c.cluster(name, c.cfg.Upstreams[name]); cluster != nil {
			c.clusters[name] = cluster
		}
	}
}

func (c *compiler) cluster(name string, u *config.Upstream) *upstream.Cluster {
	if cluster := c.takenCluster(name, u); cluster != nil {
		return cluster
	}
	feed, feedKey := c.feed(name, u)
	policy := c.policy(name, u)
	tlsConfig, tlsKey, ok := c.upstreamTLS(u)
	if feed == nil || policy == nil || !ok {
		return nil
	}
	statsKey := "stats/" + name
	// Neither of these can fail.
	stats, _ := keep.Get(c.scope, statsKey, func() (*upstream.StatsStore, error) { return upstream.NewStatsStore(), nil })
	key := fmt.Sprintf("cluster/%s/%s/%s/%s", name, c.cfg.Fingerprint(u), c.consulKey(u), tlsKey)
	if u.Discover.Kind != consulKind && u.TLS == nil { // the others have settings from elsewhere
		c.kept[u] = []string{feedKey, statsKey, key}
	}
	cluster, _ := keep.Get(c.scope, key, func() (*upstream.Cluster, error) {
		return upstream.New(clusterOptions(name, u, upstream.Options{
			Feed: feed, Stats: stats, Policy: policy, TLS: tlsConfig, Own: c.own, Kernel: c.Kernel, Log: c.Log.With("upstream", name),
		})), nil
	})
	return cluster
}

// clusterOptions adds what is plain configuration to o.
func clusterOptions(name string, u *config.Upstream, o upstream.Options) upstream.Options {
	o.Name, o.Protocol, o.Host, o.MaxIdle = name, u.Protocol, u.Host, u.MaxIdle
	o.Timeouts = upstream.Timeouts(u.Timeouts)
	o.SlowStart, o.MaxAge = u.SlowStart, u.MaxAge
	o.Outliers = outlierOptions(&u.OutlierDetection)
	if z := u.Zone; z != nil {
		o.Zone = upstream.ZoneOptions{Prefer: z.Prefer, MinEndpoints: z.MinEndpoints, MinHealthy: z.MinHealthy}
	}
	o.Subsets = make(map[string]upstream.Selector, len(u.Arms))
	for arm, selector := range u.Arms {
		o.Subsets[arm] = upstream.Selector{Tag: selector.Tag, Meta: selector.Meta}
	}
	if l := u.Limits; l != nil {
		o.Limits = upstream.Limits{Requests: l.RequestsPerEndpoint, Queue: l.Queue, QueueTimeout: l.QueueTimeout}
	}
	if u.TLS != nil {
		o.SANs = u.TLS.SANs
		for _, text := range u.TLS.Pins {
			pin, _ := config.ParsePin(text) // it has been checked
			o.Pins = append(o.Pins, pin)
		}
	}
	o.ProxyProtocol = map[string]uint8{"v1": 1, "v2": 2}[u.ProxyProtocol]
	o.PanicThreshold = u.PanicThreshold
	if u.Health != nil {
		o.Health = healthOptions(u.Health)
	}
	return o
}

func outlierOptions(d *config.OutlierDetection) upstream.OutlierOptions {
	o := upstream.OutlierOptions{
		Connect: d.ConnectFailures, Gateway: d.GatewayErrors, Errors: d.Errors,
		Interval: d.Interval, BaseTime: d.BaseEjectionTime, MaxTime: d.MaxEjectionTime, MaxPercent: d.MaxEjectionPercent,
	}
	if d.SuccessRate != nil {
		rate := upstream.SuccessRateOptions(*d.SuccessRate)
		o.SuccessRate = &rate
	}
	if d.Latency != nil {
		latency := upstream.LatencyOutlierOptions(*d.Latency)
		o.Latency = &latency
	}
	return o
}

func healthOptions(h *config.Health) *upstream.HealthOptions {
	o := &upstream.HealthOptions{
		Path: h.Path, TCP: h.TCP, Port: h.Port, Host: h.Host, Interval: h.Interval, Timeout: h.Timeout,
		Healthy: h.Healthy, Unhealthy: h.Unhealthy, Statuses: h.Statuses,
	}
	if h.GRPC != nil {
		o.GRPC = &upstream.GRPCOptions{Service: h.GRPC.Service}
	}
	return o
}

// ownAddresses are those that the process listens on under a configuration.
func ownAddresses(cfg *config.Config) []string {
	all := []string{cfg.Admin.Address}
	for _, l := range cfg.Listeners {
		all = append(all, l.Listen()...)
	}
	return all
}

// consulKey is the fingerprint of the process-wide Consul settings if the
// upstream inherits them.
func (c *compiler) consulKey(u *config.Upstream) string {
	if base := c.inherit(u.Discover); base != nil {
		return base.Fingerprint()
	}
	return ""
}

const consulKind = "consul"

// feed is the feed of an upstream, and what it is kept under.
func (c *compiler) feed(name string, u *config.Upstream) (feed *upstream.Feed, key string) {
	if u.Discover == nil {
		return nil, "" // it has been reported
	}
	log, metrics := c.Log.With("upstream", name), c.Metrics // not c: the feed outlives it
	source, ok := built(c, discovery.Kinds, u.Discover.Over(c.inherit(u.Discover)), discovery.Env{
		Upstream: name, Dir: u.Discover.Dir(), Log: log, Watches: c.watches, Failed: func(error) { metrics.DiscoveryFailed(name) },
		Skipped: func(n int) { metrics.DiscoverySkipped(name, n) },
	})
	if !ok {
		return nil, ""
	}
	key = fmt.Sprintf("feed/%s/%s", name, u.Discover.Over(c.inherit(u.Discover)).Fingerprint())
	feed, _ = keep.Get(c.scope, key, func() (*upstream.Feed, error) { return upstream.NewFeed(name, source, log), nil }) // cannot fail
	return feed, key
}

// inherit is the block whose settings come before those of b.
func (c *compiler) inherit(b *config.Block) *config.Block {
	if b != nil && b.Kind == consulKind {
		return c.cfg.Consul.Without("register") // that is about the gateway itself
	}
	return nil
}

func (c *compiler) policy(name string, u *config.Upstream) gateway.Policy {
	policy, _ := built(c, balance.Kinds, u.Balance, balance.Env{Upstream: name})
	return policy
}

// kindIn finds the kind of a block in its table.
func kindIn[E, T any](c *compiler, table *kind.Table[E, T], b *config.Block) (*kind.Kind[E, T], bool) {
	k, ok := table.Get(b.Kind)
	if !ok {
		c.wrong(b, "unknown %s %q%s", table.Noun(), b.Kind, config.Suggest(b.Kind, table.Names()))
	}
	return k, ok
}

// built is what a block stands for in its table.
func built[E, T any](c *compiler, table *kind.Table[E, T], b *config.Block, env E) (made T, ok bool) {
	k, ok := kindIn(c, table, b)
	if !ok {
		return made, false
	}
	ok = c.judge(b, func(b *config.Block) error {
		settings, err := k.Decode(b.Decode)
		if err == nil {
			made, err = settings.Build(env)
		}
		return err
	})
	if !ok {
		return *new(T), false
	}
	return made, true
}

// upstreamTLS reads the certificates of an upstream. key changes with their
// content, so that a reload notices a new file under an old name.
func (c *compiler) upstreamTLS(u *config.Upstream) (conf *tls.Config, key string, ok bool) {
	if u.TLS == nil {
		return nil, "", true
	}
	conf, ok = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.TLS.ServerName}, true
	if u.TLS.MinVersion == "1.3" {
		conf.MinVersion = tls.VersionTLS13
	}
	if u.TLS.CA != "" {
		conf.RootCAs, key, ok = c.authorities(&u.TLS.CA)
	}
	if u.TLS.Certificate != nil {
		cert, loaded := c.certificate(u.TLS.Certificate)
		if !loaded {
			return nil, "", false
		}
		conf.Certificates = []tls.Certificate{*cert}
		key += "/" + fingerprint(slices.Concat(cert.Certificate...))
	}
	return conf, key, ok
}
