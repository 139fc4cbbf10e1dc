package balance

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
	"github.com/pithead/pithead/gateway/siphash"
)

var testKey = siphash.KeyOf("orders")

// owners are the addresses that the first n keys belong to.
func owners(r *ring, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = r.at(r.find(testKey.Sum("key " + strconv.Itoa(i)))).Addr
	}
	return all
}

func TestRingMovesFewKeys(t *testing.T) {
	const keys = 10_000
	all := balancetest.Endpoints(slices.Repeat([]int{1}, 8*11)...)
	most := 0
	for set := range 8 {
		eleven := all[set*11:][:11]
		ten := eleven[:10]
		before := owners(newRing(ten, testKey), keys)
		check := func(what string, changed *gateway.Endpoint, after []string, comes bool) {
			moved := 0
			for i := range before {
				if before[i] == after[i] {
					continue
				}
				moved++
				if comes && after[i] != changed.Addr || !comes && before[i] != changed.Addr {
					t.Fatalf("%s of %s moved a key from %s to %s", what, changed.Addr, before[i], after[i])
				}
			}
			most = max(most, moved)
			if moved > keys*12/100 {
				t.Errorf("%s of %s moved %d of %d keys, want 12 %% at most", what, changed.Addr, moved, keys)
			}
		}
		for i, gone := range ten {
			check("removal", gone, owners(newRing(slices.Concat(ten[:i], ten[i+1:]), testKey), keys), false)
		}
		check("arrival", eleven[10], owners(newRing(eleven, testKey), keys), true)
	}
	t.Logf("at most %.1f %% of the keys moved", float64(most)*100/keys)
}

// A smaller weight takes keys from this endpoint only: what slow start does.
func TestRingWeightChangesMoveOnlyThatEndpoint(t *testing.T) {
	const keys = 20_000
	eps := balancetest.Endpoints(10, 10, 10, 10, 10)
	before := owners(newRing(eps, testKey), keys)
	left := 0
	for weight := 9; weight > 0; weight-- {
		eps[2].Weight = weight
		left = 0
		for i, after := range owners(newRing(eps, testKey), keys) {
			if after != before[i] && before[i] != eps[2].Addr {
				t.Fatalf("weight %d moved a key from %s to %s", weight, before[i], after)
			}
			if after == eps[2].Addr {
				left++
			}
		}
	}
	if want := keys * 1 / 41; left < want*7/10 || left > want*13/10 {
		t.Errorf("a tenth of the weight has %d keys, want about %d", left, want)
	}
}

func TestRingSharesByWeight(t *testing.T) {
	const keys = 100_000
	for _, weights := range [][]int{{1, 1, 1, 1, 1}, {5, 3, 2}, {100, 50, 50}, {10, 10, 10, 30}, {0, 1}} {
		eps, total := balancetest.Endpoints(weights...), 0
		for _, w := range weights {
			total += max(w, 1)
		}
		got := make(map[string]int)
		for _, addr := range owners(newRing(eps, testKey), keys) {
			got[addr]++
		}
		for i, ep := range eps {
			if want := keys * max(weights[i], 1) / total; got[ep.Addr] < want*85/100 || got[ep.Addr] > want*115/100 {
				t.Errorf("%v: endpoint %d has %d keys, want %d within 15 %%", weights, i, got[ep.Addr], want)
			}
		}
	}
}

// The ring against the plainest search there is, for rings of all sizes.
func TestRingFindsTheNextPoint(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 64, 65, 1024, 1025} {
		r := newRing(balancetest.Endpoints(slices.Repeat([]int{1}, n)...), testKey)
		if !slices.IsSorted(r.points) {
			t.Fatalf("%d endpoints: points are not in order", n)
		}
		hashes := []uint64{0, 1, 1<<63 - 1, 1 << 63, 1<<64 - 1, r.points[0], r.points[len(r.points)-1] + 1, r.points[len(r.points)/2]}
		for range 500 {
			hashes = append(hashes, rand.Uint64())
		}
		for _, h := range hashes {
			want, _ := slices.BinarySearchFunc(r.points, h, func(p, h uint64) int { return cmp.Compare(p&^r.index, h&^r.index) })
			if got := r.find(h); got != want%len(r.points) {
				t.Fatalf("%d endpoints: hash %x is given to point %d, want %d", n, h, got, want)
			}
		}
	}
}

func TestRingIsBounded(t *testing.T) {
	weights := slices.Repeat([]int{1}, 10_000)
	weights[0] = 100 // all others get a hundredth of its points, and one at least
	for _, eps := range [][]*gateway.Endpoint{balancetest.Endpoints(weights[1:]...), balancetest.Endpoints(weights...)} {
		r := newRing(eps, testKey)
		seen := make(map[*gateway.Endpoint]bool)
		for i := range r.points {
			seen[r.at(i)] = true
		}
		if len(r.points) > maxPoints || len(seen) != len(eps) {
			t.Errorf("%d points for %d of %d endpoints", len(r.points), len(seen), len(eps))
		}
	}
}
