package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t), pool: x509.NewCertPool()}
	a.cert = a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}, &a.key.PublicKey)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// server is a certificate for app.internal, 127.0.0.1 and an identity of SPIFFE.
func (a *authority) server(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"app.internal"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/orders"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	leaf := a.sign(t, template, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
}

func pinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

func TestProofs(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.server(t, nil)
	expired := ca.server(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	wrong := ca.server(t, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses, c.URIs = []string{"web.internal"}, nil, nil })
	client := ca.server(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	f := func(name string, cert tls.Certificate, change func(*Options), ok bool) {
		t.Run(name, func(t *testing.T) {
			asked := false
			addr := serve(t, func(http.ResponseWriter, *http.Request) { asked = true }, func(s *http.Server) {
				s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
			})
			c := start(t, at(addr), func(o *Options) {
				o.Protocol, o.TLS = "https", &tls.Config{RootCAs: ca.pool, ServerName: "app.internal"}
				change(o)
			})
			r, _ := request(t, "GET", nil)
			resp, err := c.RoundTrip(r)
			switch {
			case !ok:
				wantError(t, err, http.StatusBadGateway, "upstream_tls", gateway.CauseNetwork)
				if asked {
					t.Error("the request was sent to an endpoint without proof")
				}
			case err != nil:
				t.Error(err)
			default:
				_, _ = read(t, resp)
			}
		})
	}
	sans := func(names ...string) func(*Options) {
		return func(o *Options) { o.SANs, o.TLS.ServerName = names, "sni.example" }
	}
	pins := func(all ...Pin) func(*Options) { return func(o *Options) { o.Pins = all } }
	f("in order", good, func(*Options) {}, true)
	f("fault 44: expired", expired, func(*Options) {}, false)
	f("fault 44: wrong SAN", wrong, func(*Options) {}, false)
	f("fault 44: expired, with names of its own", expired, sans("app.internal"), false)
	f("fault 44: wrong SAN, with names of its own", wrong, sans("app.internal"), false)
	f("fault 44: expired, but pinned", expired, pins(pinOf(expired.Leaf)), false)
	f("another authority", good, func(o *Options) { o.TLS.RootCAs = other.pool }, false)
	f("another authority, with names of its own", good, func(o *Options) { sans("app.internal")(o); o.TLS.RootCAs = other.pool }, false)
	f("by address", good, func(o *Options) { o.TLS.ServerName = "" }, true)
	f("a name of several", good, sans("web.internal", "app.internal"), true)
	f("an address as name", good, sans("127.0.0.1"), true)
	f("another address as name", good, sans("127.0.0.2"), false)
	f("a URI as name", good, sans("spiffe://example.org/orders"), true)
	f("another URI as name", good, sans("spiffe://example.org/carts"), false)
	f("a certificate for clients", client, sans("app.internal"), false)
	f("the pin of the leaf", good, pins(Pin{1}, pinOf(good.Leaf)), true)
	f("the pin of the authority", good, pins(pinOf(ca.cert)), true)
	f("the pin of another key", good, pins(pinOf(wrong.Leaf)), false)
	f("the pin of another key, with names of its own", good, func(o *Options) { sans("app.internal")(o); pins(Pin{1})(o) }, false)
	f("the pin and a name", good, func(o *Options) { sans("app.internal")(o); pins(pinOf(ca.cert))(o) }, true)
	f("an old version", good, func(o *Options) { o.TLS.MinVersion, o.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false)
}
