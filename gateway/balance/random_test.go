package balance

import (
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

// What conformance cannot tell from a fixed order: pickers of the same set differ.
func TestRandomDoesNotMarchInStep(t *testing.T) {
	policy, eps := policyOf(t, "random", nil), balancetest.Endpoints(1, 1, 1, 1)
	order := func() (order [40]*gateway.Endpoint) {
		p := policy(eps)
		for i := range order {
			order[i] = p.Pick(nil)
		}
		return order
	}
	if one, other := order(), order(); one == other {
		t.Error("two pickers gave the same forty endpoints in the same order")
	}
}
