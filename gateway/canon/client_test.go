package canon

import (
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func TestClient(t *testing.T) {
	const peer = "192.0.2.1"
	f := func(row, remote string, trusted []netip.Prefix, chain []string, want, left string) {
		t.Helper()
		t.Run(row, func(t *testing.T) {
			r := read(t, "GET / HTTP/1.1")
			r.RemoteAddr = remote
			if chain != nil {
				r.Header["X-Forwarded-For"] = chain
			}
			x := &gateway.Exchange{}
			if _, err := NewPolicy(Options{Trusted: trusted}).Request(r, x); err != nil {
				t.Fatal(err)
			}
			if got := x.Client.String(); got != want {
				t.Errorf("client %s; want %s", got, want)
			}
			if got := strings.Join(r.Header["X-Forwarded-For"], "|"); got != left {
				t.Errorf("X-Forwarded-For %q; want %q", got, left)
			}
		})
	}
	trusted := func(row, chain, want, left string) {
		t.Helper()
		f(row, peer+":1", trustPeer, []string{chain}, want, left)
	}
	f("direct", peer+":1", nil, nil, peer, "")
	f("I08", peer+":1", nil, []string{"1.1.1.1"}, peer, "")
	f("I08 peer outside", "198.51.100.7:1", trustPeer, []string{"1.1.1.1"}, "198.51.100.7", "")
	f("no chain", peer+":1", trustPeer, nil, peer, "")
	trusted("one hop", "1.1.1.1", "1.1.1.1", "1.1.1.1")
	trusted("I09", "1.1.1.1, 10.0.0.2", "1.1.1.1", "1.1.1.1, 10.0.0.2")
	trusted("I09 spoofed", "8.8.8.8, 1.1.1.1,10.0.0.2", "1.1.1.1", "1.1.1.1,10.0.0.2")
	trusted("I09 spoofed as trusted", "10.9.9.9, 1.1.1.1", "1.1.1.1", "1.1.1.1")
	trusted("I09 all trusted", "10.0.0.3, 10.0.0.2", "10.0.0.3", "10.0.0.3, 10.0.0.2")
	f("I09 lines", peer+":1", trustPeer, []string{"8.8.8.8, 1.1.1.1", "10.0.0.2"}, "1.1.1.1", "1.1.1.1, 10.0.0.2")
	trusted("I10 long chain", strings.Repeat("8.8.8.8, ", 10000)+"1.1.1.1", "1.1.1.1", "1.1.1.1")
	trusted("I10 32 hops", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 31), "1.1.1.1", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 31))
	trusted("I10 33 hops", "1.1.1.1"+strings.Repeat(", 10.0.0.2", 32), peer, "")
	trusted("I10 unknown", "1.1.1.1, unknown", peer, "")
	trusted("I10 unknown behind a client", "unknown, 1.1.1.1", "1.1.1.1", "1.1.1.1")
	trusted("I10 empty", "", peer, "")
	trusted("I10 empty element", "1.1.1.1,", peer, "")
	trusted("I10 zone", "fe80::1%eth0", "fe80::1", "fe80::1%eth0")
	trusted("I10 port", "1.1.1.1:80", "1.1.1.1", "1.1.1.1:80")
	trusted("I10 brackets", "[2001:db8::1]", "2001:db8::1", "[2001:db8::1]")
	trusted("I10 brackets and port", "[2001:db8::1]:80, fd00::2", "2001:db8::1", "[2001:db8::1]:80, fd00::2")
	trusted("I10 quotes", `"[2001:db8::1]:80"`, "2001:db8::1", `"[2001:db8::1]:80"`)
	trusted("I10 nonsense", "1.1.1.1.1", peer, "")
	trusted("I11 mapped hop", "::ffff:1.1.1.1, ::ffff:10.0.0.2", "1.1.1.1", "::ffff:1.1.1.1, ::ffff:10.0.0.2")
	f("I11", "[::ffff:10.0.0.1]:1", trustPeer, []string{"1.1.1.1"}, "1.1.1.1", "1.1.1.1")
	f("I11 mapped prefix", "10.0.0.1:1", []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}, []string{"1.1.1.1"}, "1.1.1.1", "1.1.1.1")
	f("zone of the peer", "[fe80::1%eth0]:1", nil, nil, "fe80::1", "")
	f("no address", "@", trustPeer, []string{"1.1.1.1"}, "invalid IP", "")
	f("everybody is trusted", "@", []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, []string{"1.1.1.1"}, "invalid IP", "")
}

func TestScheme(t *testing.T) {
	f := func(row string, trusted, secure bool, proto []string, want string) {
		t.Run(row, func(t *testing.T) {
			o := Options{}
			if trusted {
				o.Trusted = trustPeer
			}
			r, x := read(t, "GET / HTTP/1.1"), &gateway.Exchange{}
			if secure {
				r.TLS = &tls.ConnectionState{}
			}
			r.Header["X-Forwarded-Proto"] = proto
			if _, err := NewPolicy(o).Request(r, x); err != nil {
				t.Fatal(err)
			}
			if x.Scheme != want || x.Trusted != trusted || len(r.Header) != 0 {
				t.Errorf("scheme %q, trusted %v, left %v", x.Scheme, x.Trusted, r.Header)
			}
		})
	}
	f("plain", false, false, nil, "http")
	f("TLS", false, true, nil, "https")
	f("I17", false, false, []string{"https"}, "http")
	f("I17 downgrade", false, true, []string{"http"}, "https")
	f("trusted", true, false, []string{"https"}, "https")
	f("trusted WebSocket", true, false, []string{"WSS"}, "https")
	f("trusted downgrade", true, true, []string{"http"}, "http")
	f("trusted nonsense", true, false, []string{"gopher"}, "http")
	f("trusted list", true, false, []string{"https, http"}, "http")
	f("trusted lines", true, false, []string{"https", "https"}, "http")
}

func TestForwardedHost(t *testing.T) {
	f := func(row string, want int, left http.Header, values ...string) {
		t.Run(row, func(t *testing.T) {
			r := read(t, "GET / HTTP/1.1")
			r.Header["X-Forwarded-Host"] = values
			if got := refusal(t, NewPolicy(Options{Trusted: trustPeer}), r); got != want {
				t.Fatalf("status %d; want %d", got, want)
			}
			if diff := cmp.Diff(left, r.Header); want == 0 && diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if r.Host != "example.com" {
				t.Errorf("host %q", r.Host)
			}
		})
	}
	f("canonical", 0, http.Header{"X-Forwarded-Host": {"a.example"}}, "A.example.:80")
	f("T09", 400, nil, "a/b")
	f("T10", 400, nil, "a, b")
	f("two", 400, nil, "a", "b")
}

// TestOthersOfTrustedPeers: of the headers that tell of proxies only three are
// believed; the others would contradict them.
func TestOthersOfTrustedPeers(t *testing.T) {
	r := read(t, "GET / HTTP/1.1", "X-Forwarded-Port: 8443", "X-Real-Ip: 1.1.1.1", "Forwarded: for=1.1.1.1", "X-Forwarded-Prefix: /a")
	if code := refusal(t, NewPolicy(Options{Trusted: trustPeer}), r); code != 0 || len(r.Header) != 0 {
		t.Errorf("status %d, left %v", code, r.Header)
	}
}
