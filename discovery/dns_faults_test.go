package discovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const other = "orders.internal. 30 A 10.0.0.2"

// TestDNSFaults has one subtest for each way in which name servers fail. The
// clock is synctest's, so ten minutes of outage are ten minutes.
func TestDNSFaults(t *testing.T) {
	t.Run("fault 9", func(t *testing.T) {
		for name, fault := range map[string]dnsFault{
			"NXDOMAIN": dnsNXDomain, "SERVFAIL": dnsServfail, "REFUSED": dnsRefused, "silence": dnsSilent, "referral": dnsLame,
		} {
			t.Run(name, func(t *testing.T) { keepsLastDNS(t, nil, fault) })
			t.Run(name+" of services", func(t *testing.T) { keepsLastDNS(t, withSRV, fault) })
			t.Run(name+" of three servers", func(t *testing.T) {
				keepsLastDNS(t, func(c *DNSConfig) { c.Resolver = "10.0.0.53 10.0.0.54 10.0.0.55" }, fault)
			})
		}
		t.Run("5 s delay", func(t *testing.T) {
			inDNS(t, nil, func(_ *testing.T, b *dnsBench) {
				b.change(func() { b.delay = 5 * time.Second })
				b.after(10 * time.Minute)
				b.expectCalls()
				b.set(record(other))
				b.after(time.Minute).is("10.0.0.2:9000")
			}, one)
		})
		t.Run("started in the middle of it", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newDNSBench(t, nil, one)
				b.fail(dnsServfail)
				b.watch()
				b.after(10 * time.Minute)
				if sets, failures := b.all(); len(sets) != 0 || len(failures) == 0 {
					t.Errorf("published %v after %d failures", sets, len(failures))
				}
				b.expectCalls()
				b.fail(dnsFine)
				b.after(8 * time.Second).is("10.0.0.1:9000")
			})
		})
	})
	t.Run("D11", func(t *testing.T) {
		for name, fault := range map[string]dnsFault{
			"alias of itself": dnsLoop, "garbage": dnsGarbage, "half a message": dnsHalf, "cut off by TCP": dnsCut,
			"another id": dnsWrongID, "another question": dnsWrongName, "the query itself": dnsEcho,
		} {
			t.Run(name, func(t *testing.T) { keepsLastDNS(t, nil, fault) })
		}
	})
}

// keepsLastDNS checks that nothing is published in ten minutes of a fault, that
// it costs one query a second at most, and that all is well soon after it.
func keepsLastDNS(t *testing.T, change func(*DNSConfig), fault dnsFault) {
	t.Helper()
	const service = "_http._tcp.orders.internal. 30 SRV 0 1 9000 orders.internal."
	inDNS(t, change, func(t *testing.T, b *dnsBench) {
		b.is("10.0.0.1:9000")
		before, _ := b.all()
		b.fail(fault)
		start := time.Now()
		b.after(10 * time.Minute)
		sets, failures := b.all()
		if len(sets) != len(before) || len(failures) == 0 {
			t.Errorf("published %v after %d failures", sets[len(before):], len(failures))
		}
		if n := strings.Count(b.logs(), "discovery fails"); n != 1 {
			t.Errorf("%d lines for one outage", n)
		}
		b.expectCallsSince(start.Add(29*time.Second), 1)
		b.set(zone(service, other)...)
		b.fail(dnsFine)
		b.after(30 * time.Second).is("10.0.0.2:9000")
		if n := strings.Count(b.logs(), "discovery works again"); n != 1 {
			t.Errorf("%d lines for one recovery", n)
		}
	}, service, one)
}

// expectCalls checks that there was one query a second at most.
func (b *dnsBench) expectCalls() {
	b.t.Helper()
	b.expectCallsSince(time.Time{}, 2)
}

// expectCallsSince allows one query a second, and a burst of a look at three servers.
func (b *dnsBench) expectCallsSince(start time.Time, types int) {
	b.t.Helper()
	calls := b.asked()
	calls = slices.DeleteFunc(calls, func(c dnsCall) bool { return c.at.Before(start) })
	for i, first := range calls {
		for j, last := range calls[i:] {
			if seconds := int(last.at.Sub(first.at) / time.Second); j+1 > seconds+3*types {
				b.t.Errorf("%d queries in %d s", j+1, seconds)
				return
			}
		}
	}
}

func TestDNSBounds(t *testing.T) {
	t.Run("D11 1,000 addresses", func(t *testing.T) {
		lines := make([]string, 0, 1000)
		for i := range cap(lines) {
			lines = append(lines, fmt.Sprintf("orders.internal. 30 A 10.0.%d.%d", i/250, i%250+1))
		}
		inDNS(t, nil, func(t *testing.T, b *dnsBench) {
			sets, _ := b.all()
			addrs := strings.Fields(sets[0].addrs)
			if len(addrs) != 64 {
				t.Errorf("%d addresses are used", len(addrs))
			}
			if calls := b.asked(); calls[0].network != "udp" || calls[0].edns != 1232 || calls[1].network != "tcp" {
				t.Errorf("asked %+v", calls)
			}
			b.change(func() { slices.Reverse(b.records) })
			b.after(time.Minute).is(sets[0].addrs)
			if logs := b.logs(); strings.Count(logs, "too many instances") != 1 || !strings.Contains(logs, "limit=64 left_out=936") {
				t.Errorf("want one line, got:\n%s", logs)
			}
		}, lines...)
	})
	t.Run("D11 addresses that are denied take no place", func(t *testing.T) {
		lines := []string{"orders.internal. 30 A 200.0.0.1"}
		for i := range 200 {
			lines = append(lines, fmt.Sprintf("orders.internal. 30 A 127.0.0.%d", i+1))
		}
		wantDNS(t, nil, targetsOf("200.0.0.1:9000"), lines...)
	})
	t.Run("D11 1,000 services", func(t *testing.T) {
		var lines []string
		for i := range 1000 {
			lines = append(lines, fmt.Sprintf("_http._tcp.orders.internal. 30 SRV 0 1 80 host-%03d.internal.", i),
				fmt.Sprintf("host-%03d.internal. 30 A 10.0.%d.%d", i, i/250, i%250+1))
		}
		inDNS(t, withSRV, func(t *testing.T, b *dnsBench) {
			sets, _ := b.all()
			if n := len(strings.Fields(sets[0].addrs)); n != 64 {
				t.Errorf("%d services are used", n)
			}
			if n := len(b.asked()); n != 2+2*64 {
				t.Errorf("%d queries", n)
			}
		}, lines...)
	})
	t.Run("D11 chains of aliases", func(t *testing.T) {
		chain := func(n int) []string {
			lines := []string{fmt.Sprintf("alias-%d.internal. 30 A 10.0.0.1", n)}
			for i := range n {
				lines = append(lines, fmt.Sprintf("alias-%d.internal. 30 CNAME alias-%d.internal.", i, i+1))
			}
			return lines
		}
		alias := func(c *DNSConfig) { c.Name = "alias-0.internal" }
		wantDNS(t, alias, targetsOf("10.0.0.1:9000"), chain(8)...)
		if log := wantDNS(t, alias, nil, chain(9)...); !strings.Contains(log, "more than 8 times") {
			t.Errorf("want a line about aliases, got:\n%s", log)
		}
	})
}

func TestDNSTTL(t *testing.T) {
	f := func(ttl int, want time.Duration) {
		t.Helper()
		inDNS(t, func(c *DNSConfig) { c.Family = "ipv4" }, func(t *testing.T, b *dnsBench) {
			t.Helper()
			b.after(30 * time.Minute)
			sets, _ := b.all()
			for i := range len(sets) - 1 {
				if gap := sets[i+1].at.Sub(sets[i].at); gap < want || gap > want+want/16 {
					t.Errorf("ttl %d s: a look after %s, want %s and up to a sixteenth more", ttl, gap, want)
					return
				}
			}
			if len(sets) < 3 {
				t.Errorf("ttl %d s: %d confirmations in half an hour", ttl, len(sets))
			}
			if calls := b.asked(); len(calls) != len(sets) {
				t.Errorf("ttl %d s: %d queries for %d sets", ttl, len(calls), len(sets))
			}
		}, fmt.Sprintf("orders.internal. %d A 10.0.0.1", ttl), "orders.internal. 86400 A 10.0.0.2")
	}
	t.Run("D11 TTL 0", func(t *testing.T) { f(0, 5*time.Second) })
	f(1, 5*time.Second)
	f(30, 30*time.Second)
	f(3600, 5*time.Minute)
	f(1<<31, 5*time.Second) // no number of seconds (RFC 2181, section 8)
	t.Run("the shortest one of a chain, and of all families", func(t *testing.T) {
		inDNS(t, nil, func(_ *testing.T, b *dnsBench) {
			b.set(record(one))
			b.after(10 * time.Second).is("10.0.0.1:9000 [2001:db8::1]:9000")
			b.after(3 * time.Second).is("10.0.0.1:9000")
		}, "orders.internal. 12 CNAME a.internal.", "a.internal. 30 A 10.0.0.1", "a.internal. 60 AAAA 2001:db8::1")
	})
	t.Run("the shortest one of services and hosts", func(t *testing.T) {
		inDNS(t, withSRV, func(_ *testing.T, b *dnsBench) {
			b.change(func() { b.records = b.records[:1] })
			b.after(10 * time.Second).is("10.0.0.1:80 10.0.0.2:80")
			b.change(func() { b.records = append(b.records, record("a.internal. 12 A 10.0.0.3")) })
			b.after(3 * time.Second).is("10.0.0.3:80")
		}, "_http._tcp.orders.internal. 300 SRV 0 1 80 a.internal.", "a.internal. 12 A 10.0.0.1", "a.internal. 12 A 10.0.0.2")
	})
}

func TestDNSEmptySets(t *testing.T) {
	t.Run("D09 no record is left", func(t *testing.T) {
		inDNS(t, nil, func(_ *testing.T, b *dnsBench) {
			b.set()
			b.after(60 * time.Second).is("10.0.0.1:9000")
			b.after(4 * time.Second).is("")
		}, one)
	})
	t.Run("D09 the grace ends however long the absence is valid", func(t *testing.T) {
		inDNS(t, nil, func(_ *testing.T, b *dnsBench) {
			b.set()
			b.change(func() { b.negTTL = 3600 })
			b.after(60 * time.Second).is("10.0.0.1:9000")
			b.after(4 * time.Second).is("")
		}, one)
	})
	t.Run("D09 a record comes back in time", func(t *testing.T) {
		inDNS(t, nil, func(t *testing.T, b *dnsBench) {
			b.set()
			b.after(45 * time.Second)
			b.set(record(other))
			b.after(10 * time.Second).is("10.0.0.2:9000")
			b.after(10 * time.Minute)
			for sets, _ := b.all(); len(sets) > 0; sets = sets[1:] {
				if sets[0].addrs == "" {
					t.Error("an empty set was published")
				}
			}
		}, one)
	})
	t.Run("D09 the service is withdrawn", func(t *testing.T) {
		inDNS(t, withSRV, func(_ *testing.T, b *dnsBench) {
			b.set(record("_http._tcp.orders.internal. 30 SRV 0 0 0 ."))
			b.after(60 * time.Second).is("10.0.0.1:80")
			b.after(10 * time.Second).is("")
		}, "_http._tcp.orders.internal. 30 SRV 0 1 80 a.internal.", "a.internal. 30 A 10.0.0.1")
	})
	t.Run("D09 the grace needs a server that answers", func(t *testing.T) {
		inDNS(t, nil, func(_ *testing.T, b *dnsBench) {
			b.set()
			b.after(40 * time.Second)
			b.fail(dnsServfail)
			b.after(10 * time.Minute).is("10.0.0.1:9000")
			b.fail(dnsFine)
			b.after(10 * time.Second).is("")
		}, one)
	})
	t.Run("a name without records is empty from the start", func(t *testing.T) {
		inDNS(t, nil, func(_ *testing.T, b *dnsBench) { b.is("") })
	})
	t.Run("absence has a time to live too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newDNSBench(t, func(c *DNSConfig) { c.Family = "ipv6" })
			b.negTTL = 60
			b.watch()
			b.after(50 * time.Second)
			if n := len(b.asked()); n != 1 {
				t.Errorf("%d queries within the time to live", n)
			}
			b.after(15 * time.Second)
			if n := len(b.asked()); n != 2 {
				t.Errorf("%d queries after the time to live", n)
			}
		})
	})
}

// TestDNSPartialFaults is about lookups of which a part works.
func TestDNSPartialFaults(t *testing.T) {
	six := "orders.internal. 30 AAAA 2001:db8::1"
	t.Run("only AAAA fails", func(t *testing.T) {
		inDNS(t, nil, func(t *testing.T, b *dnsBench) {
			b.fail(dnsServfail, dnsmessage.TypeAAAA)
			b.set(zone(other)...)
			b.after(35 * time.Second).is("10.0.0.2:9000 [2001:db8::1]:9000")
			if _, failures := b.all(); len(failures) == 0 {
				t.Error("no failure was reported")
			}
			b.fail(dnsFine)
			b.after(35 * time.Second).is("10.0.0.2:9000")
		}, one, six)
	})
	t.Run("AAAA has never worked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newDNSBench(t, nil, one, six)
			b.fail(dnsSilent, dnsmessage.TypeAAAA)
			b.watch()
			b.after(10 * time.Second).is("10.0.0.1:9000")
			b.after(10 * time.Minute)
			if n := strings.Count(b.logs(), "discovery fails"); n != 1 {
				t.Errorf("%d lines for one outage", n)
			}
		})
	})
	t.Run("no address is known and a part fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newDNSBench(t, nil, six)
			b.fail(dnsServfail, dnsmessage.TypeAAAA)
			b.watch()
			b.after(time.Minute)
			if sets, _ := b.all(); len(sets) != 0 {
				t.Errorf("published %v", sets)
			}
		})
	})
	srv := "_http._tcp.orders.internal. 30 SRV 0 1 80 "
	t.Run("the hosts of services fail", func(t *testing.T) {
		inDNS(t, withSRV, func(_ *testing.T, b *dnsBench) {
			b.fail(dnsServfail, dnsmessage.TypeA)
			b.set(zone(srv+"a.internal.", srv+"c.internal.")...)
			b.after(time.Minute).is("10.0.0.1:80")
			b.expectCallsSince(time.Now().Add(-25*time.Second), 8)
		}, srv+"a.internal.", srv+"b.internal.", "a.internal. 30 A 10.0.0.1", "b.internal. 30 A 10.0.0.2")
	})
	t.Run("many hosts fail at once", func(t *testing.T) {
		var lines []string
		for i := range 60 {
			lines = append(lines, fmt.Sprintf("%sh%02d.internal.", srv, i), fmt.Sprintf("h%02d.internal. 30 A 10.0.0.%d", i, i+1))
		}
		inDNS(t, withSRV, func(t *testing.T, b *dnsBench) {
			sets, _ := b.all()
			b.fail(dnsSilent, dnsmessage.TypeA)
			start, before := time.Now(), len(b.asked())
			b.after(10 * time.Minute).is(sets[0].addrs)
			if n, limit := len(b.asked())-before, int(time.Since(start)/time.Second)+40; n > limit { // 40 is a look of which nothing works
				t.Errorf("%d queries in %d s", n, limit)
			}
			b.fail(dnsFine)
			b.after(time.Minute)
			if n := strings.Count(b.logs(), "discovery works again"); n != 1 {
				t.Errorf("%d lines for one recovery", n)
			}
		}, lines...)
	})
}
