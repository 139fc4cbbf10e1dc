package middleware

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/pithead/pithead/gateway"
)

func splitOf(weights map[string]int) split {
	var arms []*canaryArm
	var stable *canaryArm
	for _, name := range sortedKeys(weights) {
		arm := &canaryArm{name: name, weight: weights[name]}
		if arms = append(arms, arm); name == "stable" {
			stable = arm
		}
	}
	return newSplit(arms, stable, "orders")
}

// R16: shares within 1 % of the whole over a million keys, with keys of a
// pattern that a weak hash would not spread.
func TestSplitShares(t *testing.T) {
	const keys = 1_000_000
	for _, weights := range []map[string]int{
		{"stable": 95, "canary": 5},
		{"stable": 1, "canary": 1},
		{"stable": 80, "canary": 15, "beta": 5},
		{"a": 1, "b": 2, "c": 3, "d": 4, "stable": 0},
	} {
		s, got, sum := splitOf(weights), map[string]int{}, 0
		for i := range keys {
			got[s.sticky("user-"+strconv.Itoa(i)).name]++
		}
		for _, w := range weights {
			sum += w
		}
		for name, w := range weights {
			share, want := float64(got[name])/keys, float64(w)/float64(sum)
			if math.Abs(share-want) > 0.01 || w == 0 && got[name] > 0 {
				t.Errorf("%v: share of %s is %.4f, want %.4f", weights, name, share, want)
			}
		}
	}
}

// Growing an arm must only move keys into it, shrinking it only out of it.
func TestSplitMovesOnlyTowardsTheGrownArm(t *testing.T) {
	for _, tc := range []struct{ before, after map[string]int }{
		{map[string]int{"stable": 95, "canary": 5}, map[string]int{"stable": 90, "canary": 10}},
		{map[string]int{"stable": 95, "canary": 5}, map[string]int{"stable": 0, "canary": 100}},
		{map[string]int{"stable": 90, "canary": 5, "beta": 5}, map[string]int{"stable": 90, "canary": 20, "beta": 5}},
	} {
		before, after, moved := splitOf(tc.before), splitOf(tc.after), 0
		for i := range 200_000 {
			key := strconv.Itoa(i)
			from, to := before.sticky(key).name, after.sticky(key).name
			if from == to {
				continue
			}
			if moved++; to != "canary" {
				t.Fatalf("%v -> %v: key %s moves from %s to %s", tc.before, tc.after, key, from, to)
			}
		}
		if moved == 0 {
			t.Errorf("%v -> %v moves nobody", tc.before, tc.after)
		}
	}
}

// The numbers were computed once and written down: another process, another
// release and another replica must agree with them.
func TestSplitIsTheSameForEver(t *testing.T) {
	two, three := splitOf(map[string]int{"stable": 50, "canary": 50}), splitOf(map[string]int{"stable": 60, "canary": 30, "beta": 10})
	got := ""
	for i := range 24 {
		got += two.sticky("user-" + strconv.Itoa(i)).name[:1]
		got += three.sticky("user-" + strconv.Itoa(i)).name[:1]
	}
	const want = "scsbsscscscbccsccscssscbcscscbsssbsccccscscccccs"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSplitDrawAtRandom(t *testing.T) {
	s := splitOf(map[string]int{"stable": 2, "canary": 1, "beta": 1})
	for u, want := range map[uint64]string{0: "beta", 1 << 62: "canary", 1 << 63: "stable", math.MaxUint64: "stable"} {
		if got := s.draw(u).name; got != want {
			t.Errorf("draw(%x) = %s, want %s", u, got, want)
		}
	}
}

func TestSplitDoesNotAllocate(t *testing.T) {
	s := splitOf(map[string]int{"stable": 80, "canary": 15, "beta": 5})
	if n := testing.AllocsPerRun(100, func() { s.sticky("alice") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCanary(b *testing.B) {
	m := &canary{header: "X-Canary", sticky: StickyKey{From: stickySubject}}
	cluster := orders("stable", "canary")
	stable := &canaryArm{name: "stable", cluster: cluster, subset: "stable", weight: 95}
	m.arms = []*canaryArm{{name: "canary", cluster: cluster, subset: "canary", weight: 5}, stable}
	m.stable, m.canary, m.fallback = stable, m.arms[0], stable
	m.split = newSplit(m.arms, stable, "orders")
	x, _ := send(gateway.Step{Wrap: m.wrap}, nil)
	x.Subject = "alice"
	b.Run("sticky", func(b *testing.B) {
		b.ReportAllocs()
		r := benchRequest()
		for b.Loop() {
			m.apply(r, x)
		}
	})
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		r := benchRequest()
		r.Header.Set("X-Canary", "always")
		for b.Loop() {
			m.apply(r, x)
		}
	})
}

func benchRequest() *http.Request { return httptest.NewRequest(http.MethodGet, "/v1/orders/7", nil) }
