package balance

import (
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "peak_ewma", PeakEWMAConfig{Decay: 10 * time.Second}, newPeakEWMA)
}

// PeakEWMAConfig sends a request to the better of two endpoints drawn at random
// by weight: the one whose recent time to the head of an answer, multiplied by
// its requests under way for its weight and one more, is less. The time is a moving
// average that a slow answer raises at once and faster ones lower over the
// decay. A failed attempt and a status of 500 or more count as a tenth of the
// decay at least, so that an endpoint that fails fast does not look like a fast
// one. A new endpoint is taken to be as fast as the one that it is compared with.
//
//	peak_ewma:
//	  decay: 5s
type PeakEWMAConfig struct {
	// Decay is the time in which two thirds of a slow answer are forgotten, 100ms to 1h.
	Decay time.Duration `yaml:"decay"`
}

// Validate implements the check of kind.Add.
func (c PeakEWMAConfig) Validate() error {
	if c.Decay < 100*time.Millisecond || c.Decay > time.Hour {
		return kind.At("decay", "%v is not between 100ms and 1h", c.Decay)
	}
	return nil
}

func newPeakEWMA(c PeakEWMAConfig, _ Env) (gateway.Policy, error) {
	return func(eps []*gateway.Endpoint) gateway.Picker {
		for _, ep := range eps {
			ep.Stats.Latency.Follow(c.Decay)
		}
		p := &peakEWMA{turns: turns(eps), number: int64(len(eps))}
		for _, ep := range eps {
			p.weight += weightOf(ep)
		}
		if len(eps) == 2 {
			p.pair = [2]*gateway.Endpoint(eps)
		}
		return p
	}, nil
}

type peakEWMA struct {
	turns          []*gateway.Endpoint  // to draw from: each endpoint stands in it as often as it weighs
	pair           [2]*gateway.Endpoint // the set if there are two, else nils
	number, weight int64                // of all endpoints
}

func (p *peakEWMA) Pick(*gateway.Exchange) *gateway.Endpoint {
	if len(p.turns) == 0 {
		return nil
	}
	// As in least_request, the second one wins only if it is better, so that equal
	// endpoints get what their weights say.
	a := draw(p.turns)
	b := drawBeside(p.turns, a)
	if p.pair[0] != nil {
		if b = p.pair[0]; b == a {
			b = p.pair[1]
		}
	}
	now := time.Now()
	slowA, slowB := a.Stats.Latency.At(now), b.Stats.Latency.At(now)
	if slowA == 0 || slowB == 0 {
		slowA, slowB = 1, 1
	}
	if slowB*p.crowd(b)*float64(weightOf(a)) < slowA*p.crowd(a)*float64(weightOf(b)) {
		return b
	}
	return a
}

// crowd, divided by the weight of ep, grows with the requests that ep would have
// under way if it were of mean weight, and one more. That one is not weighed:
// otherwise the heavier of two idle endpoints would win always, not only as often
// as its weight says.
func (p *peakEWMA) crowd(ep *gateway.Endpoint) float64 {
	return float64(ep.Stats.Active.Load()*p.weight + weightOf(ep)*p.number)
}

func weightOf(ep *gateway.Endpoint) int64 { return int64(max(ep.Weight, 1)) }
