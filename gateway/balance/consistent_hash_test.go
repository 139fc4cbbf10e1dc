package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

func hashing(t *testing.T, load float64, key string) gateway.Policy {
	t.Helper()
	return policyOf(t, "consistent_hash", func(into any) {
		c := into.(*ConsistentHashConfig)
		c.Load, c.Key = load, keyOf(t, key)
	})
}

// Gateways that list the endpoints in different orders agree, and so do releases:
// a change of these addresses would move the keys of all users at an update.
func TestConsistentHashIsTheSameEverywhere(t *testing.T) {
	eps := balancetest.Endpoints(1, 1, 2, 1)
	shuffled := slices.Clone(eps)
	slices.Reverse(shuffled)
	one, other := hashing(t, 1.25, "header:x-user")(eps), hashing(t, 1.25, "header:x-user")(shuffled)
	var got []string
	for i := range 1000 {
		x := balancetest.Exchange(i)
		a, b := one.Pick(x), other.Pick(x)
		if a != b {
			t.Fatalf("key %d is with %s and %s", i, a.Addr, b.Addr)
		}
		if i < 8 {
			got = append(got, strings.TrimPrefix(strings.TrimSuffix(a.Addr, ":80"), "10.0.0."))
		}
	}
	if diff := cmp.Diff("3 3 3 4 2 3 4 4", strings.Join(got, " ")); diff != "" {
		t.Errorf("keys 0 to 7 (-want +got):\n%s", diff)
	}
}

func TestConsistentHashSaltTellsUpstreamsApart(t *testing.T) {
	eps := balancetest.Endpoints(1, 1, 1, 1)
	pick := func(salt, upstream string) (addrs [64]string) {
		c := ConsistentHashConfig{Key: HashKey{From: "subject"}, Salt: salt}
		policy, err := newConsistentHash(c, Env{Upstream: upstream})
		if err != nil {
			t.Fatal(err)
		}
		p := policy(eps)
		for i := range addrs {
			addrs[i] = p.Pick(balancetest.Exchange(i)).Addr
		}
		return addrs
	}
	if pick("", "orders") == pick("", "billing") {
		t.Error("two upstreams hash alike without a salt")
	}
	if pick("shared", "orders") != pick("shared", "billing") {
		t.Error("two upstreams with one salt hash differently")
	}
}

// crowd keeps n requests under way, of which a share is of one key, and checks
// after every pick that nobody has more than the limit. slack is how many more
// requests may have been under way than were counted last.
func crowd(t *testing.T, weights []int, load float64, n, slack int) (most float64) {
	t.Helper()
	eps := balancetest.Endpoints(weights...)
	p := hashing(t, load, "subject")(eps)
	weight := 0
	for _, w := range weights {
		weight += w
	}
	var underWay []*gateway.Endpoint
	for range 10_000 + 5*n {
		if len(underWay) == n { // any of them ends
			i := rand.IntN(n)
			underWay[i].Stats.Active.Add(-1)
			underWay[i] = underWay[n-1]
			underWay = underWay[:n-1]
		}
		key := rand.IntN(1000)
		if key < 500 {
			key = 1 // the hot one
		}
		ep := p.Pick(balancetest.Exchange(key))
		active := ep.Stats.Active.Add(1)
		underWay = append(underWay, ep)
		share := float64(len(underWay)+slack) * float64(ep.Weight) / float64(weight)
		if float64(active) > math.Ceil(load*share-1e-9) {
			t.Fatalf("%s of weight %d has %d of %d requests, its share is %.1f", ep.Addr, ep.Weight, active, len(underWay), share)
		}
		if len(underWay) == n {
			most = max(most, float64(active)/share)
		}
	}
	return most
}

func TestConsistentHashBoundsTheLoad(t *testing.T) {
	for _, tt := range []struct {
		weights []int
		load    float64
		n       int
		slack   int
	}{
		{slices.Repeat([]int{1}, 10), 1.25, 200, 0},
		{slices.Repeat([]int{1}, 10), 1.1, 1000, 0},
		{slices.Repeat([]int{1}, 10), 2, 15, 0},
		{[]int{1, 2, 3, 10}, 1.25, 200, 0},
		{slices.Repeat([]int{1}, 63), 1.5, 500, 0},
		{slices.Repeat([]int{1}, 1000), 1.25, 2000, 1000/countedAtOnce + 1}, // counted now and then
	} {
		t.Run(fmt.Sprintf("%d endpoints, load %v, %d requests", len(tt.weights), tt.load, tt.n), func(t *testing.T) {
			most := crowd(t, tt.weights, tt.load, tt.n, tt.slack)
			if tt.n >= 10*len(tt.weights) && most < 1.05 {
				t.Errorf("the busiest had %.2f times its share: the hot key was not held to its endpoint at all", most)
			}
		})
	}
}

func TestConsistentHashWithoutALimit(t *testing.T) {
	eps := balancetest.Endpoints(1, 1, 1)
	p, x := hashing(t, 0, "subject")(eps), balancetest.Exchange(1)
	first := p.Pick(x)
	first.Stats.Active.Store(1_000_000)
	if ep := p.Pick(x); ep != first {
		t.Errorf("a million requests moved the key from %s to %s", first.Addr, ep.Addr)
	}
}

// The order in which others stand in for an endpoint is that of the key too.
func TestConsistentHashAttemptsGoOnInOrder(t *testing.T) {
	eps := balancetest.Endpoints(1, 1, 1, 1, 1)
	for _, load := range []float64{0, 1.25} {
		p, standIns := hashing(t, load, "subject")(eps), make(map[string]bool)
		for i := range 200 {
			x := balancetest.Exchange(i)
			first := p.Pick(x)
			x.Endpoint, x.Attempts = first, 1
			second := p.Pick(x)
			standIns[second.Addr] = true
			if second == first || p.Pick(x) != second {
				t.Fatalf("load %v: key %d goes to %s, then to %s and %s", load, i, first.Addr, second.Addr, p.Pick(x).Addr)
			}
			without := slices.DeleteFunc(slices.Clone(eps), func(ep *gateway.Endpoint) bool { return ep == first })
			if there := hashing(t, load, "subject")(without).Pick(balancetest.Exchange(i)); there != second {
				t.Fatalf("load %v: key %d goes to %s after a failure, to %s when %s is gone", load, i, second.Addr, there.Addr, first.Addr)
			}
		}
		if len(standIns) != len(eps) {
			t.Errorf("load %v: only %d endpoints stand in for others", load, len(standIns))
		}
	}
}

func TestConsistentHashWithoutAKeyLooksForTheIdle(t *testing.T) {
	eps := balancetest.Endpoints(1, 1)
	eps[0].Stats.Active.Store(3)
	p := hashing(t, 1.25, "subject")(eps)
	for _, x := range []*gateway.Exchange{nil, {}} {
		for range 50 {
			if ep := p.Pick(x); ep != eps[1] {
				t.Fatalf("picked %s, which is busy", ep.Addr)
			}
		}
	}
}

func TestConsistentHashRefusesSillyLoads(t *testing.T) {
	for _, load := range []float64{-1, 0.5, 1, 1.09, 101, math.NaN(), math.Inf(1)} {
		if (ConsistentHashConfig{Load: load}).Validate() == nil {
			t.Errorf("load: %v was accepted", load)
		}
	}
	for _, load := range []float64{0, 1.1, 1.25, 100} {
		if err := (ConsistentHashConfig{Load: load}).Validate(); err != nil {
			t.Errorf("load: %v: %v", load, err)
		}
	}
}
