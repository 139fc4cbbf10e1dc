package build

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// TestMisdirectedClientCertificates: a host whose listener wants certificates of
// clients is not reached over a connection to one that does not.
func TestMisdirectedClientCertificates(t *testing.T) {
	p := newProcess(t)
	for _, name := range []string{"a", "b", "both", "ca"} {
		p.pair(name, "", name+".example")
	}
	p.pair("wild", "", "*.wild.example")
	root := p.certificate("ca.crt")
	snap := p.compile(`listeners:
  open: {address: ":1", tls: {certificates: [{cert: a.crt, key: a.key}, {cert: both.crt, key: both.key}]}}
  same: {address: ":2", tls: {certificates: [{cert: ca.crt, key: ca.key}]}}
  strict:
    address: ":3"
    tls:
      certificates: [{cert: b.crt, key: b.key}, {cert: both.crt, key: both.key}, {cert: wild.crt, key: wild.key}]
      client: {ca: ca.crt}
` + oneUpstream)
	verified := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{root}, VerifiedChains: [][]*x509.Certificate{{root}}}
	f := func(name, listener, sni, host string, clients *tls.ConnectionState, want int) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET /nowhere HTTP/1.1\r\nHost: " + host + "\r\n\r\n")))
			if err != nil {
				t.Fatal(err)
			}
			state := *clients
			state.ServerName, state.Version = sni, tls.VersionTLS13
			r.RemoteAddr, r.TLS = "192.0.2.1:1", &state
			w := httptest.NewRecorder()
			snap.ServeHTTP(w, gateway.WithExchange(r, &gateway.Exchange{Listener: listener}))
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
		})
	}
	none := &tls.ConnectionState{}
	f("T24 SNI a, Host b with stricter options", "open", "a.example", "b.example", none, 421)
	f("T24 in capitals, with a port and a dot", "open", "a.example", "B.example.:443", none, 421)
	f("T24 by a wildcard", "open", "a.example", "X.wild.example", none, 421)
	f("T24 the other way", "strict", "b.example", "a.example", verified, 421)
	f("a host of a listener with the same options", "open", "a.example", "ca.example", none, 404)
	f("a host that both have", "open", "both.example", "both.example", none, 404)
	f("the right listener", "strict", "b.example", "b.example", verified, 404)
	f("verified by nobody that is known", "strict", "b.example", "b.example", none, 421)

	other := p.certificate("a.crt")
	f("fault 43 a connection from before the reload", "strict", "b.example", "b.example", &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{other}, VerifiedChains: [][]*x509.Certificate{{other}},
	}, 421)

	check, r := snap.tls["strict"], httptest.NewRequest(http.MethodGet, "https://b.example/", nil)
	r.TLS = verified
	if n := testing.AllocsPerRun(100, func() { _ = check.refusal(r, false) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// certificate reads a certificate that pair has written.
func (p *process) certificate(name string) *x509.Certificate {
	p.t.Helper()
	block, _ := pem.Decode(p.read(name))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

func TestClientCertificateMistakes(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example")
	p.write("cut.pem", p.read("a.crt")[:200])
	for client, want := range map[string][]string{
		"{ca: a.key}":            {`7:20: block 1 of a.key, a PRIVATE KEY, is no certificate`},
		"{ca: [a.crt, cut.pem]}": {`7:28: certificate 1 of cut.pem cannot be read`},
	} {
		if diff := cmp.Diff(want, p.mistakes(listener("", "a")+"      client: "+client+"\n"+oneUpstream)); diff != "" {
			t.Errorf("%s: %s", client, diff)
		}
	}
}
