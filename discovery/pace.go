package discovery

import "time"

// pace is a token bucket: after a quiet time the first changes are seen at once,
// because registering one instance is often more than one change, and from then
// on there is one query a second, however many changes there are. So churn costs
// little, and no change waits for longer than a second and a round trip.
type pace struct {
	full time.Time // when the bucket is full again
}

const (
	paceEvery = time.Second
	paceBurst = 3
)

// reserve takes a token and returns how long to wait until it is there.
func (p *pace) reserve(now time.Time) time.Duration {
	if p.full.Before(now) {
		p.full = now
	}
	p.full = p.full.Add(paceEvery)
	return p.full.Sub(now) - paceBurst*paceEvery
}
