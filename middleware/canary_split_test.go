package middleware

import (
	"fmt"
	"math"
	"strconv"
	"testing"
)

func splitOf(weights map[string]int) *split { return saltedSplit("orders", weights) }

func saltedSplit(salt string, weights map[string]int) *split {
	var arms []*canaryArm
	var stable *canaryArm
	for _, name := range sortedKeys(weights) {
		arm := &canaryArm{name: name, weight: weights[name]}
		if arms = append(arms, arm); name == "stable" {
			stable = arm
		}
	}
	return newSplit(arms, stable, salt)
}

// Shares are within 1 % of the whole over a million keys, with keys of a pattern
// that a weak hash would not spread.
func TestSplitShares(t *testing.T) {
	const keys = 1_000_000
	for _, weights := range []map[string]int{
		{"stable": 95, "canary": 5},
		{"stable": 1, "canary": 1},
		{"stable": 80, "canary": 15, "beta": 5},
		{"a": 1, "b": 2, "c": 3, "d": 4, "stable": 0},
	} {
		t.Run(fmt.Sprint("R16 ", weights), func(t *testing.T) {
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
					t.Errorf("share of %s is %.4f, want %.4f", name, share, want)
				}
			}
		})
	}
}

// Keys that somebody has chosen because they draw the canary under a salt that he
// knows are spread like any others by a salt that he does not know.
func TestSplitOfChosenKeys(t *testing.T) {
	for _, weights := range []map[string]int{{"stable": 95, "canary": 5}, {"stable": 90, "canary": 5, "beta": 5}} {
		t.Run(fmt.Sprint("R16 ", weights), func(t *testing.T) {
			known, secret := splitOf(weights), saltedSplit("0b5c8f0e", weights)
			chosen, hits := 0, 0
			for i := 0; chosen < 10_000; i++ {
				if key := strconv.Itoa(i); known.sticky(key).name == "canary" {
					chosen++
					if secret.sticky(key).name == "canary" {
						hits++
					}
				}
			}
			if share := float64(hits) / float64(chosen); math.Abs(share-0.05) > 0.01 {
				t.Errorf("share of the canary is %.4f, want 0.05", share)
			}
		})
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

// At the very ends of the line too, an arm of weight 0 gets nothing.
func TestSplitDrawsNoArmOfWeightZero(t *testing.T) {
	for _, weights := range []map[string]int{
		{"stable": 0, "canary": 1},
		{"stable": 1, "canary": 0},
		{"stable": 0, "canary": 95, "beta": 0},
		{"stable": 0, "canary": 333_333, "beta": 1_000_000},
	} {
		s := splitOf(weights)
		for _, u := range []uint64{0, 1, 1 << 11, math.MaxUint64 - 1<<11, math.MaxUint64} {
			if arm := s.draw(u); arm.weight == 0 {
				t.Errorf("%v: draw(%x) = %s", weights, u, arm.name)
			}
		}
	}
	for _, u := range []uint64{0, math.MaxUint64} {
		if p := unit(u); p <= 0 || p >= 1 {
			t.Errorf("unit(%x) = %v is not between 0 and 1", u, p)
		}
	}
}

func TestSplitDoesNotAllocate(t *testing.T) {
	s := splitOf(map[string]int{"stable": 80, "canary": 15, "beta": 5})
	if n := testing.AllocsPerRun(100, func() { s.sticky("alice") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
