package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	dnsMinTTL = 5 * time.Second // between two looks that went well, whatever the records say
	dnsMaxTTL = 5 * time.Minute

	dnsMinBackoff = 2 * time.Second
	dnsMaxBackoff = 8 * time.Second
)

// DNSConfig takes the addresses that a name has in DNS, looked up again when
// their time to live ends, but after 5s at the soonest and about 5m at the latest. Of
// a name, 64 addresses are used. With `srv` the records of the name are services
// (RFC 2782): those of the lowest priority tell the ports, the weights, and up
// to 64 names that have the addresses. When no server answers, or one answers
// with an error such as NXDOMAIN, the last set stays in use for as long as it takes.
//
//	dns: {name: orders.internal, port: 9000}
type DNSConfig struct {
	// Name to look up, as it is: search domains are not applied. Required.
	Name string `yaml:"name"`
	// Port of all the addresses. Required, and not allowed with `srv`.
	Port int `yaml:"port"`
	// SRV asks for the services of a name such as `_http._tcp.orders.internal`. Each
	// address has the weight of its record; weights above 100 are scaled down together. Default: false.
	SRV bool `yaml:"srv"`
	// Family of the addresses: `ipv4`, `ipv6` or `both`. Default: both.
	Family string `yaml:"family"`
	// Resolver is the address of a name server, `10.0.0.2:53`, or up to three with
	// spaces between; the next one is asked when one fails. Default: those of /etc/resolv.conf.
	Resolver string `yaml:"resolver"`
	// Grace is how long the last set stays in use when the name exists but has no
	// records left. Default: 30s.
	Grace time.Duration `yaml:"grace"`
	// AllowLoopback accepts loopback addresses. They are also accepted when `resolver`
	// names servers on loopback only. Default: false.
	AllowLoopback bool `yaml:"allow_loopback"`
}

func init() {
	kind.Add(Kinds, "dns", DNSConfig{Family: "both", Grace: 30 * time.Second}, newDNS)
}

// dnsFamilies are the types of records to ask for, in this order.
var dnsFamilies = map[string][]dnsmessage.Type{
	"both": {dnsmessage.TypeA, dnsmessage.TypeAAAA},
	"ipv4": {dnsmessage.TypeA},
	"ipv6": {dnsmessage.TypeAAAA},
}

// Validate checks the settings.
func (c DNSConfig) Validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, kind.At("name", "is required"))
	} else if _, err := parseName(c.Name); err != nil {
		errs = append(errs, kind.At("name", "%w", err))
	}
	switch {
	case c.SRV && c.Port != 0:
		errs = append(errs, kind.At("port", "must be left out: with srv the records tell it"))
	case !c.SRV && c.Port == 0:
		errs = append(errs, kind.At("port", "is required"))
	case c.Port < 0, c.Port > 65535:
		errs = append(errs, kind.At("port", "must be 1 to 65535, not %d", c.Port))
	}
	if dnsFamilies[c.Family] == nil {
		errs = append(errs, kind.At("family", "must be ipv4, ipv6 or both, not %q", c.Family))
	}
	if _, err := parseServers(c.Resolver); err != nil {
		errs = append(errs, kind.At("resolver", "%w", err))
	}
	if c.Grace < 0 {
		errs = append(errs, kind.At("grace", "must not be negative"))
	}
	return errors.Join(errs...)
}

// parseName accepts what parseHost does except for addresses, and returns it as
// names stand in answers.
func parseName(name string) (string, error) {
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("is an address, not a name")
	}
	host, err := parseHost(name)
	return host + ".", err
}

type dnsSource struct {
	DNSConfig
	env      Env
	dial     dialFunc
	name     string // of DNSConfig, as it stands in answers
	servers  []netip.AddrPort
	conf     string // names the servers if there are none here
	types    []dnsmessage.Type
	loopback bool // addresses on loopback are welcome
	minTTL   time.Duration
}

func newDNS(c DNSConfig, env Env) (gateway.Source, error) {
	return share(env, fmt.Sprintf("dns %#v", c), func(env Env) (*dnsSource, error) {
		return dialDNS(c, env, (&net.Dialer{}).DialContext)
	})
}

func dialDNS(c DNSConfig, env Env, dial dialFunc) (*dnsSource, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &dnsSource{DNSConfig: c, env: env, dial: dial, conf: dnsConf, types: dnsFamilies[c.Family], minTTL: dnsMinTTL}
	// Neither of these can fail after Validate.
	s.name, _ = parseName(c.Name)
	s.servers, _ = parseServers(c.Resolver)
	// The servers of /etc/resolv.conf do not count: many systems have a forwarder
	// on loopback, through which everybody's names can be looked up.
	remote := func(server netip.AddrPort) bool { return !server.Addr().Unmap().IsLoopback() }
	s.loopback = c.AllowLoopback || len(s.servers) > 0 && !slices.ContainsFunc(s.servers, remote)
	return s, nil
}

// dnsWatch is the state of one Watch.
type dnsWatch struct {
	*dnsSource
	publish func([]gateway.Target)
	log     *slog.Logger
	client  *dnsClient
	known   map[string][]netip.Addr // the last addresses of each name in use
	last    grace
	skipped skips // in the last set
}

// Watch implements gateway.Source.
func (s *dnsSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	out := newOutage(s.env, "name", strings.TrimSuffix(s.name, "."))
	w := &dnsWatch{
		dnsSource: s, publish: publish, log: out.log,
		client: &dnsClient{dial: s.dial}, last: grace{length: s.Grace, log: out.log},
	}
	backoff := dnsMinBackoff
	for {
		start, before := time.Now(), w.client.unanswered()
		set, err := w.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := w.accept(set)
		if err == nil {
			out.over()
		} else {
			out.failed(err, false)
			// A server in trouble gets one query a second, however many it takes.
			rest := time.Until(start.Add(time.Duration(w.client.unanswered()-before) * time.Second))
			wait = max(wait, rest)
		}
		if set != nil {
			backoff = dnsMinBackoff
		} else {
			wait = max(wait, backoff/2+rand.N(backoff/2))
			backoff = min(2*backoff, dnsMaxBackoff)
		}
		pause(ctx, wait)
	}
}

// accept publishes a set, unless all addresses have vanished, and returns how
// long it is valid.
func (w *dnsWatch) accept(set *dnsSet) time.Duration {
	if set == nil {
		return 0
	}
	set.skipped.tell(w.log, w.env, w.skipped)
	w.skipped = set.skipped
	if !w.last.holds(len(set.targets), len(set.targets) == 0) {
		w.publish(set.targets)
	}
	ttl := min(max(set.ttl, w.minTTL), dnsMaxTTL)
	// A little more than that, so that upstreams which began together do not
	// all ask together.
	return w.last.shorten(ttl + rand.N(ttl/16))
}
