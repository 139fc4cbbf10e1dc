package balance

import (
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

func TestRoundRobinIsExactOverAnyCycle(t *testing.T) {
	weights := []int{7, 3, 2, 1}
	eps := balancetest.Endpoints(weights...)
	p := policyOf(t, "round_robin", nil)(eps)
	for range 5 { // each time from where the last cycle ended, after a random start
		got := make(map[*gateway.Endpoint]int)
		for range 13 {
			got[p.Pick(nil)]++
		}
		for i, ep := range eps {
			if got[ep] != weights[i] {
				t.Errorf("endpoint %d had %d turns in a cycle, want %d", i, got[ep], weights[i])
			}
		}
	}
}
