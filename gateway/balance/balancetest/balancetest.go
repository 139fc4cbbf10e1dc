// Package balancetest is the conformance test of balancing policies. The test
// of a policy is one line:
//
//	balancetest.Run(t, policy)
package balancetest

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// Endpoints makes one endpoint for each weight, with fresh stats.
func Endpoints(weights ...int) []*gateway.Endpoint {
	eps := make([]*gateway.Endpoint, len(weights))
	for i, w := range weights {
		eps[i] = &gateway.Endpoint{
			Target: gateway.Target{Addr: fmt.Sprintf("10.0.%d.%d:80", i/250, i%250+1), Weight: w},
			Stats:  new(gateway.Stats),
		}
	}
	return eps
}

// Exchange is that of client n: it has an address, a subject, and a request with
// a header x-user, a cookie sid and a query parameter id of its own.
func Exchange(n int) *gateway.Exchange {
	name := strconv.Itoa(n)
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: "id=" + name}, Header: http.Header{
		"X-User": {name}, "Cookie": {"theme=dark; sid=" + name},
	}}
	return &gateway.Exchange{
		Request: r, Subject: name,
		Client: netip.AddrFrom4([4]byte{192, byte(n >> 16), byte(n >> 8), byte(n)}),
	}
}

// Run checks what every policy must hold: an empty set gives nil, a single
// endpoint is always picked, only endpoints of the set are picked, load is
// spread by weight within 5 % while requests are under way, pickers of older sets
// go on working, picking allocates nothing, is safe for any number of goroutines,
// and leaves the slice alone.
func Run(t *testing.T, policy gateway.Policy) {
	t.Helper()
	t.Run("empty set", func(t *testing.T) {
		for _, eps := range [][]*gateway.Endpoint{nil, {}} {
			if ep := policy(eps).Pick(&gateway.Exchange{}); ep != nil {
				t.Errorf("picked %s out of nothing", ep.Addr)
			}
		}
	})
	t.Run("single endpoint", func(t *testing.T) {
		eps := Endpoints(7)
		p := policy(eps)
		for range 100 {
			if ep := p.Pick(&gateway.Exchange{}); ep != eps[0] {
				t.Fatalf("picked %v, want the only endpoint", ep)
			}
		}
	})
	for _, weights := range [][]int{{1, 1}, {1, 1, 1}, {3, 1}, {5, 1, 1}, {50, 30, 20}, {10, 10, 10, 10, 10, 30}, {100, 1}} {
		t.Run(fmt.Sprintf("spread %v", weights), func(t *testing.T) { spread(t, policy, weights) })
	}
	t.Run("weight below one counts as one", func(t *testing.T) {
		eps := Endpoints(0, 1)
		got := load(policy(eps), 1000, 10)
		if got[eps[0]] < 400 || got[eps[1]] < 400 {
			t.Errorf("picked %d and %d times, want about 500 each", got[eps[0]], got[eps[1]])
		}
	})
	t.Run("many endpoints", func(t *testing.T) { many(t, policy) })
	t.Run("set is left alone", func(t *testing.T) { untouched(t, policy) })
	t.Run("set changes", func(t *testing.T) { changes(t, policy) })
	t.Run("second attempt", func(t *testing.T) { secondAttempt(t, policy) })
	t.Run("allocates nothing", func(t *testing.T) {
		eps := Endpoints(1, 2, 3, 4, 5)
		p := policy(eps)
		for i, ep := range eps {
			ep.Stats.Active.Store(int64(i))
			ep.Stats.Latency.Observe(time.Now(), time.Duration(i+1)*time.Millisecond)
		}
		for name, x := range map[string]*gateway.Exchange{"nothing known": {}, "a request": Exchange(7)} {
			if n := testing.AllocsPerRun(1000, func() { p.Pick(x) }); n != 0 {
				t.Errorf("with %s, Pick allocates %v times, want 0", name, n)
			}
		}
	})
	t.Run("concurrent", func(t *testing.T) { concurrent(t, policy) })
}

// load picks n times with a constant number of requests under way, each of
// which takes as long as every other.
func load(p gateway.Picker, n, underWay int) map[*gateway.Endpoint]int {
	got, x := make(map[*gateway.Endpoint]int), &gateway.Exchange{}
	ring := make([]*gateway.Endpoint, underWay)
	for i := range n {
		if done := ring[i%underWay]; done != nil {
			done.Stats.Active.Add(-1)
		}
		ep := p.Pick(x)
		ep.Stats.Active.Add(1)
		ring[i%underWay] = ep
		got[ep]++
	}
	for _, ep := range ring {
		ep.Stats.Active.Add(-1)
	}
	return got
}

func spread(t *testing.T, policy gateway.Policy, weights []int) {
	const picks = 200_000
	eps := Endpoints(weights...)
	total := 0
	for _, w := range weights {
		total += w
	}
	got := load(policy(eps), picks, 4*total)
	for i, ep := range eps {
		want := float64(picks) * float64(weights[i]) / float64(total)
		// Of few requests chance has more to say: six standard deviations.
		within := max(0.05, 6/math.Sqrt(want))
		if off := math.Abs(float64(got[ep])-want) / want; off > within {
			t.Errorf("endpoint %d of weight %d got %d requests, want %.0f within %.0f %%", i, weights[i], got[ep], want, within*100)
		}
	}
	members(t, eps, got)
}

func members(t *testing.T, eps []*gateway.Endpoint, got map[*gateway.Endpoint]int) {
	t.Helper()
	in := make(map[*gateway.Endpoint]bool, len(eps))
	for _, ep := range eps {
		in[ep] = true
	}
	for ep := range got {
		if !in[ep] {
			t.Errorf("picked %v, which is not in the set", ep)
		}
	}
}

// many holds a policy to a set at the limit of discovery: it must be built in
// reasonable memory and reach every endpoint.
func many(t *testing.T, policy gateway.Policy) {
	weights := make([]int, 10_000)
	for i := range weights {
		weights[i] = i%10 + 1
	}
	eps := Endpoints(weights...)
	got := load(policy(eps), 250_000, 1000)
	members(t, eps, got)
	if len(got) < len(eps)*98/100 {
		t.Errorf("a quarter of a million requests reached %d of %d endpoints", len(got), len(eps))
	}
}

func untouched(t *testing.T, policy gateway.Policy) {
	eps := Endpoints(1, 5, 3)
	before := append([]*gateway.Endpoint(nil), eps...)
	p := policy(eps)
	for i, ep := range eps {
		if ep != before[i] {
			t.Errorf("the policy moved endpoint %d", i)
		}
	}
	stranger := Endpoints(1)[0]
	for i := range eps {
		eps[i] = stranger
	}
	for range 100 {
		if p.Pick(&gateway.Exchange{}) == stranger {
			t.Fatal("the picker kept the slice that it was made from")
		}
	}
}
