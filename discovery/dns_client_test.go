package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/dns/dnsmessage"
)

// askFake asks a fake with a fault for the addresses of a name.
func askFake(t *testing.T, s *fakeDNS) (addrs []netip.Addr, err error) {
	t.Helper()
	c := &dnsClient{dial: s.dial, servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53")}}
	answer, err := c.ask(t.Context(), "orders.internal.", dnsmessage.TypeA)
	return answer.addrs, err
}

// Whatever comes beside the answer or instead of it, the client has its answer in the end.
func TestDNSClientGetsThrough(t *testing.T) {
	f := func(name string, fault dnsFault, networks ...string) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeDNS{records: zone(one), fault: fault}
				got, err := askFake(t, s)
				if err != nil || !slices.Equal(got, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) {
					t.Errorf("got %v, %v", got, err)
				}
				var asked []string
				for _, call := range s.asked() {
					asked = append(asked, call.network)
				}
				if diff := cmp.Diff(networks, asked); diff != "" {
					t.Errorf("queries (-want +got):\n%s", diff)
				}
			})
		})
	}
	f("well", dnsFine, "udp")
	f("truncated", dnsTruncated, "udp", "tcp")
	f("a server that does not know EDNS", dnsOld, "udp", "udp")
	f("wrong answers before the right one", dnsSpoofed, "udp")
}

func TestDNSClientFails(t *testing.T) {
	f := func(name string, fault dnsFault, sends int, want string) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeDNS{records: zone(one), fault: fault}
				_, err := askFake(t, s)
				if want = "ask 10.0.0.53:53 for A of orders.internal: " + want; err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
				if n := len(s.asked()); n != sends {
					t.Errorf("%d queries, want %d", n, sends)
				}
			})
		})
	}
	f("SERVFAIL", dnsServfail, 1, "the server failed (SERVFAIL)")
	f("NXDOMAIN", dnsNXDomain, 1, "the name does not exist (NXDOMAIN)")
	f("REFUSED", dnsRefused, 1, "the server refused (REFUSED)")
	f("silence", dnsSilent, 3, "no answer in 6s")
	f("another id", dnsWrongID, 3, "no answer in 6s")
	f("another question", dnsWrongName, 3, "no answer in 6s")
	f("the query itself", dnsEcho, 3, "no answer in 6s")
	f("garbage", dnsGarbage, 3, "no answer in 6s")
	f("half a message", dnsHalf, 1, "read answer: insufficient data for base length type")
	f("alias of itself", dnsLoop, 1, "the name is an alias of an alias, and so on, more than 8 times")
	f("referral", dnsLame, 1, "the server neither knows the name nor asks others")
}

func TestDNSClientServers(t *testing.T) {
	first, second := netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("10.0.0.54:53")
	t.Run("the next one is asked when one fails, and from then on first", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			bad, good := &fakeDNS{fault: dnsServfail}, &fakeDNS{records: zone(one)}
			c := &dnsClient{servers: []netip.AddrPort{first, second}, dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == first.String() {
					return bad.dial(ctx, network, addr)
				}
				return good.dial(ctx, network, addr)
			}}
			for range 3 {
				if _, err := c.ask(t.Context(), "orders.internal.", dnsmessage.TypeA); err != nil {
					t.Error(err)
				}
			}
			if b, g := len(bad.asked()), len(good.asked()); b != 1 || g != 3 {
				t.Errorf("%d queries to the bad one and %d to the good one", b, g)
			}
		})
	})
	t.Run("NXDOMAIN is an answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeDNS{fault: dnsNXDomain}
			c := &dnsClient{servers: []netip.AddrPort{first, second}, dial: s.dial}
			_, err := c.ask(t.Context(), "orders.internal.", dnsmessage.TypeA)
			if !errors.Is(err, dnsFailure(dnsmessage.RCodeNameError)) || len(s.asked()) != 1 {
				t.Errorf("%d queries and %v", len(s.asked()), err)
			}
		})
	})
	t.Run("a lost packet costs 2 s", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeDNS{records: zone(one), fault: dnsSilent}
			time.AfterFunc(time.Second, func() { s.fail(dnsFine) })
			start := time.Now()
			if _, err := askFake(t, s); err != nil || time.Since(start) != 2*time.Second {
				t.Errorf("%s and %v", time.Since(start), err)
			}
		})
	})
	t.Run("the end of the context ends a query", func(t *testing.T) {
		for _, fault := range []dnsFault{dnsSilent, dnsTruncated} {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeDNS{fault: fault}
				c := &dnsClient{servers: []netip.AddrPort{first, second}, dial: s.dial}
				if fault == dnsTruncated { // by TCP nothing answers
					c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
						if network == "udp" {
							return s.dial(ctx, network, addr)
						}
						near, far := net.Pipe()
						context.AfterFunc(ctx, func() { far.Close() })
						return near, nil
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				start := time.Now()
				if _, err := c.ask(ctx, "orders.internal.", dnsmessage.TypeA); err == nil || time.Since(start) != 1500*time.Millisecond {
					t.Errorf("%s and %v", time.Since(start), err)
				}
			})
		}
	})
	t.Run("no server listens", func(t *testing.T) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		must(t, err)
		closed := netip.MustParseAddrPort(conn.LocalAddr().String())
		must(t, conn.Close())
		c := &dnsClient{servers: []netip.AddrPort{closed}, dial: (&net.Dialer{}).DialContext}
		start := time.Now()
		if _, err := c.ask(t.Context(), "orders.internal.", dnsmessage.TypeA); err == nil || time.Since(start) > dnsPatience {
			t.Errorf("%s and %v", time.Since(start), err)
		}
	})
}

// What somebody who does not see the queries would have to guess.
func TestDNSClientIsHardToSpoof(t *testing.T) {
	s := &fakeDNS{records: zone(one)}
	ports := make(map[string]bool)
	c := &dnsClient{
		servers: []netip.AddrPort{netip.MustParseAddrPort(s.listen(t))},
		dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				ports[conn.LocalAddr().String()] = true
			}
			return conn, err
		},
	}
	const n = 200
	ids, steps := make(map[uint16]bool), make(map[uint16]bool)
	for range n {
		_, err := c.ask(t.Context(), "orders.internal.", dnsmessage.TypeA)
		must(t, err)
	}
	calls := s.asked()
	for i, call := range calls {
		ids[call.id] = true
		if i > 0 {
			steps[call.id-calls[i-1].id] = true
		}
	}
	if len(ids) < n*9/10 || len(steps) < n*9/10 || len(ports) < n/2 {
		t.Errorf("%d ids with %d steps between them and %d ports in %d queries", len(ids), len(steps), len(ports), n)
	}
}

func TestDNSResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := func(text string, want ...string) {
		t.Helper()
		must(t, os.WriteFile(path, []byte(text), 0o600))
		servers, err := readServers(path)
		must(t, err)
		var got []string
		for _, server := range servers {
			got = append(got, server.String())
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	f("# made by hand\nsearch internal\nnameserver 10.0.0.2\noptions ndots:5 rotate\n nameserver\t2001:db8::1 # second\n", "10.0.0.2:53", "[2001:db8::1]:53")
	f("nameserver fe80::1%eth0", "[fe80::1%eth0]:53")
	f("nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n", "10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53")
	f("nameserver dns.example.com\nnameservers 10.0.0.1\nnameserver\n", "127.0.0.1:53")
	f("", "127.0.0.1:53")
	if servers, err := readServers(path + ".missing"); err != nil || len(servers) != 1 {
		t.Errorf("a missing file gives %v and %v", servers, err)
	}
	if _, err := readServers(t.TempDir()); err == nil {
		t.Error("a folder was read")
	}
	t.Run("it is read again for each look", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var asked []string
			b := newDNSBench(t, func(c *DNSConfig) { c.Resolver, c.Family = "", "ipv4" }, one)
			b.source.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				asked = append(asked, addr)
				return b.dial(ctx, network, addr)
			}
			b.source.conf = path
			must(t, os.WriteFile(path, []byte("nameserver 10.0.0.2\n"), 0o600))
			b.watch()
			must(t, os.WriteFile(path, []byte("nameserver 10.0.0.3\n"), 0o600))
			b.after(40 * time.Second)
			if diff := cmp.Diff([]string{"10.0.0.2:53", "10.0.0.3:53"}, asked); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
		})
	})
}
