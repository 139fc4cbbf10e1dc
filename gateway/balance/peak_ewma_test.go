package balance

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

// picks counts what n picks give, with nothing under way but what the test says.
func picks(p gateway.Picker, n int) map[*gateway.Endpoint]int {
	got := make(map[*gateway.Endpoint]int)
	for range n {
		got[p.Pick(nil)]++
	}
	return got
}

func TestPeakEWMAComparesTimeAndCrowd(t *testing.T) {
	for _, tt := range []struct {
		name        string
		weights     [2]int
		took        [2]time.Duration // 0 has not answered yet
		active      [2]int64
		wins        int
		equalChance bool
	}{
		{name: "faster", took: [2]time.Duration{20 * time.Millisecond, 10 * time.Millisecond}, wins: 1},
		{name: "fast but crowded", took: [2]time.Duration{10 * time.Millisecond, 20 * time.Millisecond}, active: [2]int64{3, 0}, wins: 1},
		{name: "crowded but still faster", took: [2]time.Duration{10 * time.Millisecond, 50 * time.Millisecond}, active: [2]int64{3, 0}, wins: 0},
		{name: "crowded for its weight", weights: [2]int{1, 3}, took: [2]time.Duration{10 * time.Millisecond, 10 * time.Millisecond}, active: [2]int64{2, 3}, wins: 1},
		{name: "new and idle beside a fast one", took: [2]time.Duration{time.Millisecond, 0}, equalChance: true},
		{name: "new and crowded beside a slow one", took: [2]time.Duration{time.Second, 0}, active: [2]int64{0, 1}, wins: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eps := balancetest.Endpoints(max(tt.weights[0], 1), max(tt.weights[1], 1))
			p := policyOf(t, "peak_ewma", nil)(eps)
			for i, ep := range eps {
				ep.Stats.Active.Store(tt.active[i])
				if tt.took[i] > 0 {
					ep.Stats.Latency.Observe(time.Now(), tt.took[i])
				}
			}
			got := picks(p, 400)
			if tt.equalChance {
				if got[eps[0]] < 100 || got[eps[1]] < 100 {
					t.Errorf("got %d and %d picks, want about 200 each", got[eps[0]], got[eps[1]])
				}
			} else if got[eps[tt.wins]] != 400 {
				t.Errorf("got %d and %d picks, want all for endpoint %d", got[eps[0]], got[eps[1]], tt.wins)
			}
		})
	}
}

// What an endpoint did long ago counts for nothing: it is tried again.
func TestPeakEWMAForgives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eps := balancetest.Endpoints(1, 1)
		p := policyOf(t, "peak_ewma", nil)(eps)
		eps[0].Stats.Latency.Fail(time.Now())
		good := func() { eps[1].Stats.Latency.Observe(time.Now(), 10*time.Millisecond) }
		good()
		if n := picks(p, 200)[eps[0]]; n != 0 {
			t.Errorf("right after a failure the endpoint got %d of 200 requests", n)
		}
		forgiven := time.Duration(0)
		for ; picks(p, 10)[eps[0]] == 0 && forgiven < 10*time.Minute; forgiven += time.Second {
			<-time.After(time.Second)
			good()
		}
		// A penalty of 1s fades to 10ms in ln(100) decays.
		if forgiven < 44*time.Second || forgiven > 49*time.Second {
			t.Errorf("it is tried again after %v, want about 46s", forgiven)
		}
	})
}

func TestPeakEWMARefusesSillyDecays(t *testing.T) {
	for _, decay := range []time.Duration{-1, 0, 99 * time.Millisecond, time.Hour + 1} {
		if (PeakEWMAConfig{Decay: decay}).Validate() == nil {
			t.Errorf("decay: %v was accepted", decay)
		}
	}
}
