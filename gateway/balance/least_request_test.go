package balance

import (
	"testing"

	"github.com/pithead/pithead/gateway/balance/balancetest"
)

func TestLeastRequestAvoidsTheBusy(t *testing.T) {
	f := func(choices int, weights []int, active []int64, never int) {
		t.Helper()
		eps := balancetest.Endpoints(weights...)
		for i, n := range active {
			eps[i].Stats.Active.Store(n)
		}
		p := policyOf(t, "least_request", func(into any) { into.(*LeastRequestConfig).Choices = choices })(eps)
		for range 1000 {
			if p.Pick(nil) == eps[never] {
				t.Errorf("weights %v, active %v: picked endpoint %d", weights, active, never)
				return
			}
		}
	}
	f(2, []int{1, 1}, []int64{1, 0}, 0)
	f(2, []int{2, 1}, []int64{3, 1}, 0)
	f(2, []int{2, 1}, []int64{1, 1}, 1)
	f(16, []int{1, 1, 1, 1}, []int64{5, 4, 9, 5}, 2)
}

func TestLeastRequestRefusesSillyChoices(t *testing.T) {
	for _, choices := range []int{-1, 0, 1, 17} {
		if (LeastRequestConfig{Choices: choices}).Validate() == nil {
			t.Errorf("choices: %d was accepted", choices)
		}
	}
}
