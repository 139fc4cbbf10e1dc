package middleware_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestIPFilter(t *testing.T) {
	f := func(block string, status int, clients ...string) {
		t.Helper()
		env, _ := orders(t)
		step := middlewaretest.Build(t, env, block)
		for _, client := range clients {
			x := &gateway.Exchange{Client: netip.MustParseAddr(client)}
			a := send(t, env, step, "GET /", x)
			if a.Status != status || (a.Sent == nil) != (status != 200) || status != 200 && x.Err.Reason != "ip_denied" {
				t.Errorf("%s for %s: %d, %v", block, client, a.Status, x.Err)
			}
		}
	}
	const both = `ip_filter: {allow: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7], deny: [10.66.0.0/16, "2001:db8:0:1::/64", 10.1.2.3]}`
	f(both, 200, "10.0.0.0", "10.255.255.255", "10.65.255.255", "10.67.0.0", "10.1.2.2", "10.1.2.4", "192.0.2.7", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:0:2::")
	f(both, 403, "9.255.255.255", "11.0.0.0", "10.66.0.0", "10.66.255.255", "10.1.2.3", "192.0.2.6", "192.0.2.8", "2001:db7:ffff::", "2001:db9::", "2001:db8:0:1::", "2001:db8:0:1:ffff:ffff:ffff:ffff", "::a00:1")
	const denying = `ip_filter: {deny: [10.0.0.0/8, "::/1"], status: 404}`
	f(denying, 404, "10.1.1.1", "7fff::")
	f(denying, 200, "11.1.1.1", "8000::")
	t.Run("I11 an address that is mapped into IPv6", func(*testing.T) {
		f(both, 200, "::ffff:10.0.0.1")
		f(both, 403, "::ffff:10.66.0.1")
		f(denying, 404, "::ffff:10.0.0.1")
	})
	f(`ip_filter: {allow: [0.0.0.0/0]}`, 200, "0.0.0.0", "255.255.255.255")
	f(`ip_filter: {allow: [0.0.0.0/0]}`, 403, "::1")
	f(`ip_filter: {allow: ["::/0"]}`, 200, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	f(`ip_filter: {allow: ["::/0"]}`, 403, "10.0.0.1")
	for _, block := range []string{both, denying} {
		env, _ := orders(t)
		step := middlewaretest.Build(t, env, block)
		x := new(gateway.Exchange)
		if text := step.Explain(middlewaretest.Request(t, "GET /"), x); !strings.HasSuffix(text, ": the client has no address") || x.Status == 0 {
			t.Errorf("a client without an address: %q, %d", text, x.Status)
		}
	}
}

// The set agrees with a walk through the list.
func TestIPFilterAgrees(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr { // few networks, so that they touch and hold one another
		if dice.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(dice.IntN(3)), byte(dice.IntN(4) * 85), byte(dice.IntN(256))})
		}
		return netip.AddrFrom16([16]byte{0x20, 1, 7: byte(dice.IntN(3)), 8: byte(dice.IntN(4) * 85), 15: byte(dice.IntN(256))})
	}
	for range 200 {
		var list []netip.Prefix
		for range 1 + dice.IntN(30) {
			a := addr()
			p, _ := a.Prefix(a.BitLen() - dice.IntN(20))
			list = append(list, p)
		}
		var text []string
		for _, p := range list {
			text = append(text, `"`+p.String()+`"`)
		}
		env, _ := orders(t)
		step := middlewaretest.Build(t, env, "ip_filter: {allow: ["+strings.Join(text, ", ")+"]}")
		r := middlewaretest.Request(t, "GET /")
		for range 300 {
			want, x := 403, &gateway.Exchange{Client: addr()}
			for _, p := range list {
				if p.Contains(x.Client) {
					want = 0
				}
			}
			if step.Explain(r, x); x.Status != want {
				t.Fatalf("%s in %v: %d, want %d", x.Client, list, x.Status, want)
			}
		}
	}
}

func TestIPFilterMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("ip_filter: {}", "1:1: refuses nobody; list networks under allow or deny")
	f("ip_filter: {deny: [10.0.0.1], status: 200}", "1:39: is 403 or 404")
	f("ip_filter: {allow: [10.0.0.1/8]}", "1:21: 10.0.0.1/8 has bits set beyond its length; did you mean 10.0.0.0/8?")
	f("ip_filter: {allow: [office]}", `1:21: "office" is no network; write for example 10.0.0.0/8 or 2001:db8::/32`)
	f(`ip_filter: {deny: ["::ffff:10.0.0.0/104"]}`, "1:20: ::ffff:10.0.0.0/104 maps an IPv4 network into IPv6; write it as IPv4")
	f("ip_filter: {allow: [10.0.0.0/8, 10.2.0.0/16], deny: [10.2.0.0/17, 10.2.128.0/17]}", "1:33: all of 10.2.0.0/16 is denied")
}

func TestIPFilterExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "ip_filter: {allow: [10.0.0.0/8], deny: [10.1.0.0/16]}")
	f := func(client, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{Client: netip.MustParseAddr(client)}
		if got := step.Explain(middlewaretest.Request(t, "GET /"), x); got != want || x.Status != status {
			t.Errorf("%q, %d; want %q, %d", got, x.Status, want, status)
		}
	}
	f("10.0.0.1", "lets 10.0.0.1 pass", 0)
	f("10.1.0.1", "answers 403: the client is in deny", 403)
	f("192.0.2.1", "answers 403: the client is not in allow", 403)
}

// filterOf is a filter that denies n networks, none of them the client's.
func filterOf(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "%d.%d.%d.0/25, ", 11+i>>16, i>>8&255, i&255)
	}
	return "ip_filter: {deny: [" + list.String() + "203.0.113.0/24]}"
}

func TestIPFilterBudget(t *testing.T) {
	for _, n := range []int{0, 1000} {
		if got := testing.AllocsPerRun(100, pass(t, filterOf(n), "GET /v1/x")); got != 0 {
			t.Errorf("%v allocations with %d networks", got, n+1)
		}
	}
}

func BenchmarkIPFilter(b *testing.B) {
	for _, n := range []int{10, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			run := pass(b, filterOf(n), "GET /v1/x")
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
