package balance

import (
	"math/bits"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/siphash"
)

// An endpoint of the greatest weight has ringPoints points, one of half the
// weight half as many: 512 make the shares of equal endpoints differ by some 4 %.
// Sets of more than 1,024 endpoints have half as many each time they double, or
// the ring would not fit a cache; crossing that border moves half of the keys.
const (
	ringPoints = 512
	maxPoints  = 1 << 19
)

// ring is a circle of hash values on which each endpoint has points. A key
// belongs to the first point at or after its own hash. Where the points of an
// endpoint lie follows from its address alone: they stay when others come and
// go, so only the keys of these move, and all gateways agree.
type ring struct {
	eps    []*gateway.Endpoint
	points []uint64 // sorted; the upper bits are the place, the lower the index of the endpoint
	starts []uint32 // for each value of the places' first bits, the first point at or after it
	shift  int      // from a place to its first bits
	index  uint64   // mask of the index in a point
}

func newRing(eps []*gateway.Endpoint, key siphash.Key) *ring {
	r := &ring{eps: slices.Clone(eps), shift: 64, index: 1<<bits.Len(uint(len(eps))) - 1}
	heaviest := 1
	for _, ep := range eps {
		heaviest = max(heaviest, ep.Weight)
	}
	full := ringPoints
	for full > 1 && len(eps)*full > maxPoints {
		full /= 2
	}
	pointsOf := func(ep *gateway.Endpoint) int { return max(full*max(ep.Weight, 1)/heaviest, 1) }
	total := 0
	for _, ep := range eps {
		total += pointsOf(ep)
	}
	r.points = make([]uint64, 0, total)
	for i, ep := range eps {
		place := key.Sum(ep.Addr)
		for range pointsOf(ep) {
			place += 0x9e3779b97f4a7c15 // SplitMix64 (Steele, Lea and Flood, 2014)
			r.points = append(r.points, mix(place)&^r.index|uint64(i))
		}
	}
	r.sort()
	return r
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sort puts the points in order and remembers where each value of the first bits
// begins. There are about as many values as points and they lie evenly, so both
// this and a look-up take a step or two for a point.
func (r *ring) sort() {
	width := bits.Len(uint(len(r.points)))
	r.shift = 64 - width
	r.starts = make([]uint32, 1<<width+1)
	for _, p := range r.points {
		r.starts[p>>r.shift+1]++
	}
	for i := range r.starts[1:] {
		r.starts[i+1] += r.starts[i]
	}
	sorted, next := make([]uint64, len(r.points)), slices.Clone(r.starts)
	for _, p := range r.points {
		sorted[next[p>>r.shift]] = p
		next[p>>r.shift]++
	}
	for i := range sorted { // only neighbours can be out of order
		for k := i; k > 0 && sorted[k-1] > sorted[k]; k-- {
			sorted[k-1], sorted[k] = sorted[k], sorted[k-1]
		}
	}
	r.points = sorted
}

// find is the index of the point that a hash belongs to. The ring must not be empty.
func (r *ring) find(hash uint64) int {
	hash &^= r.index // an endpoint's index is no part of its place
	i := int(r.starts[hash>>r.shift])
	for i < len(r.points) && r.points[i]&^r.index < hash {
		i++
	}
	if i == len(r.points) {
		return 0
	}
	return i
}

// at is the endpoint of the point that is the given number of points after i.
func (r *ring) at(i int) *gateway.Endpoint {
	return r.eps[r.points[i%len(r.points)]&r.index]
}
