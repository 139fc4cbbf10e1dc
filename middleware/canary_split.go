package middleware

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/siphash"
)

// split divides sticky keys, or random draws, among weighted arms.
//
// Two arms divide the line from 0 to 1 at one point: the arm that is not stable
// owns the part below it. So growing the canary moves keys only from stable to
// canary, and shrinking it only back. More arms use weighted rendezvous hashing:
// each arm scores the key with a hash of its own, the best score wins, and a
// greater weight only raises the arm's own scores; so growing one arm moves keys
// only into it.
type split struct {
	arms []*canaryArm  // by name; of two, stable is the second
	keys []siphash.Key // of more than two arms
	one  siphash.Key   // of the line
	sum  float64       // of the weights
}

// newSplit splits among arms, which are sorted by name and of which at least one
// has a weight.
func newSplit(arms []*canaryArm, stable *canaryArm, salt string) *split {
	s := &split{arms: slices.Clone(arms), one: siphash.KeyOf(salt)}
	for _, arm := range arms {
		s.sum += float64(arm.weight)
	}
	if len(arms) == 2 {
		slices.SortFunc(s.arms, func(a, b *canaryArm) int { return strings.Compare(rank(a, stable), rank(b, stable)) })
		return s
	}
	for _, arm := range s.arms {
		s.keys = append(s.keys, siphash.KeyOf(salt+"\x00"+arm.name))
	}
	return s
}

// rank sorts the stable arm last, the others by name.
func rank(a, stable *canaryArm) string {
	if a == stable {
		return "\xff"
	}
	return a.name
}

// sticky is the arm of key, always the same for the same key and weights.
func (s *split) sticky(key string) *canaryArm {
	if len(s.arms) <= 2 {
		return s.draw(s.one.Sum(key))
	}
	best, bestScore := s.arms[0], math.Inf(-1)
	for i, arm := range s.arms {
		if arm.weight == 0 {
			continue
		}
		// -weight/ln(u) for u uniform in (0,1) makes each arm win in proportion to its weight.
		if score := -float64(arm.weight) / math.Log(unit(s.keys[i].Sum(key))); score > bestScore {
			best, bestScore = arm, score
		}
	}
	return best
}

// draw is the arm at the point u of the line, u being uniform in 64 bits.
func (s *split) draw(u uint64) *canaryArm {
	point := unit(u) * s.sum
	last := s.arms[len(s.arms)-1]
	for _, arm := range s.arms[:len(s.arms)-1] {
		if point < float64(arm.weight) {
			return arm
		}
		point -= float64(arm.weight)
	}
	return last
}

// unit maps 64 uniform bits into the open interval (0,1). It uses 52 of them: the
// 53rd would leave no room for the half, and the last value would be rounded to 1.
func unit(u uint64) float64 { return (float64(u>>12) + 0.5) / (1 << 52) }

// String writes the split as `canary 5, stable 95`.
func (s *split) String() string {
	parts := make([]string, 0, len(s.arms))
	for _, arm := range s.arms {
		parts = append(parts, fmt.Sprintf("%s %d", arm.name, arm.weight))
	}
	return strings.Join(parts, ", ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
