package middleware

import (
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

// verdicts are the answers that a block remembers.
type verdicts struct{ rememberedVerdicts[*verdict] }

func newVerdicts(size int) *verdicts {
	return &verdicts{newRememberedVerdicts[*verdict](size, maxVerdictBytes)}
}

// put remembers v for a token, unless it holds no longer than now.
func (c *verdicts) put(token string, v *verdict, now time.Time) {
	c.remember(v.refusal == nil, token, v, v.size(), v.until, now)
}
