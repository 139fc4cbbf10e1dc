package limiter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// endless is a burst that no run uses up, so that every decision takes a token.
const endless = 1 << 38

// One decision of many goroutines at once, beside x/time/rate in a sync.Map, which
// bounds nothing and never forgets a key.
func BenchmarkTake(b *testing.B) {
	for _, n := range []int{1, 10, 1000, 100_000} {
		keys := make([]uint64, n)
		for i := range keys {
			keys[i] = rand.Uint64()
		}
		each := func(b *testing.B, take func(key uint64)) {
			b.ReportAllocs()
			b.SetParallelism(8) // 16 goroutines on two cores
			b.RunParallel(func(pb *testing.PB) {
				for i := rand.IntN(n); pb.Next(); i++ {
					take(keys[i%n])
				}
			})
		}
		b.Run(fmt.Sprintf("table/keys=%d", n), func(b *testing.B) {
			t := New([]Limit{perSecond(1_000_000, endless)}, 200_000)
			each(b, func(key uint64) { t.Take(key, 1) })
		})
		b.Run(fmt.Sprintf("table-of-two/keys=%d", n), func(b *testing.B) {
			t := New([]Limit{perSecond(1_000_000, endless), {Name: "per-day", Count: 1_000_000_000, Per: 24 * time.Hour, Burst: endless}}, 200_000)
			each(b, func(key uint64) { t.Take(key, 1) })
		})
		b.Run(fmt.Sprintf("xtime/keys=%d", n), func(b *testing.B) {
			var m sync.Map
			each(b, func(key uint64) {
				l, ok := m.Load(key)
				if !ok {
					l, _ = m.LoadOrStore(key, rate.NewLimiter(1_000_000, endless))
				}
				l.(*rate.Limiter).Allow()
			})
		})
	}
}

// What a flood costs: every key is new, and the table is full.
func BenchmarkFlood(b *testing.B) {
	t := New([]Limit{perSecond(10, 10)}, 100_000)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t.Take(rand.Uint64(), 1)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	t := New([]Limit{perSecond(10, 10)}, 100)
	b.ReportAllocs()
	for b.Loop() {
		t.Join(t.Hash("8f14e45f-ceea-467f-a8f2-3b1d6c2f9a01"), 7)
	}
}
