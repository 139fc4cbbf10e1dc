package balancetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// changes takes a set apart and puts it together again: each picker knows only
// the set that it was made for, whatever the stats remember of others.
func changes(t *testing.T, policy gateway.Policy) {
	eps := Endpoints(1, 2, 3, 4, 5, 6)
	whole := policy(eps)
	for n := len(eps); n >= 0; n-- {
		p := policy(eps[:n])
		got := make(map[*gateway.Endpoint]int)
		for i := range 3000 {
			if ep := p.Pick(Exchange(i)); ep != nil {
				got[ep]++
			}
		}
		members(t, eps[:n], got)
		if len(got) != n {
			t.Errorf("of %d endpoints that are left, %d got requests", n, len(got))
		}
	}
	if ep := whole.Pick(Exchange(1)); !slices.Contains(eps, ep) {
		t.Errorf("the picker of the first set picked %v after the others were made", ep)
	}
}

// secondAttempt holds for pickers that look at what has been tried: there is
// always an answer, and it is of the set.
func secondAttempt(t *testing.T, policy gateway.Policy) {
	eps := Endpoints(1, 1, 1)
	for n := 1; n <= len(eps); n++ {
		p := policy(eps[:n])
		for i := range 100 {
			x := Exchange(i)
			for x.Attempts = range 5 {
				if x.Endpoint = p.Pick(x); !slices.Contains(eps[:n], x.Endpoint) {
					t.Fatalf("attempt %d of %d endpoints went to %v", x.Attempts, n, x.Endpoint)
				}
			}
		}
	}
}

// concurrent picks from many goroutines while the set is replaced and the stats
// are reported. Its worth is under the race detector.
func concurrent(t *testing.T, policy gateway.Policy) {
	eps := Endpoints(1, 2, 3)
	var current atomic.Pointer[gateway.Picker]
	publish := func(n int) {
		p := policy(eps[:n])
		current.Store(&p)
	}
	publish(len(eps))
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			x := Exchange(n)
			for i := range 2000 {
				ep := (*current.Load()).Pick(x)
				if ep == nil {
					t.Error("picked nil from a set that is not empty")
					return
				}
				ep.Stats.Active.Add(1)
				if i%10 == 0 {
					ep.Stats.Latency.Fail(time.Now())
				} else {
					ep.Stats.Latency.Observe(time.Now(), time.Duration(i)*time.Microsecond)
				}
				ep.Stats.Active.Add(-1)
			}
		})
	}
	for i := range 200 {
		publish(1 + i%len(eps))
	}
	wg.Wait()
}
