package discovery

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsFault is a way in which a name server can misbehave.
type dnsFault int

const (
	dnsFine      dnsFault = iota
	dnsServfail           // answers SERVFAIL
	dnsRefused            // answers REFUSED
	dnsNXDomain           // answers NXDOMAIN
	dnsOld                // answers FORMERR to a query with EDNS, with nothing but a header
	dnsSilent             // never answers
	dnsTruncated          // answers by UDP that the answer does not fit, and well by TCP
	dnsCut                // answers by UDP that the answer does not fit, and by TCP with half of it
	dnsWrongID            // answers with another id
	dnsWrongName          // answers another question
	dnsEcho               // sends the query back
	dnsGarbage            // answers with bytes that are no message
	dnsHalf               // answers with half a message
	dnsLoop               // answers that the name is an alias of itself
	dnsLame               // answers with a referral, as a server that serves other names does
	dnsSpoofed            // sends wrong answers before the right one
)

// dnsCall is a query that the fake has got.
type dnsCall struct {
	at      time.Time
	network string
	name    string
	typ     dnsmessage.Type
	id      uint16
	edns    int // the size of answers that the client takes; 0 is no EDNS
}

// fakeDNS is a name server with records in memory.
type fakeDNS struct {
	mu      sync.Mutex
	records []dnsmessage.Resource
	negTTL  uint32 // for names without records; 0 is no SOA record
	fault   dnsFault
	faulty  dnsmessage.Type // the type that the fault is for; 0 is all
	delay   time.Duration
	calls   []dnsCall
}

func (s *fakeDNS) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// fail switches a fault on, for one type of records or for all.
func (s *fakeDNS) fail(fault dnsFault, types ...dnsmessage.Type) {
	s.change(func() {
		s.fault, s.faulty = fault, 0
		if len(types) > 0 {
			s.faulty = types[0]
		}
	})
}

// set makes these the whole zone.
func (s *fakeDNS) set(records ...dnsmessage.Resource) { s.change(func() { s.records = records }) }

func (s *fakeDNS) asked() []dnsCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// record writes a record in the form of zone files: "orders.internal. 30 A 10.0.0.1".
func record(text string) dnsmessage.Resource {
	f := strings.Fields(text)
	number := func(s string) (n int) {
		for _, c := range s {
			n = 10*n + int(c-'0')
		}
		return n
	}
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{
		Name: dnsmessage.MustNewName(f[0]), Class: dnsmessage.ClassINET, TTL: uint32(number(f[1])),
	}}
	switch f[2] {
	case "A":
		r.Body = &dnsmessage.AResource{A: netip.MustParseAddr(f[3]).As4()}
	case "AAAA":
		r.Body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(f[3]).As16()}
	case "CNAME":
		r.Body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(f[3])}
	case "SRV":
		r.Body = &dnsmessage.SRVResource{
			Priority: uint16(number(f[3])), Weight: uint16(number(f[4])), Port: uint16(number(f[5])), Target: dnsmessage.MustNewName(f[6]),
		}
	default:
		panic(text)
	}
	r.Header.Type = map[string]dnsmessage.Type{
		"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "SRV": dnsmessage.TypeSRV,
	}[f[2]]
	return r
}

func zone(lines ...string) []dnsmessage.Resource {
	records := make([]dnsmessage.Resource, len(lines))
	for i, line := range lines {
		records[i] = record(line)
	}
	return records
}

// find is what a resolver answers: the aliases of a name and what they lead to.
func (s *fakeDNS) find(q dnsmessage.Question) (answers []dnsmessage.Resource) {
	name := dnsName(q.Name)
	for range 20 {
		next := ""
		for _, r := range s.records {
			if dnsName(r.Header.Name) != name {
				continue
			}
			if r.Header.Type == q.Type {
				answers = append(answers, r)
			} else if alias, ok := r.Body.(*dnsmessage.CNAMEResource); ok {
				answers, next = append(answers, r), dnsName(alias.CNAME)
			}
		}
		if next == "" {
			break
		}
		name = next
	}
	return answers
}

// reply are the messages that answer a query.
func (s *fakeDNS) reply(network string, query []byte) (replies [][]byte, delay time.Duration) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := m.Questions[0]
	call := dnsCall{time.Now(), network, dnsName(q.Name), q.Type, m.ID, 0}
	for _, r := range m.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			call.edns = int(r.Header.Class)
		}
	}
	s.calls = append(s.calls, call)
	fault := s.fault
	if s.faulty != 0 && s.faulty != q.Type {
		fault = dnsFine
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	m.Answers = s.find(q)
	if len(m.Answers) == 0 && s.negTTL > 0 {
		m.Authorities = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 3600},
			Body:   &dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, MinTTL: s.negTTL},
		}}
	}
	good := pack(m)
	if fault == dnsSpoofed {
		return [][]byte{nil, twist(m, dnsWrongID), twist(m, dnsWrongName), twist(m, dnsEcho), twist(m, dnsGarbage), good}, s.delay
	}
	bad := twist(m, fault)
	switch {
	case fault == dnsSilent:
		return nil, 0
	case fault == dnsOld && call.edns == 0, fault == dnsTruncated && network == "tcp":
		bad = good
	case fault == dnsCut && network == "tcp":
		bad = good[:len(good)/2]
	case network == "udp" && len(bad) > max(call.edns, 512):
		bad = twist(m, dnsTruncated)
	}
	return [][]byte{bad}, s.delay
}

// twist is the message with a fault.
func twist(m dnsmessage.Message, fault dnsFault) []byte {
	switch fault {
	case dnsServfail:
		m.RCode, m.Answers = dnsmessage.RCodeServerFailure, nil
	case dnsRefused:
		m.RCode, m.Answers = dnsmessage.RCodeRefused, nil
	case dnsNXDomain:
		m.RCode, m.Answers = dnsmessage.RCodeNameError, nil
	case dnsOld:
		m.RCode, m.Answers, m.Questions = dnsmessage.RCodeFormatError, nil, nil
	case dnsTruncated, dnsCut:
		m.Truncated, m.Answers = true, nil
	case dnsWrongID:
		m.ID++
	case dnsWrongName:
		m.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.internal."), Type: m.Questions[0].Type, Class: m.Questions[0].Class}}
	case dnsEcho:
		m.Response, m.Answers = false, nil
	case dnsGarbage:
		return []byte("HTTP/1.1 400 Bad Request\r\n\r\n")
	case dnsHalf:
		msg := pack(m)
		return msg[:len(msg)-3]
	case dnsLoop:
		name := m.Questions[0].Name
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 30}, Body: &dnsmessage.CNAMEResource{CNAME: name},
		}}
	case dnsLame:
		m.RecursionAvailable, m.Answers = false, nil
	}
	return pack(m)
}

func pack(m dnsmessage.Message) []byte {
	msg, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return msg
}

// dial connects to the fake in memory, for tests inside a testing/synctest
// bubble. A pipe keeps the bounds of messages if the reader has room for them.
func (s *fakeDNS) dial(_ context.Context, network, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if network == "tcp" {
			s.serveTCP(far)
			return
		}
		var late sync.WaitGroup
		defer late.Wait()
		open, leave := context.WithCancel(context.Background())
		defer leave()
		buf := make([]byte, 4096)
		for {
			n, err := far.Read(buf)
			if err != nil {
				return
			}
			replies, delay := s.reply("udp", buf[:n])
			late.Go(func() {
				pause(open, delay)
				for _, r := range replies {
					_, _ = far.Write(r) // the client may have left
				}
			})
		}
	}()
	return near, nil
}

func (s *fakeDNS) serveTCP(conn net.Conn) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, query); err != nil {
		return
	}
	replies, delay := s.reply("tcp", query)
	pause(context.Background(), delay)
	for _, r := range replies {
		msg := binary.BigEndian.AppendUint16(nil, uint16(len(r)))
		_, _ = conn.Write(append(msg, r...)) // the client may have left
	}
}

// listen serves by UDP and TCP on one port of 127.0.0.1, until the end of the test.
func (s *fakeDNS) listen(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	for range 100 {
		tcp, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		udp, err := lc.ListenPacket(t.Context(), "udp", tcp.Addr().String())
		if err != nil { // somebody else has this port by UDP
			tcp.Close()
			continue
		}
		var served sync.WaitGroup
		served.Go(func() { s.serveUDP(udp) })
		served.Go(func() {
			for {
				conn, err := tcp.Accept()
				if err != nil {
					return
				}
				s.serveTCP(conn)
				conn.Close()
			}
		})
		t.Cleanup(func() { tcp.Close(); udp.Close(); served.Wait() })
		return tcp.Addr().String()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}

func (s *fakeDNS) serveUDP(conn net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		replies, delay := s.reply("udp", buf[:n])
		pause(context.Background(), delay)
		for _, r := range replies {
			_, _ = conn.WriteTo(r, from) // a client that left is no matter
		}
	}
}
