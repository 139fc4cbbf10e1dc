package build

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// byHost is a listener whose hosts share a certificate and have different settings.
const byHost = `listeners:
  w:
    address: ":8443"
    tls:
      certificates: [{cert: a.crt, key: a.key}]
      hosts:
        - {names: [admin.example], min_version: "1.3"}
        - {names: ["*.in.example"], protocols: [h1]}
        - {names: ["*.deep.in.example", Admin2.example.], min_version: "1.3"}
        - {names: [open.deep.in.example]}
        - {names: [second.example], min_version: "1.2", protocols: [h2, h1]}
  plain: {address: ":8080"}
` + oneUpstream

func (p *process) byHost() *Snapshot {
	p.t.Helper()
	p.pair("a", "", "www.example", "admin.example", "admin2.example", "second.example", "*.in.example", "*.deep.in.example", "open.deep.in.example")
	return p.compile(byHost)
}

func TestTLSHostOf(t *testing.T) {
	p := newProcess(t)
	snap := p.byHost()
	ask := snap.TLS("w").GetConfigForClient
	for sni, want := range map[string]struct {
		version uint16
		alpn    string
	}{
		"":                       {tls.VersionTLS12, "h2,http/1.1"},
		"www.example":            {tls.VersionTLS12, "h2,http/1.1"},
		"nobody.example":         {tls.VersionTLS12, "h2,http/1.1"},
		"admin.example":          {tls.VersionTLS13, "h2,http/1.1"},
		"ADMIN.Example":          {tls.VersionTLS13, "h2,http/1.1"},
		"admin.example.":         {tls.VersionTLS13, "h2,http/1.1"},
		"admin2.example":         {tls.VersionTLS13, "h2,http/1.1"},
		"x.admin.example":        {tls.VersionTLS12, "h2,http/1.1"},
		"in.example":             {tls.VersionTLS12, "h2,http/1.1"},
		"a.in.example":           {tls.VersionTLS12, "http/1.1"},
		"A.IN.EXAMPLE.":          {tls.VersionTLS12, "http/1.1"},
		"b.a.in.example":         {tls.VersionTLS12, "http/1.1"},
		"deep.in.example":        {tls.VersionTLS12, "http/1.1"},
		"x.deep.in.example":      {tls.VersionTLS13, "h2,http/1.1"},
		"y.x.deep.in.example":    {tls.VersionTLS13, "h2,http/1.1"},
		"open.deep.in.example":   {tls.VersionTLS12, "h2,http/1.1"},
		"x.open.deep.in.example": {tls.VersionTLS13, "h2,http/1.1"},
		"192.0.2.1":              {tls.VersionTLS12, "h2,http/1.1"},
	} {
		conf, err := ask(&tls.ClientHelloInfo{ServerName: sni})
		if err != nil {
			t.Fatal(err)
		}
		if alpn := strings.Join(conf.NextProtos, ","); conf.MinVersion != want.version || alpn != want.alpn {
			t.Errorf("%q: %s and %s", sni, tls.VersionName(conf.MinVersion), alpn)
		}
	}
	l := snap.tls["w"]
	if l.of("admin.example") != l.of("x.deep.in.example") || l.of("open.deep.in.example") != l.own || l.of("second.example") != l.own {
		t.Error("settings that are the same count as different ones")
	}
}

// TestTLSHostMisdirected: a request is served on no connection but one with the
// settings of its host, though all hosts have the same certificate.
func TestTLSHostMisdirected(t *testing.T) {
	p := newProcess(t)
	snap := p.byHost()
	ask := func(name, sni, head string, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head + "\r\n\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			x := &gateway.Exchange{Listener: "w"}
			if r.RemoteAddr = "192.0.2.1:1"; sni == "plain" {
				x.Listener = "plain"
			} else {
				r.TLS = &tls.ConnectionState{ServerName: sni, Version: tls.VersionTLS13}
			}
			w := httptest.NewRecorder()
			snap.ServeHTTP(w, gateway.WithExchange(r, x))
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		})
	}
	f := func(name, sni, host string, want int) {
		t.Helper()
		ask(name, sni, "GET /nowhere HTTP/1.1\r\nHost: "+host, want)
	}
	f("T24 SNI www, Host admin", "www.example", "admin.example", 421)
	f("T24 in capitals", "www.example", "ADMIN.Example", 421)
	f("T24 with a dot and a port", "www.example", "admin.example.:443", 421)
	f("T24 with the port of another", "www.example", "admin.example:80", 421)
	f("T24 no SNI", "", "admin.example", 421)
	f("T24 an address as SNI", "192.0.2.1", "admin.example", 421)
	f("T24 by a wildcard", "www.example", "a.in.example", 421)
	f("T24 by a wildcard, deep", "www.example", "c.b.a.in.example", 421)
	f("T24 wildcard against longer wildcard", "a.in.example", "x.deep.in.example", 421)
	f("T24 the other way", "admin.example", "www.example", 421)
	f("T24 the other way, an address", "admin.example", "192.0.2.1:443", 421)
	f("T24 the other way, an IPv6 address", "admin.example", "[2001:db8::1]", 421)
	f("T24 the other way, nobody's host", "admin.example", "nobody.example", 421)
	f("the same host", "admin.example", "admin.example", 404)
	f("the same host, SNI in capitals", "ADMIN.example", "admin.example:8443", 404)
	f("two hosts of an entry", "a.in.example", "b.in.example", 404)
	f("two entries with the same settings", "admin.example", "x.deep.in.example", 404)
	f("an exception from a wildcard", "www.example", "open.deep.in.example", 404)
	f("an address", "", "192.0.2.1", 404)
	f("an IPv6 address and a port", "", "[2001:db8::1]:443", 404)
	f("no SNI, the listener's own settings", "", "www.example", 404)
	ask("T24 in the target", "www.example", "GET https://admin.example/nowhere HTTP/1.1\r\nHost: www.example", 421)
	ask("T24 the other way, in the target", "admin.example", "GET https://www.example/nowhere HTTP/1.1\r\nHost: admin.example", 421)
	ask("the same host in the target", "admin.example", "GET https://admin.example/nowhere HTTP/1.1\r\nHost: www.example", 404)
	f("without TLS", "plain", "admin.example", 404)
	t.Run("without allocations", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodGet, "https://x.deep.in.example/", nil)
		r.TLS = &tls.ConnectionState{ServerName: "x.deep.in.example", Version: tls.VersionTLS13}
		l := snap.tls["w"]
		if n := testing.AllocsPerRun(100, func() { _ = l.refusal(r, false) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestTLSHostsOfListeners: what another listener wants of clients for a host counts, not
// what it wants for others.
func TestTLSHostsOfListeners(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example")
	p.pair("b", "", "admin.b.example", "www.b.example")
	p.pair("ca", "", "ca.example")
	snap := p.compile(`listeners:
  one: {address: ":1", tls: {certificates: [{cert: a.crt, key: a.key}]}}
  two: {address: ":2", tls: {certificates: [{cert: b.crt, key: b.key}], hosts: [{names: [admin.b.example], client: {ca: ca.crt}}]}}
  three: {address: ":3", tls: {certificates: [{cert: ca.crt, key: ca.key}], client: {ca: ca.crt}, hosts: [{names: [ca.example], client: {mode: none}}]}}
` + oneUpstream)
	for host, want := range map[string]error{
		"a.example": nil, "www.b.example": nil, "nobody.example": nil, "ca.example": nil,
		"admin.b.example": errMisdirected,
	} {
		r := httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil)
		r.TLS = &tls.ConnectionState{ServerName: "a.example", Version: tls.VersionTLS12}
		if err := snap.tls["one"].refusal(r, false); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", host, err, want)
		}
	}
}

func TestTLSHostMistakes(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example", "*.wild.example")
	p.pair("cn", "cn.example")
	f := func(hosts, want string) {
		t.Helper()
		got := strings.Join(p.mistakes(listener("", "a", "cn")+"      hosts: ["+hosts+"]\n"+oneUpstream), "\n")
		if got = strings.ReplaceAll(got, filepath.Dir(p.name)+"/", ""); got != want {
			t.Errorf("%s: %s", hosts, got)
		}
	}
	f(`{names: [a.example, b.example], min_version: "1.3"}`, "8:35: no certificate of this listener is for b.example; add one, or take the name out")
	f(`{names: ["*.a.example"], min_version: "1.3"}`, "8:24: no certificate of this listener is for *.a.example; add one, or take the name out")
	f(`{names: [y.x.wild.example], min_version: "1.3"}`, "8:24: no certificate of this listener is for y.x.wild.example; add one, or take the name out")
	f(`{names: [a.example], client: {ca: nobody.pem}}`, "8:49: open nobody.pem: no such file or directory")
	p.compile(listener("", "a", "cn") + `      hosts: [{names: [a.example, cn.example, x.wild.example, "*.example", "*.wild.example"], min_version: "1.3"}]` + "\n" + oneUpstream)
}

// TestTLSHostExplained: explain tells which settings hold, and asks for a certificate
// where the settings do and nowhere else.
func TestTLSHostExplained(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example", "admin.example", "*.in.example")
	snap := p.compile(listener("", "a") + `      hosts:
        - {names: [admin.example], client: {ca: a.crt}, min_version: "1.3"}
        - {names: ["*.in.example"], client: {ca: a.crt, mode: verify_if_given}, protocols: [h1]}
` + oneUpstream + "routes: [{match: {prefix: /}, use: [mtls: {}], to: a}]\n")
	const granted, refused = "mtls: wants a client certificate; a dry run has none and takes it for granted", "mtls: answers 403 (mtls_required): a client certificate is required"
	for url, want := range map[string][2]string{
		"https://a.example/":            {"of the listener: TLS 1.2 at least, h2 and http/1.1, no client certificates", refused},
		"https://192.0.2.1:8443/":       {"of the listener: TLS 1.2 at least, h2 and http/1.1, no client certificates", refused},
		"https://ADMIN.example.:8443/":  {"of admin.example: TLS 1.3 at least, h2 and http/1.1, client certificates by require", granted},
		"https://b.a.in.example/orders": {"of *.in.example: TLS 1.2 at least, http/1.1, client certificates by verify_if_given", granted},
		"http://a.example/":             {"", granted},
	} {
		r := httptest.NewRequest(http.MethodGet, url, nil)
		e := snap.Explain(r)
		if len(e.Steps) != 1 || e.TLS != want[0] || e.Steps[0].Name+": "+e.Steps[0].Does != want[1] {
			t.Errorf("%s: %q, %v", url, e.TLS, e.Steps)
		}
	}
}

// BenchmarkTLSHostRefusal is what a request over TLS costs here.
func BenchmarkTLSHostRefusal(b *testing.B) {
	pairs, both := newCertificateSet(), []string{"h1", "h2"}
	own, strict := newTLSSettings(pairs, nil, "1.2", both), newTLSSettings(pairs, nil, "1.3", both)
	hosts := &tlsHosts{exact: map[string]*tlsSettings{"admin.example": strict}, wildcard: map[string]*tlsSettings{"in.example": strict}}
	for _, one := range []struct {
		name, host string
		hosts      *tlsHosts
	}{
		{"the same for all", "www.example", nil},
		{"of the listener", "www.shop.example", hosts},
		{"by name", "admin.example", hosts},
		{"by wildcard", "b.a.in.example", hosts},
	} {
		b.Run(one.name, func(b *testing.B) {
			l := &secureListener{pairs: pairs, own: own, hosts: one.hosts}
			r := httptest.NewRequest(http.MethodGet, "https://"+one.host+"/", nil)
			r.TLS = &tls.ConnectionState{ServerName: one.host, Version: tls.VersionTLS13}
			b.ReportAllocs()
			for b.Loop() {
				if err := l.refusal(r, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
