package balance

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
	"github.com/pithead/pithead/gateway/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func policyOf(t *testing.T, name string, set func(into any)) gateway.Policy {
	t.Helper()
	k, ok := Kinds.Get(name)
	if !ok {
		t.Fatalf("no kind %q", name)
	}
	s, err := k.Decode(func(into any) error {
		if set != nil {
			set(into)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := s.Build(Env{Upstream: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func TestEveryKindConforms(t *testing.T) {
	for _, name := range Kinds.Names() {
		t.Run(name, func(t *testing.T) { balancetest.Run(t, policyOf(t, name, nil)) })
	}
}

func TestEveryKindIsDocumented(t *testing.T) {
	docs, err := kind.ReadDocs(Kinds.Source())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Kinds.Names() {
		k, _ := Kinds.Get(name)
		if _, example := kind.Example(docs[k.Type().Name()]); example == "" {
			t.Errorf("the doc comment of %s holds no example", k.Type())
		}
		for f := range k.Type().Fields() {
			if docs[k.Type().Name()+"."+f.Name] == "" {
				t.Errorf("%s.%s has no doc comment", k.Type(), f.Name)
			}
		}
	}
}

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

func BenchmarkPick(b *testing.B) {
	for _, name := range Kinds.Names() {
		b.Run(name, func(b *testing.B) {
			k, _ := Kinds.Get(name)
			s, err := k.Decode(func(any) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			policy, err := s.Build(Env{})
			if err != nil {
				b.Fatal(err)
			}
			p := policy(balancetest.Endpoints(5, 3, 2, 1, 1, 1, 1, 1))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					p.Pick(nil)
				}
			})
		})
	}
}
