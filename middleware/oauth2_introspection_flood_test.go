package middleware_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// K12: however many opaque tokens somebody makes up, memory is bounded, no more questions are
// under way than was allowed, and whoever has a good token does not wait for those who have none.
// PITHEAD_FAULTS=full sends a million of them.
func TestIntrospectionFlood(t *testing.T) {
	t.Attr("row", "K12")
	t.Attr("wants", "1,000,000 tokens: memory and questions bounded, good ones answered after 2 s at most")
	flood, longest := 5000, 10*time.Second // of a machine with much else to do
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		flood, longest = 1_000_000, 2*time.Second
	}
	s := newAuthServer(t, map[string]string{"good": activeWith("")})
	var under, most atomic.Int64
	s.check = func(*http.Request) {
		now := under.Add(1)
		defer under.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
	}
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	h := middlewaretest.Build(t, env, s.block(`, max_in_flight: 8, cache: {size: 10000, ttl: 10m}`)).
		Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	send := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{}))
		return w.Code
	}
	if code := send("good"); code != http.StatusOK {
		t.Fatalf("status %d for the good token", code)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	var attackers, callers sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		attackers.Go(func() {
			for i := next.Add(1); i <= int64(flood); i = next.Add(1) {
				if code := send(fmt.Sprintf("junk-%d-%s", i, strings.Repeat("x", 64))); code != http.StatusUnauthorized {
					t.Errorf("status %d for junk", code)
					return
				}
			}
		})
	}
	done := make(chan struct{})
	var slowest time.Duration
	callers.Go(func() {
		for {
			at := time.Now()
			if code := send("good"); code != http.StatusOK {
				t.Errorf("status %d for the good token", code)
				return
			}
			slowest = max(slowest, time.Since(at))
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	attackers.Wait()
	close(done)
	callers.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d junk tokens in %s, heap grown by %d KiB, at most %d questions at once, slowest good one %s", flood, time.Since(begin), grown>>10, most.Load(), slowest)
	if grown > 32<<20 || most.Load() > 8 || slowest > longest {
		t.Error("that is too much")
	}
}
