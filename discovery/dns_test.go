package discovery

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// dnsDefaults are the settings that an operator gets with `{dns: {name: orders.internal, port: 9000}}`.
func dnsDefaults() DNSConfig {
	k, _ := Kinds.Get("dns")
	c := k.Defaults().(DNSConfig)
	c.Name, c.Port, c.Resolver = "orders.internal", 9000, "10.0.0.53"
	return c
}

// withSRV makes the settings those of a lookup of services.
func withSRV(c *DNSConfig) { c.Name, c.Port, c.SRV = "_http._tcp.orders.internal", 0, true }

// dnsBench is a source that watches a fake name server inside a synctest bubble.
type dnsBench struct {
	*fakeDNS
	bench
	source *dnsSource
}

func newDNSBench(t *testing.T, change func(*DNSConfig), lines ...string) *dnsBench {
	b := &dnsBench{fakeDNS: new(fakeDNS), bench: bench{t: t}}
	b.set(zone(lines...)...)
	c := dnsDefaults()
	if change != nil {
		change(&c)
	}
	source, err := dialDNS(c, b.env(), b.dial)
	must(t, err)
	b.source = source
	return b
}

func (b *dnsBench) watch() { b.bench.watch(b.source, func() {}) }

// inDNS runs f with a fake that has the records and a source that has looked.
func inDNS(t *testing.T, change func(*DNSConfig), f func(t *testing.T, b *dnsBench), lines ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newDNSBench(t, change, lines...)
		b.watch()
		f(t, b)
	})
}

const one = "orders.internal. 30 A 10.0.0.1"

func TestDNSConformance(t *testing.T) {
	records := func(srv bool, targets []gateway.Target) (all []dnsmessage.Resource) {
		for i, target := range targets {
			host, _, _ := net.SplitHostPort(target.Addr)
			if !srv {
				all = append(all, record("orders.internal. 0 A "+host))
				continue
			}
			name := fmt.Sprintf("orders-%d.internal.", i)
			all = append(all, record("_http._tcp.orders.internal. 0 SRV 10 1 9000 "+name), record(name+" 0 A "+host))
		}
		return all
	}
	f := func(change func(*DNSConfig)) func(*testing.T) {
		return func(t *testing.T) {
			discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, failed func(error)) discoverytest.Bench {
				server := new(fakeDNS)
				c := dnsDefaults()
				change(&c)
				c.Resolver = server.listen(t)
				set := func(targets []gateway.Target) { server.set(records(c.SRV, targets)...) }
				set(targets)
				source, err := newDNS(c, Env{Failed: failed})
				must(t, err)
				source.(*sharedSource).askingSource.(*dnsSource).minTTL = 20 * time.Millisecond
				return discoverytest.Bench{
					Plain: true, Source: source, Set: set,
					Break: func() { server.fail(dnsServfail) }, Mend: func() { server.fail(dnsFine) },
				}
			})
		}
	}
	t.Run("addresses", f(func(*DNSConfig) {}))
	t.Run("services", f(withSRV))
}

// wantDNS checks what the source publishes at first, and returns its log.
func wantDNS(t *testing.T, change func(*DNSConfig), want []gateway.Target, lines ...string) string {
	t.Helper()
	var log string
	synctest.Test(t, func(t *testing.T) {
		b := newDNSBench(t, change, lines...)
		var got []gateway.Target
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		must(t, b.source.Watch(ctx, func(targets []gateway.Target) { got = targets; cancel() }))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("targets (-want +got):\n%s", diff)
		}
		log = b.logs()
	})
	return log
}

// targetsOf are targets with the weights that stand behind their addresses: "10.0.0.1:80*3".
func targetsOf(words ...string) (targets []gateway.Target) {
	for _, word := range words {
		addr, weight, weighed := strings.Cut(word, "*")
		target := gateway.Target{Addr: addr, Weight: 1}
		if weighed {
			_, _ = fmt.Sscan(weight, &target.Weight)
		}
		targets = append(targets, target)
	}
	return targets
}

func TestDNSAddresses(t *testing.T) {
	f := func(family string, want ...string) {
		t.Helper()
		wantDNS(t, func(c *DNSConfig) { c.Family = family }, targetsOf(want...),
			"orders.internal. 30 AAAA 2001:db8::2", "ORDERS.internal. 30 A 10.0.0.2", one, one, "orders.internal. 30 AAAA ::ffff:10.0.0.9",
			"other.internal. 30 A 10.0.0.8")
	}
	f("both", "10.0.0.1:9000", "10.0.0.2:9000", "10.0.0.9:9000", "[2001:db8::2]:9000")
	f("ipv4", "10.0.0.1:9000", "10.0.0.2:9000")
	f("ipv6", "10.0.0.9:9000", "[2001:db8::2]:9000")
	t.Run("aliases, in any order", func(t *testing.T) {
		wantDNS(t, nil, targetsOf("10.0.0.1:9000"),
			"b.internal. 30 CNAME C.internal.", "c.internal. 30 A 10.0.0.1", "orders.internal. 30 CNAME b.internal.")
	})
	t.Run("a name in another spelling", func(t *testing.T) {
		wantDNS(t, func(c *DNSConfig) { c.Name = "Orders.INTERNAL." }, targetsOf("10.0.0.1:9000"), one)
	})
}

func TestDNSDeniedAddresses(t *testing.T) {
	t.Run("D01", func(t *testing.T) {
		for _, addr := range []string{
			"A 127.0.0.1", "A 127.8.8.8", "AAAA ::1", "AAAA ::ffff:127.0.0.1", "A 0.0.0.0", "AAAA ::",
			"A 169.254.169.254", "AAAA ::ffff:169.254.169.254", "AAAA fe80::1", "A 224.0.0.1", "AAAA ff02::1", "A 255.255.255.255",
		} {
			log := wantDNS(t, nil, targetsOf("10.0.0.1:9000"), one, "orders.internal. 30 "+addr)
			if strings.Count(log, "instances skipped") != 1 || !strings.Contains(log, "denied") {
				t.Errorf("%s: want one line that says so, got:\n%s", addr, log)
			}
			wantDNS(t, withSRV, targetsOf("10.0.0.1:80"), "_http._tcp.orders.internal. 30 SRV 0 0 80 orders.internal.", one,
				"_http._tcp.orders.internal. 30 SRV 0 0 80 bad.internal.", "bad.internal. 30 "+addr)
		}
		loopback, metadata := "orders.internal. 30 A 127.0.0.1", "orders.internal. 30 A 169.254.169.254"
		f := func(resolver string, want ...string) {
			t.Helper()
			wantDNS(t, func(c *DNSConfig) { c.Resolver = resolver }, targetsOf(want...), loopback, metadata)
		}
		f("127.0.0.1:8600", "127.0.0.1:9000")
		f("[::1]:53 127.0.0.53", "127.0.0.1:9000")
		f("127.0.0.1 10.0.0.53")
		f("169.254.169.253")
		wantDNS(t, func(c *DNSConfig) { c.AllowLoopback = true }, targetsOf("127.0.0.1:9000"), loopback, metadata)
	})
	t.Run("D01 a forwarder of the system on loopback allows nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newDNSBench(t, func(c *DNSConfig) { c.Resolver = "" }, one, "orders.internal. 30 A 127.0.0.1")
			b.source.conf = filepath.Join(t.TempDir(), "resolv.conf")
			must(t, os.WriteFile(b.source.conf, []byte("nameserver 127.0.0.53\n"), 0o600))
			b.watch()
			b.is("10.0.0.1:9000")
		})
	})
}

func TestDNSServices(t *testing.T) {
	srv := "_http._tcp.orders.internal. 30 SRV "
	a, b := "a.internal. 30 A 10.0.0.1", "b.internal. 30 A 10.0.0.2"
	f := func(name string, want []gateway.Target, lines ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) { t.Helper(); wantDNS(t, withSRV, want, lines...) })
	}
	f("only the lowest priority", targetsOf("10.0.0.2:80"), srv+"20 5 81 a.internal.", srv+"10 0 80 b.internal.", a, b)
	f("weights", targetsOf("10.0.0.1:80*7", "10.0.0.2:80*100"), srv+"0 7 80 a.internal.", srv+"0 100 80 b.internal.", a, b)
	f("weights above 100", targetsOf("10.0.0.1:80*25", "10.0.0.2:80*100"), srv+"0 15000 80 a.internal.", srv+"0 60000 80 b.internal.", a, b)
	f("weights far apart", targetsOf("10.0.0.1:80", "10.0.0.2:80*100"), srv+"0 1 80 a.internal.", srv+"0 60000 80 b.internal.", a, b)
	f("a weight is that of each address", targetsOf("10.0.0.1:80*3", "10.0.0.3:80*3"), srv+"0 3 80 a.internal.", a, "a.internal. 30 A 10.0.0.3")
	f("two ports of a host", targetsOf("10.0.0.1:80*2", "10.0.0.1:81*3"), srv+"0 2 80 a.internal.", srv+"0 3 81 A.internal.", a)
	f("the same address twice", targetsOf("10.0.0.1:80*9"), srv+"0 2 80 a.internal.", srv+"0 9 80 c.internal.", a, "c.internal. 30 CNAME a.internal.")
	f("D03 port 0", targetsOf("10.0.0.2:80*2"), srv+"0 2 0 a.internal.", srv+"0 2 80 b.internal.", a, b)
	f("D02 a target that is an address", targetsOf("10.0.0.2:80*2"), srv+"0 2 80 10.0.0.9.", srv+"0 2 80 b.internal.", b)
	f("D02 a target that is no host name", targetsOf("10.0.0.2:80*2"), srv+"0 2 80 a/b.internal.", srv+"0 2 80 b.internal.", b)
	f("a service that the domain does not have", nil, srv+"0 0 0 .")
	f("no service beside one", targetsOf("10.0.0.2:80"), srv+"0 0 0 .", srv+"10 0 80 b.internal.", b)
	f("a target without addresses", targetsOf("10.0.0.2:80*2"), srv+"0 2 80 a.internal.", srv+"0 2 80 b.internal.", b)
}

func TestDNSValidate(t *testing.T) {
	f := func(want string, change func(*DNSConfig)) {
		t.Helper()
		c := dnsDefaults()
		change(&c)
		_, err := newDNS(c, Env{})
		var got []string
		for _, e := range kind.SettingErrors(err) {
			got = append(got, e.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
	}
	f("", func(*DNSConfig) {})
	f("", withSRV)
	f("", func(c *DNSConfig) {
		c.Name, c.Resolver = "orders.internal.", "10.0.0.2 10.0.0.3:5353  [2001:db8::1]:53"
	})
	f("name: is required; port: is required", func(c *DNSConfig) { c.Name, c.Port = "", 0 })
	f(`name: "orders internal" is no host name`, func(c *DNSConfig) { c.Name = "orders internal" })
	f("name: is an address, not a name", func(c *DNSConfig) { c.Name = "10.0.0.1" })
	f(`name: "127.1" is neither an IP address nor a host name`, func(c *DNSConfig) { c.Name = "127.1" })
	f("port: must be left out: with srv the records tell it", func(c *DNSConfig) { c.SRV = true })
	f("port: must be 1 to 65535, not 70000", func(c *DNSConfig) { c.Port = 70000 })
	f("port: must be 1 to 65535, not -1", func(c *DNSConfig) { c.Port = -1 })
	f(`family: must be ipv4, ipv6 or both, not "v4"`, func(c *DNSConfig) { c.Family = "v4" })
	f(`resolver: "dns.example.com" is no address of a name server; write for example 10.0.0.2:53`, func(c *DNSConfig) { c.Resolver = "dns.example.com" })
	f(`resolver: "10.0.0.2:0" is no address of a name server; write for example 10.0.0.2:53`, func(c *DNSConfig) { c.Resolver = "10.0.0.2:0" })
	f("resolver: 4 name servers are more than 3", func(c *DNSConfig) { c.Resolver = "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4" })
	f("grace: must not be negative", func(c *DNSConfig) { c.Grace = -1 })
}
