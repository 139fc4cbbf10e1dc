package limiter

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// arrival is a request that passed.
type arrival struct {
	at   time.Time
	cost int64
}

// gaps are waits between requests, each as long as a habit has it: all at once, at
// the rate, faster, slower, and just before and after a full second.
func gap(r *rand.Rand, habit int, at time.Duration) time.Duration {
	switch habit % 5 {
	case 0:
		return 0
	case 1:
		return time.Duration(r.Int64N(int64(20 * time.Millisecond)))
	case 2:
		return time.Duration(r.Int64N(int64(time.Millisecond)))
	case 3:
		return time.Duration(r.Int64N(int64(time.Second)))
	}
	edge := at.Truncate(time.Second) + time.Second - at // to the next second
	if edge > time.Millisecond {
		return edge - time.Millisecond
	}
	return edge + time.Duration(r.Int64N(int64(time.Millisecond)))
}

// R07: there is no window, wherever it begins, with more than the burst and what the
// rate brings in it. x/time/rate decides the same of every request.
func TestAnyWindow(t *testing.T) {
	f := func(name string, l Limit, maxCost int64) {
		t.Helper()
		t.Run("R07: "+name, func(t *testing.T) {
			passed, compared := 0, 0
			for seed := range uint64(10) {
				synctest.Test(t, func(t *testing.T) {
					p, c := checkWindows(t, l, maxCost, rand.New(rand.NewPCG(seed, 5)))
					passed, compared = passed+p, compared+c
				})
			}
			if all := 10 * arrivals; passed < all/20 || passed > all*19/20 || compared < all*9/10 {
				t.Errorf("%d of %d pass, and %d are compared, which proves little", passed, all, compared)
			}
		})
	}
	f("100/s with a burst of 200 and costs", perSecond(100, 200), 40)
	f("100/s with a burst of 1", perSecond(100, 1), 1)
	f("8/s with a burst of 30 and costs", perSecond(8, 30), 9)
	f("a minute", Limit{Name: "m", Count: 600, Per: time.Minute, Burst: 20}, 1)
}

const arrivals = 1500

func checkWindows(t *testing.T, l Limit, maxCost int64, r *rand.Rand) (admitted, compared int) {
	t.Helper()
	perSecond := float64(l.Count) / l.Per.Seconds()
	b, oracle := New([]Limit{l}, 100), rate.NewLimiter(rate.Limit(perSecond), int(l.Burst))
	start, habit, agree := time.Now(), 0, true
	var passed []arrival
	for i := range arrivals {
		if i%50 == 0 {
			habit = r.IntN(5)
		}
		if d := gap(r, habit, time.Since(start)); d > 0 {
			pass(d)
		}
		cost := 1 + r.Int64N(maxCost)
		ok := b.Take(7, cost).OK
		if ok {
			passed = append(passed, arrival{time.Now(), cost})
		}
		if !agree {
			continue
		}
		// x/time/rate counts in floating point, and may round up a token that is a
		// nanosecond from being there. From then on it has one more or less.
		tokens := oracle.Tokens()
		agree = oracle.AllowN(time.Now(), int(cost)) == ok
		if compared++; !agree && math.Abs(tokens-float64(cost)) > 1e-6 {
			t.Errorf("request %d: %t, with %v tokens for %d", i, ok, tokens, cost)
		}
	}
	for i, first := range passed {
		sum := int64(0)
		for _, last := range passed[i:] {
			sum += last.cost
			if most := float64(l.Burst) + perSecond*last.at.Sub(first.at).Seconds() + 1e-6; float64(sum) > most {
				t.Fatalf("%d tokens in %s, want at most %.3f", sum, last.at.Sub(first.at), most)
			}
		}
	}
	return len(passed), compared
}
