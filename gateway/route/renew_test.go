package route

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/pace"
)

// TestRenewIsLikeNew changes a list of rules at random and wants a table on top of the
// one before to find and to explain what a new one does.
func TestRenewIsLikeNew(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	made := 0
	one := func() *Rule {
		made++
		r := &Rule{Name: fmt.Sprint(made)}
		if n := random.IntN(4); n > 0 {
			r.Hosts = [][]string{nil, {"a.example"}, {"b.example", "*.example"}, {"", "a.example"}}[n]
		}
		switch random.IntN(4) {
		case 0:
			r.Path = fmt.Sprintf("/p%d", random.IntN(4))
		case 1:
			r.Path = fmt.Sprintf("/{x}/q%d", random.IntN(4))
		case 2:
			r.Prefix = fmt.Sprintf("/p%d", random.IntN(4))
		case 3:
			r.PathRegex = fmt.Sprintf("/[a-z]%d", random.IntN(4))
		}
		if random.IntN(3) == 0 {
			r.Methods = []string{"GET"}
		}
		return r
	}
	var rules []*Rule
	var table *Table
	sites, shared := 0, 0
	for range 300 {
		switch n := random.IntN(4); {
		case n == 0 && len(rules) > 0:
			i := random.IntN(len(rules))
			rules = slices.Delete(slices.Clone(rules), i, i+1)
		case n == 1 && len(rules) > 1:
			rules = slices.Clone(rules)
			i, j := random.IntN(len(rules)), random.IntN(len(rules))
			rules[i], rules[j] = rules[j], rules[i]
		case len(rules) < 12:
			rules = slices.Insert(slices.Clone(rules), random.IntN(len(rules)+1), one())
		}
		places, plain := make([]Place, len(rules)), make([]Rule, len(rules))
		for i, r := range rules {
			places[i], plain[i] = Place{Key: r, Route: i / 2}, *r
			plain[i].Route = i / 2
		}
		next, err := Renew(table, places, pace.New(), func(i int) Rule { return *rules[i] })
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := New(plain)
		if err != nil {
			t.Fatal(err)
		}
		if table != nil {
			for name, s := range next.names {
				sites++
				if table.names[name] == s {
					shared++
				}
			}
		}
		table = next
		if diff := cmp.Diff(fresh.Order(), table.Order()); diff != "" {
			t.Fatalf("order (-new +renewed):\n%s", diff)
		}
		x := &gateway.Exchange{}
		for _, host := range []string{"a.example", "b.example", "c.example", "d"} {
			for n := range 4 {
				for _, path := range []string{"/p%d", "/z/q%d", "/p%d/x", "/a%d"} {
					r, _ := http.NewRequest(http.MethodGet, fmt.Sprintf("http://"+host+path, n), nil) // always good
					if got, want := table.Match(r, x), fresh.Match(r, x); got.Rule != want.Rule {
						t.Fatalf("%s: rule %d, want %d", r.URL, got.Rule, want.Rule)
					}
					if diff := cmp.Diff(fresh.Explain(r, x), table.Explain(r, x)); diff != "" {
						t.Fatalf("%s (-new +renewed):\n%s", r.URL, diff)
					}
				}
			}
		}
	}
	if shared < 40 || shared == sites {
		t.Errorf("of %d indexes of hosts %d were taken over: that proves little", sites, shared)
	}
}
