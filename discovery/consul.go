package discovery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	consulFirstLimit = 10 * time.Second // for a query that does not block
	consulMargin     = 5 * time.Second  // for the network, on top of a blocking query

	consulMinBackoff = 250 * time.Millisecond
	consulMaxBackoff = 4 * time.Second

	// consulRecallAfter is how long a start waits for Consul before it makes do
	// with what it remembers.
	consulRecallAfter = time.Second
	consulFilterLimit = 4 << 10
)

// ConsulConfig takes the instances of a service in Consul's catalogue that pass
// all their checks. Their tags and meta are labels for arms; meta `weight` (1 to
// 100) and `zone` are understood. When all instances fail their checks the set
// is empty at once. When Consul cannot be reached the last set stays in use for
// as long as it takes.
//
//	consul: {service: orders}
type ConsulConfig struct {
	// Address of the agent, best one on this machine: a URL, or `unix:` and the
	// path of a socket. Default: http://127.0.0.1:8500.
	Address string `yaml:"address"`
	// TLS is for an address that begins with https.
	TLS *ConsulTLS `yaml:"tls"`
	// Token is the ACL token. It needs `service:read` and `node:read`, and
	// `service:write` of its own service if the gateway registers itself.
	Token gateway.Secret `yaml:"token"`
	// TokenFile holds the token instead. It is read again for each query, so a
	// token may be replaced at any time.
	TokenFile kind.Path `yaml:"token_file"`
	// Datacenter to ask for. Default: the agent's own.
	Datacenter string `yaml:"datacenter"`
	// Namespace to ask for, in Consul Enterprise. Default: the token's own.
	Namespace string `yaml:"namespace"`
	// Partition to ask for, in Consul Enterprise. Default: the agent's own.
	Partition string `yaml:"partition"`
	// Service is the name in the catalogue. Required.
	Service string `yaml:"service"`
	// Tags that an instance must all have. Default: none.
	Tags []string `yaml:"tags"`
	// Filter is an expression in Consul's filter language that an instance must
	// satisfy, such as `Service.Meta.version == "v2"`. Default: none.
	Filter string `yaml:"filter"`
	// Stale lets any server answer, not only the leader, so that the loss of a leader is no outage. Default: true.
	Stale bool `yaml:"stale"`
	// Wait is how long Consul may hold a query while nothing changes, 1s to 10m. Default: 30s.
	Wait time.Duration `yaml:"wait"`
	// Grace is how long the last set stays in use when all instances vanish from
	// the catalogue, as they do when Consul is restarted without its data. Default: 30s.
	Grace time.Duration `yaml:"grace"`
	// AllowLoopback accepts instances on loopback addresses. They are also
	// accepted when the agent itself has one, or a Unix socket. Default: false.
	AllowLoopback bool `yaml:"allow_loopback"`
	// Snapshot is a folder in which the last sets are remembered, for a start while
	// Consul is away: until it answers, the remembered endpoints are used if they
	// were confirmed less than a day ago. The folder is made if it is missing.
	// Default: nothing is remembered.
	Snapshot kind.Path `yaml:"snapshot"`
	// Register enters the gateway itself in the catalogue. Only below `consul` in
	// the process file. Default: it is not entered.
	Register *RegisterConfig `yaml:"register"`
}

func init() {
	kind.Add(Kinds, "consul", ConsulConfig{
		Address: "http://127.0.0.1:8500", Stale: true, Wait: 30 * time.Second, Grace: 30 * time.Second,
	}, newConsul)
}

// Validate checks the settings except for the service, which is missing where
// the settings are defaults for others.
func (c ConsulConfig) Validate() error {
	var errs []error
	if _, err := parseConsulAddress(c.Address); err != nil {
		errs = append(errs, kind.At("address", "%w", err))
	}
	if c.TLS != nil && !strings.HasPrefix(c.Address, "https:") {
		errs = append(errs, kind.At("tls", "needs an address that begins with https"))
	}
	if c.Token != "" && c.TokenFile != "" {
		errs = append(errs, kind.At("token_file", "token is set too, here or in what is inherited; give one of them"))
	}
	if err := checkFilter(c.Filter); err != nil {
		errs = append(errs, kind.At("filter", "%w", err))
	}
	if strings.Contains(c.Service, "/") || c.Service == "." || c.Service == ".." { // it is a segment of a path
		errs = append(errs, kind.At("service", "%q is no name of a service", c.Service))
	}
	if c.Wait < time.Second || c.Wait > 10*time.Minute {
		errs = append(errs, kind.At("wait", "must be 1s to 10m, not %s", c.Wait))
	}
	if c.Grace < 0 {
		errs = append(errs, kind.At("grace", "must not be negative"))
	}
	return errors.Join(errs...)
}

type consulSource struct {
	ConsulConfig
	env      Env
	client   *consulClient
	loopback bool // instances on loopback are welcome
	snapshot *consulSnapshot

	answered  bool         // Consul has, so that what the snapshot remembers is of no more use; Watch's own
	confirmed atomic.Int64 // when the set that is being published was confirmed, in Unix nanoseconds
}

func newConsul(c ConsulConfig, env Env) (gateway.Source, error) { return shareConsul(c, env, nil) }

func shareConsul(c ConsulConfig, env Env, dial dialFunc) (gateway.Source, error) {
	return share(env, c.question(), func(env Env) (*consulSource, error) { return dialConsul(c, env, dial) })
}

// question tells apart what may not share a watch: all settings decide what is
// published, or who may hear it. It is a hash because it holds the token.
func (c ConsulConfig) question() string {
	files := cmp.Or(c.TLS, &ConsulTLS{})
	pair := cmp.Or(files.Certificate, &ConsulCertificate{})
	text := fmt.Sprintf("consul %q %q %v", []string{
		c.Address, string(files.CA), files.ServerName, string(pair.Cert), string(pair.Key), c.Token.Reveal(), string(c.TokenFile),
		c.Datacenter, c.Namespace, c.Partition, c.Service, c.Filter, string(c.Snapshot),
	}, sortedTags(c.Tags), []any{c.Stale, c.Wait, c.Grace, c.AllowLoopback})
	sum := sha256.Sum256([]byte(text))
	return string(sum[:])
}

func dialConsul(c ConsulConfig, env Env, dial dialFunc) (*consulSource, error) {
	if c.Service == "" {
		return nil, kind.At("service", "is required: the name of the service in Consul")
	}
	if c.Register != nil {
		return nil, kind.At("register", "is about the gateway itself; write it below consul: in the process file")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	client, err := newConsulClient(c, dial, env.Log)
	if err != nil {
		return nil, err
	}
	s := &consulSource{ConsulConfig: c, env: env, client: client, loopback: c.AllowLoopback || client.local}
	if s.snapshot, err = newConsulSnapshot(c, s.loopback); err != nil {
		return nil, err
	}
	return s, nil
}

// Confirmed implements gateway.Dated.
func (s *consulSource) Confirmed() time.Time { return time.Unix(0, s.confirmed.Load()) }

// consulWatch is the state of one Watch.
type consulWatch struct {
	*consulSource
	publish func([]gateway.Target)
	log     *slog.Logger
	index   uint64 // of the last answer; 0 asks for one at once
	pace    pace   // of queries, and so of publishing too
	last    grace
	skipped skips // in the last answer

	remembered bool // the snapshot has a set that is not in use yet
}

// Watch implements gateway.Source.
func (s *consulSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	defer s.client.transport.CloseIdleConnections()
	out := newOutage(s.env, "service", s.Service)
	w := &consulWatch{consulSource: s, publish: publish, log: out.log, last: grace{length: s.Grace, log: out.log}}
	w.remembered = !s.answered && s.snapshot.load(out.log)
	defer s.snapshot.start(out.log)()
	backoff := consulMinBackoff
	for {
		pause(ctx, w.pace.reserve(time.Now()))
		set, err := w.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			out.over()
			backoff = consulMinBackoff
			w.accept(set)
		default:
			out.failed(err, false)
			w.recall()
			// A registry that was restarted counts from its beginning and would
			// keep an old index waiting.
			w.index = 0
			pause(ctx, backoff/2+rand.N(backoff/2))
			backoff = min(2*backoff, consulMaxBackoff)
		}
	}
}

// ask waits for an answer that differs from the last one, or for Consul to
// confirm that there is none.
func (w *consulWatch) ask(ctx context.Context) (consulSet, error) {
	limit, opts := consulFirstLimit, &api.QueryOptions{Datacenter: w.Datacenter, AllowStale: w.Stale, Filter: w.Filter}
	if w.index > 0 {
		wait := w.last.shorten(w.Wait)
		opts.WaitIndex, opts.WaitTime = w.index, wait
		limit = wait + wait/16 + consulMargin // Consul adds up to a sixteenth, so that not all return at once
	}
	if w.remembered {
		limit = consulRecallAfter
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	entries, meta, err := w.client.Health().ServiceMultipleTags(w.Service, w.Tags, false, opts.WithContext(ctx))
	if err != nil {
		return consulSet{}, w.client.cleanError(err)
	}
	// A server without a leader may not have read its own log to the end, and
	// what is not Consul does not claim to have one. Only the first query is
	// asked that: agents answer blocking ones from a stream of events, which goes
	// on from what the first one said and knows nothing of leaders.
	if !meta.KnownLeader && meta.QueryBackend != api.QueryBackendStreaming {
		return consulSet{}, errors.New("the answer is not from a consul cluster with a leader")
	}
	if meta.LastIndex < w.index {
		w.index = 0
	} else {
		w.index = max(meta.LastIndex, 1)
	}
	return readInstances(consulInstances(entries), w.loopback), nil
}

// accept publishes the set, unless all instances have vanished.
func (w *consulWatch) accept(set consulSet) {
	w.answered, w.remembered = true, false
	set.skipped.tell(w.log, w.env, w.skipped)
	w.skipped = set.skipped
	if w.last.holds(len(set.targets), len(set.targets) == 0 && set.unhealthy == 0) {
		return
	}
	now := time.Now()
	w.confirmed.Store(now.UnixNano())
	w.snapshot.keep(set.targets, now)
	w.publish(set.targets)
}

// recall publishes what the snapshot remembers, once.
func (w *consulWatch) recall() {
	if !w.remembered {
		return
	}
	w.remembered = false
	targets, confirmed := w.snapshot.recall()
	w.log.Warn("consul does not answer, the endpoints are those of the snapshot",
		"endpoints", len(targets), "age", time.Since(confirmed).Round(time.Second))
	w.confirmed.Store(confirmed.UnixNano())
	w.last.holds(len(targets), false)
	w.publish(targets)
}

// checkFilter refuses what no filter can be. The language itself is Consul's
// affair: what it refuses is told in the log.
func checkFilter(filter string) error {
	if len(filter) > consulFilterLimit {
		return fmt.Errorf("is longer than %s", kind.Size(consulFilterLimit))
	}
	if filter != "" && strings.TrimSpace(filter) == "" {
		return errors.New("is empty; leave it out")
	}
	quote, open, escaped := rune(0), 0, false
	for _, c := range filter {
		switch {
		case escaped:
			escaped = false
		case quote == '"' && c == '\\':
			escaped = true
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"', c == '`':
			quote = c
		case c == '(':
			open++
		case c == ')':
			if open--; open < 0 {
				return errors.New("has a ) without its (")
			}
		}
	}
	if quote != 0 {
		return fmt.Errorf("has a %c without its second", quote)
	}
	if open > 0 {
		return errors.New("has a ( without its )")
	}
	return nil
}
