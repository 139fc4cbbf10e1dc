package limiter

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func perSecond(count, burst int64) Limit {
	return Limit{Name: "per-second", Count: count, Per: time.Second, Burst: burst}
}

func perDay(count int64) Limit {
	return Limit{Name: "per-day", Count: count, Per: 24 * time.Hour, Burst: count}
}

// pass lets the time of a bubble pass.
func pass(d time.Duration) { <-time.After(d) }

// admitted is how many of n requests for one token pass.
func admitted(t *Table, key uint64, n int) (passed int) {
	for range n {
		if t.Take(key, 1).OK {
			passed++
		}
	}
	return passed
}
