package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "round_robin", RoundRobinConfig{}, newRoundRobin)
}

// RoundRobinConfig gives every endpoint its turn, as often as its weight says
// and spread evenly: an endpoint of weight 5 beside two of weight 1 gets its
// five turns of seven with the others between them, not in one burst.
//
//	round_robin: {}
type RoundRobinConfig struct{}

func newRoundRobin(RoundRobinConfig, Env) (gateway.Policy, error) {
	return func(eps []*gateway.Endpoint) gateway.Picker {
		p := &roundRobin{turns: turns(eps)}
		// Each change of the set makes a new picker. If all of them began with
		// the same turn, a set that changes often would load its first endpoint.
		p.next.Store(rand.Uint64N(1 << 32))
		return p
	}, nil
}

type roundRobin struct {
	turns []*gateway.Endpoint
	next  atomic.Uint64
}

func (p *roundRobin) Pick(*gateway.Exchange) *gateway.Endpoint {
	if len(p.turns) == 0 {
		return nil
	}
	return p.turns[p.next.Add(1)%uint64(len(p.turns))]
}
