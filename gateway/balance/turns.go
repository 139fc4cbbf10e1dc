package balance

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/pithead/pithead/gateway"
)

// maxTurns bounds a cycle. Up to it shares are exact; a larger cycle (more than
// 650 endpoints of different weights around 100) is shortened to about this,
// and shares are rounded to whole turns.
const maxTurns = 1 << 16

// turns lays out one cycle in which each endpoint has as many turns as its
// weight, evenly spread: turn k of an endpoint of weight w falls due at
// (k+1/2)/w of the cycle. Picking is then an index and nothing else.
func turns(eps []*gateway.Endpoint) []*gateway.Endpoint {
	weights, total := reduced(eps)
	type turn struct {
		due float64
		ep  *gateway.Endpoint
	}
	all := make([]turn, 0, total)
	for i, ep := range eps {
		for k := range weights[i] {
			all = append(all, turn{(float64(k) + 0.5) / float64(weights[i]), ep})
		}
	}
	slices.SortStableFunc(all, func(a, b turn) int { return cmp.Compare(a.due, b.due) })
	cycle := make([]*gateway.Endpoint, len(all))
	for i, t := range all {
		cycle[i] = t.ep
	}
	return cycle
}

// reduced are the weights divided by what they have in common, so that a set of
// equal weights has a cycle of one turn each, and made smaller if their sum
// exceeds maxTurns. Every endpoint keeps at least one turn.
func reduced(eps []*gateway.Endpoint) (weights []int, total int) {
	weights = make([]int, len(eps))
	divisor := 0
	for i, ep := range eps {
		weights[i] = max(ep.Weight, 1)
		divisor = gcd(divisor, weights[i])
	}
	for i := range weights {
		weights[i] /= divisor
		total += weights[i]
	}
	if total <= maxTurns {
		return weights, total
	}
	sum := total
	total = 0
	for i := range weights {
		weights[i] = max(weights[i]*maxTurns/sum, 1)
		total += weights[i]
	}
	return weights, total
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// draw picks a turn at random. The cycle must not be empty.
func draw(cycle []*gateway.Endpoint) *gateway.Endpoint {
	return cycle[rand.IntN(len(cycle))]
}

// drawBeside draws one to compare with ep. Of five endpoints, one in 25 would be
// compared with itself and win, however slow it is. An endpoint with nearly all
// the turns may still meet itself.
func drawBeside(cycle []*gateway.Endpoint, ep *gateway.Endpoint) *gateway.Endpoint {
	for range 8 {
		if other := draw(cycle); other != ep {
			return other
		}
	}
	return ep
}
