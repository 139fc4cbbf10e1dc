package balance

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

func TestTurns(t *testing.T) {
	f := func(weights []int, want string) {
		t.Helper()
		eps := balancetest.Endpoints(weights...)
		names := make(map[*gateway.Endpoint]rune)
		for i, ep := range eps {
			names[ep] = rune('a' + i)
		}
		got := make([]rune, 0, 8)
		for _, ep := range turns(eps) {
			got = append(got, names[ep])
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("turns of %v (-want +got):\n%s", weights, diff)
		}
	}
	f(nil, "")
	f([]int{1}, "a")
	f([]int{100}, "a")
	f([]int{1, 1, 1}, "abc")
	f([]int{4, 4, 8}, "cabc")
	f([]int{5, 1, 1}, "aaabcaa")
	f([]int{3, 2}, "ababa")
	f([]int{0, -5, 2}, "cabc")
}

func TestTurnsAreBounded(t *testing.T) {
	weights := make([]int, 10_000)
	for i := range weights {
		weights[i] = 100 - 99*min(i%10, 1) // every tenth weighs 100, the others 1 and would round to nothing
	}
	cycle := turns(balancetest.Endpoints(weights...))
	if len(cycle) > maxTurns+len(weights) {
		t.Errorf("a cycle of %d turns, want at most %d", len(cycle), maxTurns+len(weights))
	}
	seen := make(map[*gateway.Endpoint]bool)
	for _, ep := range cycle {
		seen[ep] = true
	}
	if len(seen) != len(weights) {
		t.Errorf("%d of %d endpoints have a turn", len(seen), len(weights))
	}
}
