package limiter

import (
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
)

// R05: a flood of keys costs no more memory than any other hundred thousand, makes no
// tokens, and gives none back to a key that has used its own up. PITHEAD_FAULTS=full runs
// it in full length.
func TestFaultFlood(t *testing.T) {
	t.Attr("row", "R05")
	t.Attr("wants", "1,000,000 keys and more in 32 MiB at most; a flood gives no tokens back")
	keys := 200_000
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		keys = 10_000_000
	}
	t.Run("R05: distinct keys", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { flood(t, keys, 100_000) })
	})
	t.Run("R05: more than the table can tell apart", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			if b := flood(t, 100_000, 1000); b.Stats().Crowded == 0 {
				t.Error("no key shares a bucket")
			}
		})
	})
}

func flood(t *testing.T, keys, maxKeys int) *Table {
	t.Helper()
	const burst = 10
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := New([]Limit{perSecond(10, burst), perDay(10_000)}, maxKeys)
	r := rand.New(rand.NewPCG(1, 2))
	hot := r.Uint64()
	passed, again := admitted(b, hot, 2*burst), 0
	for i := range keys {
		if b.Take(r.Uint64(), 1).OK {
			passed++
		}
		if i%10 == 0 {
			again += admitted(b, hot, 1)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if again != 0 {
		t.Errorf("a key that has used up its burst got %d tokens more", again)
	}
	s := b.store.Load()
	if buckets := int(s.groups) * ways; passed > buckets*burst || int(s.groups)*(ways-1) > maxKeys {
		t.Errorf("%d pass, with %d buckets of %d", passed, buckets, burst)
	}
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d keys in a table for %d: %.1f MiB, %d tokens more for one that is used up", keys, maxKeys, float64(grown)/(1<<20), again)
	if grown > 32<<20 {
		t.Errorf("the table takes %d bytes", grown)
	}
	if n := b.Stats().Keys; n > maxKeys || n < maxKeys*9/10 {
		t.Errorf("%d keys, want up to %d", n, maxKeys)
	}
	return b
}

// A table with room for as many keys as there are seldom makes two of them share.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New([]Limit{perSecond(1, 1)}, 100_000)
		r := rand.New(rand.NewPCG(3, 4))
		for range 85_000 {
			b.Take(r.Uint64(), 1)
		}
		if n := b.Stats().Crowded; n > 850 {
			t.Errorf("%d of 85,000 keys share a bucket in a table for 100,000", n)
		}
	})
}
