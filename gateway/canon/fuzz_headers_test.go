package canon

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
)

// cgiName is the variable that a CGI program sees of a header (RFC 3875, section
// 4.1.18), with every byte that programs also write as _ taken for it.
func cgiName(name string) string {
	folded := []byte(strings.ToUpper(name))
	for i, c := range folded {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			folded[i] = '_'
		}
	}
	return string(folded)
}

// FuzzAlias: nothing that goes on can be taken for a header that only the gateway
// may set, by a reader who knows headers as variables.
func FuzzAlias(f *testing.F) {
	for _, name := range []string{"X-User-Id", "x_user_id", "X.User.Id", "X-User_Id", "X-Forwarded-For", "X~Forwarded~For", "X_Original_Uri", "X-Harmless", "x-user-id ", "Proxy"} {
		f.Add(name, "X-User-Id")
	}
	f.Add("my_tenant", "My-Tenant")
	f.Fuzz(func(t *testing.T, name, owned string) {
		if !grammar.IsToken(name) || !grammar.IsToken(owned) {
			return // net/http refuses them
		}
		h := http.Header{}
		h.Add(name, "forged")
		r := &http.Request{Method: http.MethodGet, Host: "a", RequestURI: "/", Header: h, RemoteAddr: "192.0.2.1:1", URL: &url.URL{Path: "/"}}
		if _, err := NewPolicy(Options{Owned: []string{owned}, Keep: []string{name}}).Request(r, &gateway.Exchange{}); err != nil {
			return
		}
		for left := range r.Header {
			if got := cgiName(left); got == cgiName(owned) || strings.HasPrefix(got, "X_FORWARDED_") {
				t.Errorf("%q goes on as %q, which can be taken for %q", name, left, owned)
			}
		}
	})
}

// FuzzForwardedFor holds the walk along the proxies against one that is written
// from the words of its comment: from the right, over trusted hops.
func FuzzForwardedFor(f *testing.F) {
	for _, chain := range []string{"8.8.8.8", "1.1.1.1, 10.0.0.1", " 10.0.0.1 , 10.0.0.2", "a, 10.0.0.1", `"[2001:db8::1]:80"`, "1.2.3.4:5,10.1.1.1", ",", "10.0.0.1,,10.0.0.2", "::ffff:10.0.0.1", "fe80::1%eth0"} {
		f.Add(chain, "")
		f.Add(chain, "10.0.0.9")
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	p := NewPolicy(Options{Trusted: trusted})
	f.Fuzz(func(t *testing.T, one, two string) {
		peer := netip.MustParseAddr("10.0.0.254")
		x, h := &gateway.Exchange{Client: peer}, http.Header{"X-Forwarded-For": {one, two}}
		p.forwardedFor(h, x)
		want, kept := walkBack(strings.Split(one+","+two, ","), trusted[0])
		if !want.IsValid() {
			want = peer
		}
		if x.Client != want {
			t.Errorf("%q %q: the client is %v, want %v", one, two, x.Client, want)
		}
		if got := strings.Split(strings.Join(h["X-Forwarded-For"], ","), ","); h["X-Forwarded-For"] != nil && len(got) != kept || h["X-Forwarded-For"] == nil && kept > 0 {
			t.Errorf("%q %q: %q goes on, want %d hops", one, two, h["X-Forwarded-For"], kept)
		}
	})
}

// walkBack is the client and the number of hops from it on; none for a chain
// that leads nowhere.
func walkBack(hops []string, trusted netip.Prefix) (client netip.Addr, kept int) {
	slices.Reverse(hops)
	for i, hop := range hops {
		addr, ok := hopAddr(hop)
		if !ok || i >= maxHops {
			return netip.Addr{}, 0
		}
		if !trusted.Contains(addr) || i == len(hops)-1 {
			return addr, i + 1
		}
	}
	return netip.Addr{}, 0
}
