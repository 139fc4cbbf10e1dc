package shared

import (
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/test/redistest"
)

// Most decisions of a busy caller need no question, and from the first request on no more
// pass than the bucket gives.
func TestLease(t *testing.T) {
	server := redistest.Start(t)
	var gateways []*Limiter
	limit := perSecond(5000, 2000)
	for range 3 {
		gateways = append(gateways, limits(started(t, at(server)), 200, limit))
	}
	start, passed, asks := time.Now(), int64(0), int64(0)
	still := time.Duration(0) // in which the machine did something else, and tokens came for nobody
	for last := start; last.Sub(start) < 1500*time.Millisecond; asks++ {
		passed += gateways[asks%3].admitted(7, 1)
		now := time.Now()
		if gap := now.Sub(last); gap > 50*time.Millisecond {
			still += gap
		}
		last = now
	}
	whole := time.Since(start)
	tokens := func(d time.Duration) int64 { return limit.Burst + int64(d.Seconds()*float64(limit.Count)) + 1 }
	most := tokens(whole)
	if least := min(tokens(whole-still), asks) * 7 / 10; passed > most || passed < least {
		t.Errorf("%d of %d pass, want %d to %d", passed, asks, least, most)
	}
	leased, asked := uint64(0), uint64(0)
	for _, l := range gateways {
		d := l.Decisions()
		leased, asked = leased+d["lease"], asked+d["redis"]
	}
	if leased < 2*asked {
		t.Errorf("%d by leases, %d by questions", leased, asked)
	}
	t.Logf("%d of at most %d pass; %d by leases, %d by questions", passed, most, leased, asked)
}

// A caller who comes seldom gets no lease: nothing is taken for nobody.
func TestSeldom(t *testing.T) {
	server := redistest.Start(t)
	l := limits(started(t, at(server)), 50, slow)
	l.admitted(7, 1)
	key, id := l.someone(7)
	if g := l.callers.get(key).grant.Load(); g.leased != 0 {
		t.Errorf("a first request leases %d", g.leased)
	}
	l.back(key, 3*leaseTime)
	l.Take(key, id)
	if g := l.callers.get(key).grant.Load(); g.leased != 0 {
		t.Errorf("one after a long time leases %d", g.leased)
	}
}

// back makes what is known of a caller older.
func (l *Limiter) back(key uint64, d time.Duration) {
	c := l.callers.get(key)
	old := c.grant.Load()
	g := &grant{wanted: old.wanted, leased: old.leased, at: old.at - int64(d), until: old.until - int64(d), deny: old.deny - int64(d), wait: old.wait, limit: old.limit, missing: old.missing}
	g.left.Store(old.left.Load())
	c.grant.Store(g)
}

// What is left of a lease goes back, and only what has not come back by itself.
func TestGivenBack(t *testing.T) {
	server := redistest.Start(t)
	f := func(name string, limit limiter.Limit, back int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			server.Do("FLUSHALL")
			l := limits(started(t, at(server)), 50, limit)
			key, id := l.someone(7)
			for i := 0; l.callers.get(key).grant.Load() == nil || l.callers.get(key).grant.Load().leased < 7; i++ {
				l.Take(key, id)
			}
			g := l.callers.get(key).grant.Load()
			left := g.left.Load()
			l.back(key, leaseTime)
			more, changes, _ := l.settle(l.callers.get(key), 1, l.now())
			if more != g.leased-left {
				t.Errorf("the next lease is of %d, want the %d that were used of %d", more, g.leased-left, g.leased)
			}
			if got := -changes[0] / int64(limit.Interval()); got < back*left-1 || got > back*left {
				t.Errorf("%d given back of %d", got, left)
			}
			if l.callers.get(key).grant.Load().left.Load() > 0 {
				t.Error("they can still be used")
			}
		})
	}
	f("tokens of an hour", slow, 1)
	f("tokens that come back in a moment", perSecond(1000, 100), 0)
}

// A lease of a caller who has lost his place is lost, not somebody else's.
func TestEvicted(t *testing.T) {
	c := newCallers(ways)
	for key := range uint64(ways) {
		c.get(key).grant.Store(&grant{at: int64(key) + 1})
	}
	c.get(100)
	if c.find(0) != nil || c.find(1) == nil || c.find(100) == nil || c.get(100) != c.find(100) {
		t.Error("the caller who has been quiet for longest keeps his place")
	}
}
