package balance

import (
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "least_request", LeastRequestConfig{Choices: 2}, newLeastRequest)
}

// LeastRequestConfig sends a request to the endpoint that is least busy for its
// weight, out of a few drawn at random. It evens out endpoints that are slow at
// the moment; not looking at all of them keeps many gateways from running to
// the same idle endpoint at once.
//
//	least_request:
//	  choices: 3
type LeastRequestConfig struct {
	// Choices is how many endpoints are drawn and compared, 2 to 16. A set that
	// is not larger is compared as a whole.
	Choices int `yaml:"choices"`
}

// Validate implements the check of kind.Add.
func (c LeastRequestConfig) Validate() error {
	if c.Choices < 2 || c.Choices > 16 {
		return kind.At("choices", "must be between 2 and 16")
	}
	return nil
}

func newLeastRequest(c LeastRequestConfig, _ Env) (gateway.Policy, error) {
	return func(eps []*gateway.Endpoint) gateway.Picker {
		p := &leastRequest{turns: turns(eps), choices: c.Choices}
		if len(eps) <= c.Choices {
			p.whole = append(p.whole, eps...)
		}
		return p
	}, nil
}

type leastRequest struct {
	turns   []*gateway.Endpoint // to draw from: each endpoint stands in it as often as it weighs
	whole   []*gateway.Endpoint // the set itself if it is small, else nil
	choices int
}

func (p *leastRequest) Pick(*gateway.Exchange) *gateway.Endpoint {
	if len(p.turns) == 0 {
		return nil
	}
	// The first one is drawn by weight and gives way only to a less busy one, so
	// that idle endpoints share the load by weight too.
	best := draw(p.turns)
	if p.whole != nil {
		for _, ep := range p.whole {
			best = lessBusy(best, ep)
		}
		return best
	}
	for range p.choices - 1 {
		best = lessBusy(best, drawBeside(p.turns, best))
	}
	return best
}

// lessBusy compares requests per weight without a division. Requests under way
// are counted without the one to be placed: counting it would let the heavier
// of two idle endpoints win always, not only as often as its weight says.
func lessBusy(a, b *gateway.Endpoint) *gateway.Endpoint {
	if b.Stats.Active.Load()*int64(max(a.Weight, 1)) < a.Stats.Active.Load()*int64(max(b.Weight, 1)) {
		return b
	}
	return a
}
