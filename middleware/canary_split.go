package middleware

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/siphash"
)

// split divides sticky keys, or random draws, among weighted arms.
//
// Two arms divide the line from 0 to 1 at one point: the arm that is not stable
// owns the part below it. So growing the canary moves keys only from stable to
// canary, and shrinking it only back. More arms use weighted rendezvous hashing:
// each arm scores the key with a hash of its own, the best score wins, and a
// greater weight only raises the arm's own scores; so growing one arm moves keys
// only into it.
type split struct {
	arms []*canaryArm // those that may be drawn; two arms: the canary first
	keys []siphash.Key
	one  siphash.Key
	sum  float64
}

func newSplit(arms []*canaryArm, stable *canaryArm, salt string) split {
	s := split{one: siphash.KeyOf(salt)}
	for _, arm := range arms {
		s.sum += float64(arm.weight)
	}
	if s.sum == 0 { // no split configured
		s.arms, s.sum = []*canaryArm{stable}, 1
		return s
	}
	s.arms = slices.Clone(arms)
	if len(arms) == 2 {
		slices.SortFunc(s.arms, func(a, b *canaryArm) int { return strings.Compare(rank(a, stable), rank(b, stable)) })
		return s
	}
	for _, arm := range s.arms {
		s.keys = append(s.keys, siphash.KeyOf(salt+"\x00"+arm.name))
	}
	return s
}

// rank sorts the stable arm last, the others by name.
func rank(a, stable *canaryArm) string {
	if a == stable {
		return "\xff"
	}
	return a.name
}

// sticky is the arm of key, always the same for the same key and weights.
func (s *split) sticky(key string) *canaryArm {
	if len(s.arms) <= 2 {
		return s.draw(s.one.Sum(key))
	}
	best, bestScore := s.arms[0], math.Inf(-1)
	for i, arm := range s.arms {
		if arm.weight == 0 {
			continue
		}
		// -weight/ln(u) for u uniform in (0,1) makes each arm win in proportion to its weight.
		if score := -float64(arm.weight) / math.Log(unit(s.keys[i].Sum(key))); score > bestScore {
			best, bestScore = arm, score
		}
	}
	return best
}

// draw is the arm at the point u of the line, u being uniform in 64 bits.
func (s *split) draw(u uint64) *canaryArm {
	point := unit(u) * s.sum
	last := s.arms[len(s.arms)-1]
	for _, arm := range s.arms[:len(s.arms)-1] {
		if point < float64(arm.weight) {
			return arm
		}
		point -= float64(arm.weight)
	}
	return last
}

// unit maps 64 uniform bits into the open interval (0,1).
func unit(u uint64) float64 { return (float64(u>>11) + 0.5) / (1 << 53) }

// String writes the split as `canary 5, stable 95`.
func (s split) String() string {
	parts := make([]string, 0, len(s.arms))
	for _, arm := range s.arms {
		parts = append(parts, fmt.Sprintf("%s %d", arm.name, arm.weight))
	}
	return strings.Join(parts, ", ")
}

// StickyKey says what a sticky decision is drawn from.
type StickyKey struct {
	From string // "", "subject", "client", "header" or "cookie"
	Name string // of the header or the cookie
}

const (
	stickySubject = "subject"
	stickyClient  = "client"
	stickyHeader  = "header"
	stickyCookie  = "cookie"
)

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *StickyKey) UnmarshalText(text []byte) error {
	from, name, named := strings.Cut(string(text), ":")
	switch from {
	case stickySubject, stickyClient:
		if named {
			return fmt.Errorf("%q takes no name; write %s", text, from)
		}
	case stickyHeader, stickyCookie:
		if !isToken(name) {
			return fmt.Errorf("%q names no %s; write for example %s:x-user", text, from, from)
		}
	default:
		return fmt.Errorf("%q is nothing to be sticky by; write subject, client, header:NAME or cookie:NAME", text)
	}
	if from == stickyHeader {
		name = http.CanonicalHeaderKey(name)
	}
	*k = StickyKey{From: from, Name: name}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (k StickyKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func (k StickyKey) String() string {
	if k.Name == "" {
		return k.From
	}
	return k.From + ":" + k.Name
}

// of is the sticky value of a request; ok is false when it has none.
func (k StickyKey) of(r *http.Request, x *gateway.Exchange) (value string, ok bool) {
	switch k.From {
	case stickySubject:
		return x.Subject, x.Subject != ""
	case stickyClient:
		return clientKey(x.Client), x.Client.IsValid()
	case stickyHeader:
		value = r.Header.Get(k.Name)
		return value, value != ""
	case stickyCookie:
		if cookies := r.CookiesNamed(k.Name); len(cookies) == 1 {
			value = cookies[0].Value
		}
		return value, value != ""
	default:
		return "", false
	}
}

// clientKey is an IPv4 address, or the /64 of an IPv6 address, because privacy
// addresses change within it.
func clientKey(addr netip.Addr) string {
	if addr.Is4() {
		b := addr.As4()
		return string(b[:])
	}
	b := addr.As16()
	return string(b[:8])
}

func names(arms []*canaryArm) []string {
	all := make([]string, 0, len(arms))
	for _, arm := range arms {
		all = append(all, arm.name)
	}
	return all
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// isToken says whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
