package balance

import (
	"cmp"
	"math"
	"math/rand/v2"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/siphash"
)

func init() {
	kind.Add(Kinds, "consistent_hash", ConsistentHashConfig{Key: HashKey{From: "client"}, Load: 1.25}, newConsistentHash)
}

// ConsistentHashConfig sends requests with the same key to the same endpoint.
// Which one follows from the key, the salt and the addresses and weights of the
// healthy endpoints, so all gateways agree. When an endpoint goes, only its own
// keys move, evenly to the others; when one comes, it takes its share and no
// other key moves.
//
// An endpoint whose requests under way exceed its share by too much (`load`)
// passes further ones on to the next endpoint of their key, so that one popular
// key cannot overload one endpoint. A request without a key, or with two, goes
// to the less busy of two endpoints drawn at random, as least_request does. The
// policy sets no cookie: a cookie that is a key is one that the application sets.
//
//	consistent_hash:
//	  key: header:x-user
//	  load: 1.5
type ConsistentHashConfig struct {
	// Key is what is hashed: `subject` (the proven identity of the caller),
	// `client` (its IPv4 address, or the /64 of its IPv6 address), `header:NAME`,
	// `cookie:NAME` or `query:NAME`.
	Key HashKey `yaml:"key"`
	// Load is how many times its share by weight of all requests under way an
	// endpoint may have, 1.1 to 100. 0 is without a limit.
	Load float64 `yaml:"load"`
	// Salt makes upstreams with the same endpoints hash differently, or alike.
	// Empty is the name of the upstream.
	Salt string `yaml:"salt"`
}

// Validate implements the check of kind.Add.
func (c ConsistentHashConfig) Validate() error {
	if c.Load != 0 && !(c.Load >= 1.1 && c.Load <= 100) { // not NaN either
		return kind.At("load", "%v is not between 1.1 and 100; write 0 for no limit", c.Load)
	}
	return nil
}

func newConsistentHash(c ConsistentHashConfig, env Env) (gateway.Policy, error) {
	hash := siphash.KeyOf("consistent_hash\x00" + cmp.Or(c.Salt, env.Upstream))
	keyless, err := newLeastRequest(LeastRequestConfig{Choices: 2}, env)
	if err != nil {
		return nil, err
	}
	return func(eps []*gateway.Endpoint) gateway.Picker {
		var weight int64
		for _, ep := range eps {
			weight += weightOf(ep)
		}
		return &consistentHash{
			key: c.Key, hash: hash, ring: newRing(eps, hash), keyless: keyless(eps),
			load: c.Load / float64(max(weight, 1)),
		}
	}, nil
}

type consistentHash struct {
	key     HashKey
	hash    siphash.Key
	ring    *ring
	keyless gateway.Picker
	load    float64 // limit of one unit of weight for each request under way; 0 is without

	picks  atomic.Uint64 // that had to know how many requests are under way
	active atomic.Int64  // requests under way when they were last counted
}

// countedAtOnce bounds what counting costs: a set of so many endpoints is counted
// for each request that needs it, one of ten times as many for each tenth. The
// number is a little old then, but of that many endpoints also little off.
const countedAtOnce = 64

// The search for an endpoint with room follows the order of the key for maxWalk
// points. A key so popular that it fills the endpoints of all these is spread
// over everybody anyway, so the search goes on at random. There a step finds room
// with a chance of a tenth at the least allowed load of 1.1, and all of maxDraws
// fail in one of 100,000 searches.
const (
	maxWalk  = 64
	maxDraws = 128
)

func (p *consistentHash) Pick(x *gateway.Exchange) *gateway.Endpoint {
	sum, ok := p.key.sum(p.hash, x)
	if !ok || len(p.ring.points) == 0 {
		return p.keyless.Pick(x)
	}
	start, failed := p.ring.find(sum), ""
	if x.Attempts > 0 && x.Endpoint != nil {
		failed = x.Endpoint.Addr // a further attempt is for another one
	}
	first := p.ring.at(start)
	if first.Addr != failed && (p.load == 0 || first.Stats.Active.Load() == 0) {
		return first
	}
	return p.search(start, failed)
}

// search finds an endpoint with room. The points after that of a key belong to
// endpoints in an order of its own, so what one endpoint cannot take is spread
// over all others.
func (p *consistentHash) search(start int, failed string) *gateway.Endpoint {
	var spare *gateway.Endpoint
	unit := p.limit()
	for i := range maxWalk + maxDraws {
		if i >= maxWalk {
			start = rand.IntN(len(p.ring.points))
		}
		ep := p.ring.at(start + i)
		switch {
		case ep.Addr == failed:
		case hasRoom(ep, unit):
			return ep
		case spare == nil:
			spare = ep
		default:
			spare = lessBusy(spare, ep)
		}
	}
	if spare == nil {
		return p.ring.at(start)
	}
	return spare
}

// hasRoom says whether one more request leaves ep within its limit, which is
// rounded up: of few requests the limit of each endpoint is at least one.
func hasRoom(ep *gateway.Endpoint, unit float64) bool {
	const noise = 1e-9 // 1.1 times 10 must not be 12
	return float64(ep.Stats.Active.Load()+1) <= math.Ceil(unit*float64(max(ep.Weight, 1))-noise)
}

// limit is how many requests one unit of weight may have at the moment.
func (p *consistentHash) limit() float64 {
	if p.load == 0 {
		return math.Inf(1)
	}
	return p.load * float64(p.underWay()+1)
}

// underWay is the number of requests under way to the whole set.
func (p *consistentHash) underWay() int64 {
	every := uint64(len(p.ring.eps)/countedAtOnce) + 1
	if p.picks.Add(1)%every != 0 {
		return p.active.Load()
	}
	var sum int64
	for _, ep := range p.ring.eps {
		sum += ep.Stats.Active.Load()
	}
	p.active.Store(sum)
	return sum
}
