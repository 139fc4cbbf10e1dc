package discovery

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/pithead/pithead/gateway"
)

// FuzzDNSAnswer holds whatever a name server may say against what the rest of
// the gateway relies on, and against a reader that knows nothing of time,
// order or bounds.
func FuzzDNSAnswer(f *testing.F) {
	zones := [][]dnsmessage.Resource{
		zone(one, other, "orders.internal. 30 AAAA 2001:db8::1"),
		zone("orders.internal. 30 CNAME a.internal.", "a.internal. 5 CNAME b.internal.", "b.internal. 1 A 127.0.0.1"),
		zone("orders.internal. 30 SRV 1 2 80 a.internal.", "orders.internal. 30 SRV 1 65535 0 b.internal.", "orders.internal. 9 SRV 0 0 0 ."),
		nil,
	}
	for _, records := range zones {
		for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV} {
			for fault := dnsFine; fault <= dnsLame; fault++ {
				q := fuzzQuery(typ)
				msg, err := q.pack()
				if err != nil {
					f.Fatal(err)
				}
				s := &fakeDNS{records: records, negTTL: 7, fault: fault}
				replies, _ := s.reply("udp", msg[2:])
				for _, reply := range replies {
					f.Add(uint16(typ), reply)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, typ uint16, msg []byte) {
		q := fuzzQuery(dnsmessage.Type(typ))
		answer, err := q.read(msg)
		if err != nil {
			return
		}
		if len(msg) < 12 || binary.BigEndian.Uint16(msg) != q.id || msg[2]&0x80 == 0 {
			t.Fatalf("%x was taken for an answer", msg)
		}
		if answer.ttl < 0 || len(answer.addrs)+len(answer.services) > len(msg)/12 {
			t.Errorf("%x gave %+v", msg, answer)
		}
		checkNaive(t, &q, msg, answer)
		checkTargets(t, answer)
	})
}

func fuzzQuery(typ dnsmessage.Type) dnsQuery {
	return dnsQuery{id: 0x1234, question: dnsmessage.Question{
		Name: dnsmessage.MustNewName("orders.internal."), Type: typ, Class: dnsmessage.ClassINET,
	}}
}

// checkNaive compares the answer with what the message holds for the names that
// can be reached from the question, if the library can read all of it.
func checkNaive(t *testing.T, q *dnsQuery, msg []byte, answer dnsAnswer) {
	t.Helper()
	var m dnsmessage.Message
	if m.Unpack(msg) != nil {
		return
	}
	reached := map[string]bool{"orders.internal.": true}
	for range m.Answers {
		for _, r := range m.Answers {
			if alias, ok := r.Body.(*dnsmessage.CNAMEResource); ok && reached[strings.ToLower(r.Header.Name.String())] {
				reached[dnsName(alias.CNAME)] = true
			}
		}
	}
	var addrs []netip.Addr
	var hosts []string
	for _, r := range m.Answers {
		if !reached[dnsName(r.Header.Name)] || r.Header.Type != q.question.Type {
			continue
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(body.AAAA))
		case *dnsmessage.SRVResource:
			hosts = append(hosts, dnsName(body.Target))
		}
	}
	for _, addr := range answer.addrs {
		if !slices.Contains(addrs, addr) {
			t.Errorf("%x gave the address %s", msg, addr)
		}
	}
	for _, service := range answer.services {
		if !slices.Contains(hosts, service.host) {
			t.Errorf("%x gave the service %+v", msg, service)
		}
	}
}

// checkTargets makes a set of the answer as a look would.
func checkTargets(t *testing.T, answer dnsAnswer) {
	t.Helper()
	var set dnsSet
	services := nearest(answer.services, &set.skipped)
	for _, s := range services {
		if _, err := dnsmessage.NewName(s.host); err != nil || s.weight < 1 || s.weight > 100 {
			t.Errorf("the service %+v cannot be looked up: %v", s, err)
		}
		set.add(s, []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("127.0.0.1")}, false)
	}
	set.add(dnsService{host: "orders.internal.", port: 9000, weight: 1}, answer.addrs, false)
	set.sort()
	if len(services) > dnsMaxServices || len(set.targets) > dnsMaxAddresses+len(services) {
		t.Errorf("%d services and %d targets", len(services), len(set.targets))
	}
	for _, target := range set.targets {
		again, err := parseAddress(target.Addr)
		if err != nil || again != target.Addr || denied(target.Addr, false) != "" {
			t.Errorf("%+v gave the address %q (%v)", answer, target.Addr, err)
		}
	}
	if !slices.IsSortedFunc(set.targets, func(a, b gateway.Target) int { return strings.Compare(a.Addr, b.Addr) }) {
		t.Errorf("not sorted: %+v", set.targets)
	}
}

// What the client says is what others can read.
func TestDNSQuery(t *testing.T) {
	for _, edns := range []bool{true, false} {
		q := fuzzQuery(dnsmessage.TypeAAAA)
		q.edns = edns
		msg, err := q.pack()
		must(t, err)
		var m dnsmessage.Message
		must(t, m.Unpack(msg[2:]))
		if int(binary.BigEndian.Uint16(msg)) != len(msg)-2 || m.ID != q.id || !m.RecursionDesired || m.Response ||
			len(m.Questions) != 1 || m.Questions[0] != q.question || (len(m.Additionals) == 1) != edns {
			t.Errorf("%x is the query %+v", msg, m)
		}
	}
	if _, err := new(dnsQuery).read(nil); !errors.Is(err, errForeign) {
		t.Errorf("nothing was read as %v", err)
	}
}
