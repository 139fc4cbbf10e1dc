package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	consulAnswerLimit = 16 << 20
	consulFirstLimit  = 10 * time.Second // for a query that does not block
	consulMargin      = 5 * time.Second  // for the network, on top of a blocking query

	consulMinBackoff = 250 * time.Millisecond
	consulMaxBackoff = 4 * time.Second
)

// ConsulConfig takes the instances of a service in Consul's catalogue that pass
// all their checks. Their tags and meta are labels for arms; meta `weight` (1 to
// 100) and `zone` are understood. When all instances fail their checks the set
// is empty at once. When Consul cannot be reached the last set stays in use for
// as long as it takes.
//
//	consul: {service: orders}
type ConsulConfig struct {
	// Address of the agent, best one on this machine. Default: http://127.0.0.1:8500.
	Address string `yaml:"address"`
	// Token is the ACL token. It needs `service:read` and `node:read`.
	Token gateway.Secret `yaml:"token"`
	// Datacenter to ask for. Default: the agent's own.
	Datacenter string `yaml:"datacenter"`
	// Service is the name in the catalogue. Required.
	Service string `yaml:"service"`
	// Tags that an instance must all have. Default: none.
	Tags []string `yaml:"tags"`
	// Stale lets any server answer, not only the leader, so that the loss of a leader is no outage. Default: true.
	Stale bool `yaml:"stale"`
	// Wait is how long Consul may hold a query while nothing changes, 1s to 10m. Default: 30s.
	Wait time.Duration `yaml:"wait"`
	// Grace is how long the last set stays in use when all instances vanish from
	// the catalogue, as they do when Consul is restarted without its data. Default: 30s.
	Grace time.Duration `yaml:"grace"`
	// AllowLoopback accepts instances on loopback addresses. They are also
	// accepted when the agent itself has one. Default: false.
	AllowLoopback bool `yaml:"allow_loopback"`
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

func parseConsulAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("is no URL") // the error of url.Parse would repeat a password
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("must look like http://127.0.0.1:8500")
	case u.User != nil:
		return nil, errors.New("must not hold a password; use token")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("must end with the port or a path")
	default:
		return u, nil
	}
}

type consulSource struct {
	ConsulConfig
	env       Env
	client    *api.Client
	transport *http.Transport
	loopback  bool // instances on loopback are welcome
}

func newConsul(c ConsulConfig, env Env) (gateway.Source, error) {
	return dialConsul(c, env, (&net.Dialer{Timeout: 5 * time.Second}).DialContext)
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

func dialConsul(c ConsulConfig, env Env, dial dialFunc) (*consulSource, error) {
	if c.Service == "" {
		return nil, kind.At("service", "is required: the name of the service in Consul")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := parseConsulAddress(c.Address)
	if err != nil {
		return nil, kind.At("address", "%w", err)
	}
	s := &consulSource{
		ConsulConfig: c, env: env,
		transport: &http.Transport{DialContext: dial, TLSHandshakeTimeout: 5 * time.Second, DisableCompression: true},
		loopback:  c.AllowLoopback || isLoopback(u.Hostname()),
	}
	// Address, scheme and token are set so that the client's environment
	// variables change nothing: the configuration says where secrets go.
	s.client, err = api.NewClient(&api.Config{
		Address: u.Host, Scheme: u.Scheme, PathPrefix: strings.TrimSuffix(u.Path, "/"),
		HttpClient: &http.Client{
			Transport: &consulTransport{s.transport, c.Token},
			// Consul never redirects its API, and net/http would show the token to wherever a redirect leads.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make consul client: %w", err)
	}
	return s, nil
}

// consulTransport sends exactly the configured token and bounds the answers.
type consulTransport struct {
	base  http.RoundTripper
	token gateway.Secret
}

func (t *consulTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Del("X-Consul-Token")
	if t.token != "" {
		r.Header.Set("X-Consul-Token", t.token.Reveal())
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, consulAnswerLimit)
	return resp, nil
}

// consulWatch is the state of one Watch.
type consulWatch struct {
	*consulSource
	publish func([]gateway.Target)
	log     *slog.Logger
	index   uint64 // of the last answer; 0 asks for one at once
	pace    pace   // of queries, and so of publishing too
	last    grace
	skipped skips // in the last answer
}

// Watch implements gateway.Source.
func (s *consulSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	defer s.transport.CloseIdleConnections()
	out := newOutage(s.env, "service", s.Service)
	w := &consulWatch{consulSource: s, publish: publish, log: out.log, last: grace{length: s.Grace, log: out.log}}
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
	limit, opts := consulFirstLimit, &api.QueryOptions{Datacenter: w.Datacenter, AllowStale: w.Stale}
	if w.index > 0 {
		wait := w.last.shorten(w.Wait)
		opts.WaitIndex, opts.WaitTime = w.index, wait
		limit = wait + wait/16 + consulMargin // Consul adds up to a sixteenth, so that not all return at once
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	entries, meta, err := w.client.Health().ServiceMultipleTags(w.Service, w.Tags, false, opts.WithContext(ctx))
	if err != nil {
		return consulSet{}, w.cleanError(err)
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

// cleanError makes a new error: the text of the old one may be a page of HTML,
// and may repeat the token.
func (w *consulWatch) cleanError(err error) error {
	text := err.Error()
	if token := w.Token.Reveal(); token != "" {
		text = strings.ReplaceAll(text, token, w.Token.String())
	}
	return fmt.Errorf("ask consul: %.400s", strings.ToValidUTF8(text, "?"))
}

// accept publishes the set, unless all instances have vanished.
func (w *consulWatch) accept(set consulSet) {
	set.skipped.log(w.log, w.skipped)
	w.skipped = set.skipped
	if !w.last.holds(len(set.targets), len(set.targets) == 0 && set.unhealthy == 0) {
		w.publish(set.targets)
	}
}

func consulInstances(entries []*api.ServiceEntry) []consulInstance {
	instances := make([]consulInstance, 0, len(entries))
	for _, e := range entries {
		if e == nil || e.Service == nil {
			continue
		}
		in := consulInstance{
			id: e.Service.ID, address: e.Service.Address, port: e.Service.Port, weight: e.Service.Weights.Passing,
			tags: e.Service.Tags, meta: e.Service.Meta, passing: consulPassing(e.Checks),
		}
		if e.Node != nil {
			in.nodeAddress = e.Node.Address
			in.zone = consulZone(e.Node.Locality)
		}
		if zone := consulZone(e.Service.Locality); zone != "" {
			in.zone = zone
		}
		instances = append(instances, in)
	}
	return instances
}

func consulZone(l *api.Locality) string {
	if l == nil {
		return ""
	}
	return l.Zone
}

func consulPassing(checks api.HealthChecks) bool {
	for _, check := range checks {
		if check == nil || check.Status != api.HealthPassing {
			return false
		}
	}
	return true
}

// pace is a token bucket: after a quiet time the first changes are seen at once,
// because registering one instance is often more than one change, and from then
// on there is one query a second, however many changes there are. So churn costs
// little, and no change waits for longer than a second and a round trip.
type pace struct {
	full time.Time // when the bucket is full again
}

const (
	paceEvery = time.Second
	paceBurst = 3
)

// reserve takes a token and returns how long to wait until it is there.
func (p *pace) reserve(now time.Time) time.Duration {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(paceEvery)
	return p.full.Sub(now) - paceBurst*paceEvery
}
