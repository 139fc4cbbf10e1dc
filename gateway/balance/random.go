package balance

import (
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "random", RandomConfig{}, newRandom)
}

// RandomConfig draws an endpoint at random, as often as its weight says. Nothing
// is shared between requests, and many gateways never march in step; over few
// requests the shares are less even than with round_robin.
//
//	random: {}
type RandomConfig struct{}

func newRandom(RandomConfig, Env) (gateway.Policy, error) {
	return func(eps []*gateway.Endpoint) gateway.Picker { return random{turns(eps)} }, nil
}

type random struct{ turns []*gateway.Endpoint }

func (p random) Pick(*gateway.Exchange) *gateway.Endpoint {
	if len(p.turns) == 0 {
		return nil
	}
	return draw(p.turns)
}
