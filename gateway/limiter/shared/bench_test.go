package shared

import (
	"testing"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/store"
	"github.com/pithead/pithead/test/redistest"
)

// endless is a burst that no run uses up.
var endless = limiter.Limit{Name: "endless", Count: 1_000_000, Per: 1e9, Burst: 1 << 34}

// One decision of 16 goroutines on two cores about one caller.
func BenchmarkTake(b *testing.B) {
	server := redistest.Start(b)
	each := func(name string, start func(testing.TB, store.Options) *store.Redis, lease int64, prepare func(*Limiter)) {
		b.Run(name, func(b *testing.B) {
			l := limits(start(b, at(server)), lease, endless)
			prepare(l)
			key, id := l.someone(7)
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.Take(key, id)
				}
			})
		})
	}
	each("lease", started, 1<<33, func(l *Limiter) { l.admitted(7, 100) })
	each("round-trip", started, 0, func(*Limiter) {})
	each("refused", started, 0, func(l *Limiter) { l.refuse(7) })
	each("away", gateway, 0, func(*Limiter) {})
}

// refuse makes a limiter remember a refusal for ever.
func (l *Limiter) refuse(caller int) {
	key, _ := l.someone(caller)
	l.callers.get(key).grant.Store(&grant{deny: 1 << 62})
}

// Decisions that need no question allocate nothing, whoever takes them.
func TestAllocations(t *testing.T) {
	server := redistest.Start(t)
	l := limits(started(t, at(server)), 1<<33, endless)
	key, id := l.someone(7)
	f := func(name string, l *Limiter, want By) {
		t.Helper()
		if _, by := l.Take(key, id); by != want {
			t.Errorf("%s: by %s", name, by)
		}
		if n := testing.AllocsPerRun(100, func() { l.Take(key, id) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	g := &grant{leased: 1 << 40, until: 1 << 62}
	g.left.Store(1 << 40)
	l.callers.get(key).grant.Store(g)
	f("a lease", l, ByLease)
	l.refuse(7)
	f("a refusal", l, ByMemory)
	f("without Redis", limits(gateway(t, at(server)), 1<<33, endless), ByLocal)
	if n := testing.AllocsPerRun(100, func() { l.Hash(id) }); n != 0 {
		t.Errorf("a hash: %v allocations", n)
	}
}
