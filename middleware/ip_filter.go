package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "ip_filter", IPFilterConfig{Status: http.StatusForbidden}, newIPFilter)
}

// IPFilterConfig lets requests through by the address of the client. With `allow`, all
// other clients are refused; `deny` comes before it.
//
//	ip_filter: {allow: [10.0.0.0/8, "2001:db8:7::/48"], deny: [10.66.0.0/16, 10.1.2.3]}
//
// The client is the one behind the proxies of `trusted_proxies`; a proxy that is not
// listed there is the client itself. A client without an address, as on a Unix
// socket, is refused. An IPv6 customer has at least a /64: to deny one of its
// addresses keeps nobody out.
type IPFilterConfig struct {
	// Allow are the networks and addresses that may. Default: all.
	Allow []netip.Prefix `yaml:"allow"`
	// Deny are the networks and addresses that may not, even if they are allowed.
	// Default: none.
	Deny []netip.Prefix `yaml:"deny"`
	// Status is what refused clients get: 403, or 404 as if there were nothing. Default: 403.
	Status int `yaml:"status"`
}

// Validate refuses filters that let all or nobody through.
func (c IPFilterConfig) Validate() error {
	var errs []error
	if len(c.Allow) == 0 && len(c.Deny) == 0 {
		errs = append(errs, kind.At("", "refuses nobody; list networks under allow or deny"))
	}
	if c.Status != http.StatusForbidden && c.Status != http.StatusNotFound {
		errs = append(errs, kind.At("status", "is 403 or 404"))
	}
	denied := newAddrSet(c.Deny)
	for i, p := range c.Allow {
		if denied.covers(p) {
			errs = append(errs, kind.At(fmt.Sprintf("allow[%d]", i), "all of %s is denied", p))
		}
	}
	return errors.Join(errs...)
}

// ipFilter is the running middleware.
type ipFilter struct {
	allow, deny addrSet
	all         bool // whatever is not denied
	refused     *gateway.Error
}

func newIPFilter(c IPFilterConfig, _ Env) (gateway.Step, error) {
	m := &ipFilter{allow: newAddrSet(c.Allow), deny: newAddrSet(c.Deny), all: len(c.Allow) == 0}
	m.refused = &gateway.Error{Status: c.Status, Reason: "ip_denied", Msg: "the address of the client is not allowed here", Cause: gateway.CauseClient}
	if c.Status == http.StatusNotFound {
		m.refused.Msg = "no route matches this request"
	}
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if m.why(gateway.ExchangeOf(r).Client) != "" {
					gateway.Fail(w, r, m.refused)
					return
				}
				next.ServeHTTP(w, r)
			})
		},
		Explain: func(_ *http.Request, x *gateway.Exchange) string {
			if why := m.why(x.Client); why != "" {
				x.Status = c.Status
				return fmt.Sprintf("answers %d: %s", c.Status, why)
			}
			return "lets " + x.Client.String() + " pass"
		},
	}, nil
}

// why client is refused; "" if it is not.
func (m *ipFilter) why(client netip.Addr) string {
	client = client.Unmap()
	switch {
	case !client.IsValid():
		return "the client has no address"
	case m.deny.contains(client):
		return "the client is in deny"
	case !m.all && !m.allow.contains(client):
		return "the client is not in allow"
	}
	return ""
}

// addrSet is a set of addresses: ranges that do not touch, in order.
type addrSet struct{ v4, v6 []addrRange }

// addrRange is from the first address to the last. IPv4 addresses are the end of
// their mapped form.
type addrRange struct{ first, last addr128 }

type addr128 struct{ hi, lo uint64 }

func numberOf(a netip.Addr) addr128 {
	b := a.As16()
	var n addr128
	for i := range 8 {
		n.hi, n.lo = n.hi<<8|uint64(b[i]), n.lo<<8|uint64(b[i+8])
	}
	return n
}

func (a addr128) less(b addr128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// next is the address after a; that of the last is the first.
func (a addr128) next() addr128 {
	if a.lo++; a.lo == 0 {
		a.hi++
	}
	return a
}

func rangeOf(p netip.Prefix) addrRange {
	first := numberOf(p.Addr())
	host := p.Addr().BitLen() - p.Bits()
	last := first
	switch { // Go shifts by 64 and more to 0
	case host >= 64:
		last.lo = ^uint64(0)
		last.hi |= 1<<(host-64) - 1
	default:
		last.lo |= 1<<host - 1
	}
	return addrRange{first, last}
}

func newAddrSet(prefixes []netip.Prefix) (s addrSet) {
	for _, p := range prefixes {
		if p.Addr().Is4() {
			s.v4 = append(s.v4, rangeOf(p))
		} else {
			s.v6 = append(s.v6, rangeOf(p))
		}
	}
	s.v4, s.v6 = joined(s.v4), joined(s.v6)
	return s
}

// joined sorts ranges and makes one of those that touch.
func joined(ranges []addrRange) []addrRange {
	slices.SortFunc(ranges, func(a, b addrRange) int {
		switch {
		case a.first.less(b.first):
			return -1
		case b.first.less(a.first):
			return 1
		}
		return 0
	})
	var out []addrRange
	for _, r := range ranges {
		if n := len(out); n > 0 && !out[n-1].last.next().less(r.first) {
			if out[n-1].last.less(r.last) {
				out[n-1].last = r.last
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// contains says whether a, which is valid and not mapped, is in the set.
func (s *addrSet) contains(a netip.Addr) bool {
	ranges := s.v6
	if a.Is4() {
		ranges = s.v4
	}
	return within(ranges, numberOf(a), numberOf(a))
}

// covers says whether all of p is in the set.
func (s *addrSet) covers(p netip.Prefix) bool {
	ranges, r := s.v6, rangeOf(p)
	if p.Addr().Is4() {
		ranges = s.v4
	}
	return within(ranges, r.first, r.last)
}

// within finds the last range that begins at first or before, and says whether
// last is in it too.
func within(ranges []addrRange, first, last addr128) bool {
	low, high := 0, len(ranges)
	for low < high {
		mid := int(uint(low+high) >> 1)
		if first.less(ranges[mid].first) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low > 0 && !ranges[low-1].last.less(last)
}
