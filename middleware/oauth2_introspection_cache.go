package middleware

import (
	"hash/maphash"
	"time"

	"github.com/pithead/pithead/gateway"
)

const maxVerdictBytes = 64 << 20 // of one table

// verdict is what a block thinks of a token: who the caller is, or why it does not pass.
type verdict struct {
	subject string
	headers []provenHeader
	refusal *gateway.Error
	until   time.Time // how long it holds
}

func (v *verdict) size() int {
	n := len(v.subject)
	for _, h := range v.headers {
		n += len(h.name) + len(h.value) + 64
	}
	return n
}

// verdicts are the answers that a block remembers: those that let in apart from the
// others, so that nobody can drive the former out with tokens that he makes up.
type verdicts struct {
	seed          maphash.Seed
	good, refused *slotCache[*verdict]
}

func newVerdicts(size int) *verdicts {
	return &verdicts{
		seed: maphash.MakeSeed(),
		good: newSlotCache[*verdict](size, maxVerdictBytes), refused: newSlotCache[*verdict](size, maxVerdictBytes),
	}
}

// get is what is known of a token now; nil is nothing.
func (c *verdicts) get(token string, now time.Time) *verdict {
	hash := maphash.String(c.seed, token)
	if v, ok := c.good.get(hash, token, now); ok {
		return v
	}
	v, _ := c.refused.get(hash, token, now)
	return v
}

// put remembers v for a token, unless it holds no longer than now.
func (c *verdicts) put(token string, v *verdict, now time.Time) {
	into := c.good
	if v.refusal != nil {
		into = c.refused
	}
	into.put(maphash.String(c.seed, token), token, v, v.size(), v.until, now)
}
