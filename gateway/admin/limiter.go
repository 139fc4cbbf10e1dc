package admin

import (
	"sync"
	"time"
)

// requestsPerSecond is plenty for people and scripts. Health checks and scrapes
// are not counted: nobody may keep an orchestrator from seeing that the gateway
// lives, and the handler of metrics bounds the scrapes at one time.
const requestsPerSecond = 100

// limiter is a token bucket that holds one second's worth.
type limiter struct {
	rate float64

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func newLimiter(rate float64) *limiter {
	return &limiter{rate: rate, tokens: rate, last: time.Now()}
}

func (l *limiter) allow() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.last).Seconds()*l.rate, l.rate)
	l.last = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}
