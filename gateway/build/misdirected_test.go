package build

import (
	"bufio"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

func TestMisdirected(t *testing.T) {
	p := newProcess(t)
	p.pair("one", "", "one.example", "*.wild.example")
	p.pair("two", "", "two.example", "deep.wild.example", "*.other.example")
	p.pair("three", "", "three.example", "*.other.example")
	snap := p.compile(listener("", "one", "two", "three") + oneUpstream)
	set := snap.tls["w"].pairs
	f := func(name, sni, host string, want bool) {
		t.Helper()
		if got := set.misdirected(sni, host); got != want {
			t.Errorf("%s: SNI %q, host %q: %t", name, sni, host, got)
		}
	}
	f("the same", "one.example", "one.example", false)
	f("the same in capitals", "ONE.example.", "one.example", false)
	f("with a port", "one.example", "one.example:8443", false)
	f("another certificate", "one.example", "two.example", true)
	f("another certificate, with a port", "one.example", "two.example:8443", true)
	f("another name of the same certificate", "two.example", "deep.wild.example", false)
	f("a wildcard of the same certificate", "one.example", "a.wild.example", false)
	f("two names of one wildcard", "b.wild.example", "a.wild.example", false)
	f("exact before wildcard", "a.wild.example", "deep.wild.example", true)
	f("a wildcard is one label", "two.example", "a.b.other.example", true)
	f("as good as the first", "three.example", "a.other.example", false)
	f("a host that no certificate has, on the first one", "one.example", "nobody.example", false)
	f("a host that no certificate has, on the first one by a wildcard", "a.wild.example", "nobody.example", false)
	f("a host that no certificate has, on another", "two.example", "nobody.example", true)
	f("a host that no certificate has, on another, with a port", "two.example", "nobody.example:8443", true)
	f("a host that no certificate has, on another by a wildcard", "a.other.example", "nobody.example", true)
	f("two hosts that no certificate has", "nobody.example", "somebody.example", false)
	f("an address that no certificate has, on another", "two.example", "192.0.2.1:8443", true)
	f("no SNI, a host that no certificate has", "", "nobody.example", false)
	f("no SNI, an address", "", "192.0.2.1:8443", false)
	f("no SNI, host of the first", "", "one.example", false)
	f("no SNI, host of another", "", "two.example", true)
	f("unknown SNI, host of the first", "nobody.example", "one.example", false)
	f("unknown SNI, host of another", "nobody.example", "two.example", true)
	f("an IPv6 address", "one.example", "[::1]", false)
	f("an IPv6 address and a port", "one.example", "[::1]:443", false)
	// What is answered 421 is not on a connection of its own, whatever the host.
	for _, host := range []string{"one.example", "deep.wild.example", "a.wild.example", "nobody.example", "b.a.wild.example", "192.0.2.1"} {
		f("a new connection", host, host, false)
		f("a new connection, SNI in capitals", strings.ToUpper(host), host, false)
	}
	single := p.compile(listener("", "one") + oneUpstream).tls["w"].pairs
	if single.misdirected("nobody.example", "one.example") {
		t.Error("a listener with one certificate has no other connection to offer")
	}
	if single.misdirected("one.example", "nobody.example") {
		t.Error("a listener with one certificate serves every host with it")
	}
	if n := testing.AllocsPerRun(100, func() { set.misdirected("b.wild.example", "a.wild.example:8443") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMisdirectedRequest is answered 421 before any route is looked for, and
// other requests on the same connection go on.
func TestMisdirectedRequest(t *testing.T) {
	p := newProcess(t)
	p.pair("one", "", "one.example")
	p.pair("two", "", "two.example")
	snap := p.compile(listener("", "one", "two") + oneUpstream)
	ask := func(sni, host string) (int, string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /nowhere HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = "192.0.2.1:1"
		if r.TLS = nil; sni != "plain" {
			r.TLS = &tls.ConnectionState{ServerName: sni, Version: tls.VersionTLS13}
		}
		x := &gateway.Exchange{Listener: "w"}
		w := httptest.NewRecorder()
		snap.ServeHTTP(w, gateway.WithExchange(r, x))
		return w.Code, x.Err.Reason
	}
	for _, one := range []struct {
		sni, host, reason string
		status            int
	}{
		{"one.example", "two.example", "misdirected", 421},
		{"one.example", "TWO.example:8443", "misdirected", 421},
		{"one.example", "nobody.example", "no_route", 404},
		{"two.example", "nobody.example", "misdirected", 421},
		{"two.example", "NOBODY.example.:8443", "misdirected", 421},
		{"two.example", "TWO.example.", "no_route", 404},
		{"nobody.example", "nobody.example.", "no_route", 404},
		{"plain", "two.example", "no_route", 404},
	} {
		if status, reason := ask(one.sni, one.host); status != one.status || reason != one.reason {
			t.Errorf("SNI %s, host %s: %d %s, want %d %s", one.sni, one.host, status, reason, one.status, one.reason)
		}
	}
}
