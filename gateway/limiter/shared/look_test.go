package shared

import (
	"testing"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/test/redistest"
)

// What an operator sees of a caller is what Redis knows, also of other gateways, and
// nothing is taken for it or written.
func TestLook(t *testing.T) {
	server := redistest.Start(t)
	redis := started(t, at(server))
	one := New(redis, Settings{Name: "fair", Limits: []limiter.Limit{slow}, Cost: 1, OnError: OnErrorLocal, Replicas: 4, MaxKeys: 100})
	two := limits(started(t, at(server)), 0, slow)
	key, id := one.someone(7)
	looks := func(want int64, wantBy By) {
		t.Helper()
		levels, by := one.Look(t.Context(), key, id)
		if by != wantBy || len(levels) != 1 || levels[0].Remaining != want {
			t.Errorf("%+v by %s, want %d by %s", levels, by, want, wantBy)
		}
	}
	for range 300 {
		looks(100, ByStore)
	}
	if n := server.Do("EXISTS", one.name(id)); n != int64(0) {
		t.Errorf("looking has made a key: %v", n)
	}
	two.admitted(7, 30) // elsewhere
	looks(70, ByStore)
	one.admitted(7, 10)
	looks(60, ByStore)
	if s := redis.State(); !s.Up || s.Breaker != "closed" || s.Why != nil || one.Deciding() != ByStore {
		t.Errorf("%+v, %s", s, one.Deciding())
	}
	server.Kill()
	away(t, one)
	// Its own share is 25, of which it knows 10 to be used, and whatever away has spent.
	levels, by := one.Look(t.Context(), key, id)
	if by != ByLocal || levels[0].Limit.Burst != 25 || levels[0].Remaining > 15 {
		t.Errorf("%+v by %s", levels, by)
	}
	if s := redis.State(); s.Up || s.Breaker == "closed" || s.Why == nil || one.Deciding() != ByLocal {
		t.Errorf("%+v, %s", s, one.Deciding())
	}
	if share, n := one.Share(); n != 4 || share[0].Burst != 25 {
		t.Errorf("%+v of %d", share, n)
	}
	for onError, want := range map[string]By{OnErrorOpen: ByOpen, OnErrorClosed: ByClosed} {
		l := New(redis, Settings{Name: "fair", Limits: []limiter.Limit{slow}, Cost: 1, OnError: onError, MaxKeys: 100})
		if levels, by := l.Look(t.Context(), key, id); by != want || levels != nil || l.Deciding() != want {
			t.Errorf("%s: %+v by %s", onError, levels, by)
		}
	}
}

// Tokens that a gateway has leased are the caller's still.
func TestLookSeesTheLease(t *testing.T) {
	server := redistest.Start(t)
	l := limits(started(t, at(server)), 50, slow)
	passed := l.admitted(7, 30)
	key, id := l.someone(7)
	levels, _ := l.Look(t.Context(), key, id)
	if c := l.callers.find(key); c == nil || c.grant.Load().leased == 0 {
		t.Fatal("nothing is leased")
	}
	if got := levels[0].Remaining; got != 100-passed {
		t.Errorf("%d left after %d", got, passed)
	}
}
