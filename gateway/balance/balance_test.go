package balance

import (
	"testing"

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
