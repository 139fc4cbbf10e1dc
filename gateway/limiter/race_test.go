package limiter

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// atOnce runs f on n goroutines that begin at the same time.
func atOnce(n int, f func()) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-begin
			f()
		})
	}
	close(begin)
	wg.Wait()
}

// R08 again, with goroutines that do nothing but take from one bucket.
func TestContention(t *testing.T) {
	t.Run("R08: one bucket", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := New([]Limit{perSecond(10, 100_000)}, 100)
			var passed atomic.Int64
			atOnce(16, func() { passed.Add(int64(admitted(b, 7, 20_000))) })
			if n := passed.Load(); n != 100_000 {
				t.Errorf("%d of 320,000 pass, want 100,000", n)
			}
		})
	})
	t.Run("R08: new keys get one bucket each", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := New([]Limit{perSecond(10, 1)}, 100_000)
			keys := make([]uint64, 20_000)
			for i := range keys {
				keys[i] = rand.Uint64()
			}
			var passed atomic.Int64
			atOnce(4, func() {
				for _, key := range keys {
					passed.Add(int64(admitted(b, key, 1)))
				}
			})
			if n := passed.Load(); n != int64(len(keys)) {
				t.Errorf("%d pass, want one for each of %d keys", n, len(keys))
			}
		})
	})
}

// What a limit has given for a request that another one refuses goes back, unless
// somebody has taken from it since.
func TestPutBack(t *testing.T) {
	b := make(bucket, 2)
	b[0].Store(20)
	b[1].Store(31) // 30 was written, and then somebody took one more
	putBack(b, []uint64{10, 10}, []uint64{20, 30})
	if b[0].Load() != 10 || b[1].Load() != 31 {
		t.Errorf("%d and %d, want 10 and 31", b[0].Load(), b[1].Load())
	}
}
