package shared

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/test/redistest"
)

// A limit that brings back next to nothing while a test runs.
var slow = limiter.Limit{Name: "per-hour", Count: 10, Per: time.Hour, Burst: 100}

func TestTake(t *testing.T) {
	server := redistest.Start(t)
	f := func(name string, limits []limiter.Limit, cost int64, test func(*testing.T, *Limiter)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			server.Do("FLUSHALL")
			test(t, New(started(t, at(server)), Settings{Name: "fair", Limits: limits, Cost: cost, OnError: OnErrorClosed, MaxKeys: 100}))
		})
	}
	f("a burst, then how long to wait", []limiter.Limit{slow}, 1, func(t *testing.T, l *Limiter) {
		if n := l.admitted(7, 120); n != 100 {
			t.Errorf("%d pass, want 100", n)
		}
		key, id := l.someone(7)
		d, by := l.Take(key, id)
		if d.OK || d.Limit != "per-hour" || d.Wait < 350*time.Second || d.Wait > 360*time.Second || by != ByMemory {
			t.Errorf("%+v by %s", d, by)
		}
		if n := l.admitted(8, 1); n != 1 {
			t.Error("another caller has the same bucket")
		}
		if got := l.Decisions(); got["redis"] != 101 || got["memory"] != 21 {
			t.Errorf("decisions %v: a refusal is asked about again and again", got)
		}
		if n := l.Keys(); n != 2 {
			t.Errorf("%d keys", n)
		}
	})
	f("costs", []limiter.Limit{slow}, 30, func(t *testing.T, l *Limiter) {
		if n := l.admitted(7, 9); n != 3 {
			t.Errorf("%d pass, want 3", n)
		}
	})
	f("all limits or none", []limiter.Limit{slow, {Name: "few", Count: 1, Per: time.Hour, Burst: 5}}, 1, func(t *testing.T, l *Limiter) {
		if n := l.admitted(7, 20); n != 5 {
			t.Errorf("%d pass, want 5", n)
		}
		key, _ := l.someone(7)
		var got []int64
		for _, level := range l.Levels(key, nil) {
			got = append(got, level.Remaining)
		}
		if diff := cmp.Diff([]int64{95, 0}, got); diff != "" {
			t.Errorf("a refused request takes tokens (-want +got):\n%s", diff)
		}
	})
	f("tokens come back by the clock of Redis", []limiter.Limit{perSecond(200, 10)}, 1, func(t *testing.T, l *Limiter) {
		start, passed := time.Now(), int64(0)
		await(t, func() bool { // far more than the burst
			for until := time.Now().Add(50 * time.Millisecond); time.Now().Before(until); {
				passed += l.admitted(7, 1)
			}
			return passed >= 40
		})
		if most := 10 + int64(time.Since(start)/(5*time.Millisecond)) + 1; passed > most {
			t.Errorf("%d pass, want up to %d", passed, most)
		}
	})
}

func TestCharge(t *testing.T) {
	server := redistest.Start(t)
	one := slow
	one.Debt = 50
	l, other := limits(started(t, at(server)), 0, one), limits(started(t, at(server)), 0, one)
	l.admitted(7, 1)
	key, id := l.someone(7)
	l.Charge(key, id, 60)
	await(t, func() bool { return l.Levels(key, nil)[0].Remaining == 39 })
	if n := other.admitted(7, 100); n != 39 {
		t.Errorf("%d pass at another gateway, want 39", n)
	}
	l.Charge(key, id, 1<<60)
	await(t, func() bool { return l.Levels(key, nil)[0].Full > 899*time.Minute })
	if full := l.Levels(key, nil)[0].Full; full > 900*time.Minute {
		t.Errorf("full in %s, which is more debt than there may be", full)
	}
}

// What Redis holds tells nobody who the callers are, and does not stay.
func TestKeysInRedis(t *testing.T) {
	server := redistest.Start(t)
	l := limits(started(t, at(server)), 0, perSecond(10, 100))
	id := []byte("ada@example.com")
	l.Take(l.Hash(id), id)
	keys, _ := server.Do("KEYS", "*").([]any)
	buckets := 0
	for _, key := range keys {
		name, _ := key.(string)
		if strings.Contains(name, "ada") || !strings.HasPrefix(name, "pithead:") {
			t.Errorf("key %q", name)
		}
		if ttl, _ := server.Do("PTTL", key).(int64); ttl <= 0 || ttl > 12_000 {
			t.Errorf("key %q lives for %d ms", name, ttl)
		}
		if strings.HasPrefix(name, "pithead:fair:") {
			buckets++
		}
	}
	if buckets != 1 || len(keys) != 2 {
		t.Errorf("keys %q", keys)
	}
}

// R08: however many ask three gateways at once about one caller, no token is given twice,
// and those who ask while an answer is on its way share the next question.
func TestFaultNeverTooMany(t *testing.T) {
	t.Attr("row", "R08")
	t.Attr("wants", "three gateways admit at most 1.02 times the limit")
	server := redistest.Start(t)
	f := func(name string, lease int64, limits_ ...limiter.Limit) {
		t.Helper()
		t.Run("R08: "+name, func(t *testing.T) {
			server.Do("FLUSHALL")
			var gateways []*Limiter
			for range 3 {
				gateways = append(gateways, limits(started(t, at(server)), lease, limits_...))
			}
			var passed atomic.Int64
			var wg sync.WaitGroup
			for i := range 10_000 {
				wg.Go(func() { passed.Add(gateways[i%3].admitted(7, 1)) })
			}
			wg.Wait()
			asked, refused := uint64(0), uint64(0)
			for _, l := range gateways {
				d := l.Decisions()
				refused += d["memory"]
				asked += d["redis"]
				if d["local"] != 0 {
					t.Errorf("decisions %v: Redis was given up", d)
				}
			}
			if n := passed.Load(); n > 500 || n < 500-3*lease {
				t.Errorf("%d of 10,000 pass, want 500", n)
			}
			t.Logf("%d of 10,000 pass, %.3f times the limit; %d asked, %d refused by memory", passed.Load(), float64(passed.Load())/500, asked, refused)
		})
	}
	big := limiter.Limit{Name: "per-hour", Count: 1, Per: time.Hour, Burst: 500}
	f("one limit", 0, big)
	f("two limits", 0, big, perDay(1000))
	f("with leases", 50, big)
}
