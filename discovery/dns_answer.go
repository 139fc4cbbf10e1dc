package discovery

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	dnsPayload = 1232 // bytes of an answer by UDP that no network has to fragment
	dnsAliases = 8    // CNAME records between a name and its addresses
)

var (
	errForeign   = errors.New("the message answers another question")
	errTruncated = errors.New("the answer is truncated")
	errLame      = errors.New("the server neither knows the name nor asks others")
	errAliases   = fmt.Errorf("the name is an alias of an alias, and so on, more than %d times", dnsAliases)
)

// dnsFailure is an answer that says why there is none.
type dnsFailure dnsmessage.RCode

func (f dnsFailure) Error() string {
	switch dnsmessage.RCode(f) {
	case dnsmessage.RCodeFormatError:
		return "the server did not understand the question (FORMERR)"
	case dnsmessage.RCodeServerFailure:
		return "the server failed (SERVFAIL)"
	case dnsmessage.RCodeNameError:
		return "the name does not exist (NXDOMAIN)"
	case dnsmessage.RCodeNotImplemented:
		return "the server does not know such questions (NOTIMP)"
	case dnsmessage.RCodeRefused:
		return "the server refused (REFUSED)"
	default:
		return fmt.Sprintf("the server answered with code %d", uint16(f))
	}
}

// dnsAnswer is what a server says of a name. It has records of the one type
// that was asked for, or none if the name has none.
type dnsAnswer struct {
	addrs    []netip.Addr
	services []dnsService
	ttl      time.Duration
}

// dnsService is an SRV record (RFC 2782).
type dnsService struct {
	host             string // lower case, with a dot at the end
	port             uint16
	priority, weight uint16
}

// dnsQuery is one question as it travels.
type dnsQuery struct {
	id       uint16
	question dnsmessage.Question
	edns     bool
}

// pack puts the query behind two bytes that hold its length, as TCP wants it.
func (q *dnsQuery) pack() ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 2, 512), dnsmessage.Header{ID: q.id, RecursionDesired: true})
	err := errors.Join(b.StartQuestions(), b.Question(q.question))
	if q.edns {
		var h dnsmessage.ResourceHeader
		err = errors.Join(err, h.SetEDNS0(dnsPayload, dnsmessage.RCodeSuccess, false),
			b.StartAdditionals(), b.OPTResource(h, dnsmessage.OPTResource{}))
	}
	if err != nil {
		return nil, fmt.Errorf("pack query: %w", err)
	}
	msg, err := b.Finish()
	if err != nil {
		return nil, fmt.Errorf("pack query: %w", err)
	}
	n := len(msg) - 2
	msg[0], msg[1] = byte(n>>8), byte(n)
	return msg, nil
}

// read understands the answer to the query. It fails with errForeign for what
// is not one, with errTruncated for what has to be asked again by TCP, and with
// a dnsFailure if the server says so.
func (q *dnsQuery) read(msg []byte) (dnsAnswer, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.ID != q.id || !h.Response || h.OpCode != 0 {
		return dnsAnswer{}, errForeign
	}
	asked, err := p.AllQuestions()
	if err == nil && len(asked) == 0 && h.RCode == dnsmessage.RCodeFormatError {
		return dnsAnswer{}, dnsFailure(h.RCode) // a server that could not read the question cannot repeat it
	}
	if err != nil || len(asked) != 1 || !q.same(asked[0]) {
		return dnsAnswer{}, errForeign
	}
	switch {
	case h.Truncated:
		return dnsAnswer{}, errTruncated
	case h.RCode != dnsmessage.RCodeSuccess:
		return dnsAnswer{}, dnsFailure(h.RCode)
	}
	records, err := readRecords(&p, q.question.Type)
	if err != nil {
		return dnsAnswer{}, fmt.Errorf("read answer: %w", err)
	}
	answer, err := records.follow(dnsName(q.question.Name))
	if err != nil || len(answer.addrs)+len(answer.services) > 0 {
		return answer, err
	}
	if !h.Authoritative && !h.RecursionAvailable && records.empty() {
		return dnsAnswer{}, errLame // a referral looks like a name without records
	}
	answer.ttl = min(answer.ttl, readNegativeTTL(&p))
	return answer, nil
}

func (q *dnsQuery) same(asked dnsmessage.Question) bool {
	return asked.Type == q.question.Type && asked.Class == q.question.Class && dnsName(asked.Name) == dnsName(q.question.Name)
}

// dnsName is a name in lower case, with a dot at the end. Only ASCII has cases
// in DNS (RFC 4343).
func dnsName(n dnsmessage.Name) string {
	b := n.Data[:n.Length]
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// dnsRecords are the records of the answer section by the name they belong to.
// They may come in any order.
type dnsRecords struct {
	aliases map[string]dnsAlias
	byName  map[string]*dnsAnswer
}

type dnsAlias struct {
	to  string
	ttl time.Duration
}

func (r *dnsRecords) empty() bool { return len(r.aliases) == 0 && len(r.byName) == 0 }

func readRecords(p *dnsmessage.Parser, want dnsmessage.Type) (*dnsRecords, error) {
	r := &dnsRecords{aliases: make(map[string]dnsAlias), byName: make(map[string]*dnsAnswer)}
	for {
		h, err := p.AnswerHeader()
		switch {
		case errors.Is(err, dnsmessage.ErrSectionDone):
			return r, nil
		case err != nil:
			return nil, err
		case h.Class != dnsmessage.ClassINET, h.Type != want && h.Type != dnsmessage.TypeCNAME:
			err = p.SkipAnswer()
		default:
			err = r.add(p, h)
		}
		if err != nil {
			return nil, err
		}
	}
}

// add reads the record that h is the head of.
func (r *dnsRecords) add(p *dnsmessage.Parser, h dnsmessage.ResourceHeader) error {
	name, ttl := dnsName(h.Name), dnsTTL(h.TTL)
	if h.Type == dnsmessage.TypeCNAME {
		alias, err := p.CNAMEResource()
		if _, taken := r.aliases[name]; !taken {
			r.aliases[name] = dnsAlias{dnsName(alias.CNAME), ttl}
		}
		return err
	}
	answer, known := r.byName[name]
	if !known {
		answer = &dnsAnswer{ttl: ttl}
		r.byName[name] = answer
	}
	answer.ttl = min(answer.ttl, ttl)
	switch {
	case h.Type == dnsmessage.TypeA && h.Length == 4:
		a, err := p.AResource()
		answer.addrs = append(answer.addrs, netip.AddrFrom4(a.A))
		return err
	case h.Type == dnsmessage.TypeAAAA && h.Length == 16:
		a, err := p.AAAAResource()
		answer.addrs = append(answer.addrs, netip.AddrFrom16(a.AAAA))
		return err
	case h.Type == dnsmessage.TypeSRV:
		s, err := p.SRVResource()
		answer.services = append(answer.services, dnsService{dnsName(s.Target), s.Port, s.Priority, s.Weight})
		return err
	default:
		return fmt.Errorf("a record of type %d has %d bytes", h.Type, h.Length)
	}
}

// follow finds what the name has, through its aliases.
func (r *dnsRecords) follow(name string) (dnsAnswer, error) {
	ttl := time.Duration(math.MaxInt64)
	for range dnsAliases + 1 {
		alias, is := r.aliases[name]
		if !is {
			answer := dnsAnswer{ttl: ttl}
			if found, ok := r.byName[name]; ok {
				answer = *found
				answer.ttl = min(answer.ttl, ttl)
			}
			return answer, nil
		}
		name, ttl = alias.to, min(ttl, alias.ttl)
	}
	return dnsAnswer{}, errAliases
}

// readNegativeTTL is how long a name has no records (RFC 2308, section 5). A
// server that does not say so means that nobody should remember it.
func readNegativeTTL(p *dnsmessage.Parser) time.Duration {
	for {
		h, err := p.AuthorityHeader()
		if err != nil {
			return 0
		}
		if h.Type != dnsmessage.TypeSOA {
			if p.SkipAuthority() != nil {
				return 0
			}
			continue
		}
		soa, err := p.SOAResource()
		if err != nil {
			return 0
		}
		return min(dnsTTL(h.TTL), dnsTTL(soa.MinTTL))
	}
}

// dnsTTL takes what cannot be a number of seconds for 0 (RFC 2181, section 8).
func dnsTTL(seconds uint32) time.Duration {
	if seconds > math.MaxInt32 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
