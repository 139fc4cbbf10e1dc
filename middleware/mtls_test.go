package middleware_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// clientCert is a certificate with some names. Nobody checks who has signed it: a
// listener has.
func clientCert(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

func certURI(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// shows has a request come over a connection with a certificate.
func shows(c *x509.Certificate, verified bool) func(*http.Request, *gateway.Exchange) {
	return func(r *http.Request, _ *gateway.Exchange) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
		if verified {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{c}}
		}
	}
}

func TestMTLS(t *testing.T) {
	web := clientCert(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{certURI(t, "spiffe://example.org/ns/shop/sa/web")}
		c.DNSNames = []string{"web.shop.example.org"}
		c.Subject = pkix.Name{CommonName: `a "b"`, Organization: []string{"x,y"}}
	})
	two := clientCert(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{certURI(t, "spiffe://example.org/ns/shop/sa/web"), certURI(t, "spiffe://evil.example/x")}
	})
	old := clientCert(t, func(c *x509.Certificate) {
		c.DNSNames, c.NotAfter = []string{"web.shop.example.org"}, time.Now().Add(-time.Second)
	})
	sum := sha256.Sum256(web.Raw)
	digest := hex.EncodeToString(sum[:])
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	f := func(name, settings, proves, reason string, prepare func(*http.Request, *gateway.Exchange)) {
		t.Helper()
		status := 200
		if reason != "" {
			status = 403
		}
		t.Run(name, func(t *testing.T) {
			middlewaretest.Run(t, env, "mtls: "+settings, []middlewaretest.Case{{
				Name: "request", Status: status, Reason: reason, Proves: proves, Prepare: prepare,
			}})
		})
	}
	const spiffe = `{uris: ["spiffe://example.org/ns/*/sa/web"]}`
	f("without TLS", spiffe, "", "mtls_required", nil)
	f("without a certificate", spiffe, "", "mtls_required", func(r *http.Request, _ *gateway.Exchange) { r.TLS = &tls.ConnectionState{} })
	f("not verified", spiffe, "", "mtls_required", shows(web, false))
	f("optional and without", "{optional: true}", "", "", nil)
	f("optional and not verified", "{optional: true}", "", "mtls_required", shows(web, false))
	f("SPIFFE ID", spiffe, "spiffe://example.org/ns/shop/sa/web", "", shows(web, true))
	f("SPIFFE ID of two", spiffe, "", "mtls_denied", shows(two, true))
	f("of another trust domain", `{uris: ["spiffe://example.com/ns/*/sa/web"]}`, "", "mtls_denied", shows(web, true))
	f("DNS", `{dns: ["*.SHOP.example.org"]}`, "web.shop.example.org", "", shows(web, true))
	f("DNS of one more label", `{dns: ["*.example.org"]}`, "", "mtls_denied", shows(web, true))
	f("expired since the handshake", `{dns: ["*.shop.example.org"]}`, "", "mtls_expired", shows(old, true))
	f("common name only when told", `{dns: [a.example.org], subject: cn}`, "", "mtls_denied", shows(web, true))
	f("common name", `{common_names: ['a "b"']}`, `a "b"`, "", shows(web, true))
	f("any, by the first name", "{}", "spiffe://example.org/ns/shop/sa/web", "", shows(web, true))
	f("any, by DNS", "{subject: dns}", "web.shop.example.org", "", shows(web, true))
	f("any, without that name", "{subject: email}", "", "mtls_subject", shows(web, true))
	f("by digest, not verified", "{sha256: ["+digest+"], subject: sha256}", digest, "", shows(web, false))
	f("another digest, not verified", "{sha256: ["+digest+"]}", "", "mtls_required", shows(old, false))
	f("another digest, verified", "{sha256: ["+digest+"]}", "", "mtls_denied", shows(two, true))

	middlewaretest.Run(t, env, "mtls: {header: x-forwarded-client-cert}", []middlewaretest.Case{{
		Name: "header", Prepare: shows(web, true), Proves: "spiffe://example.org/ns/shop/sa/web",
		Sent: map[string]string{
			"X-Forwarded-Client-Cert": "Hash=" + digest + `;Subject="CN=a \\\"b\\\",O=x\\,y";URI=spiffe://example.org/ns/shop/sa/web;DNS=web.shop.example.org`,
		},
	}})
	step := middlewaretest.Build(t, env, "mtls: {header: x-forwarded-client-cert}")
	if !slices.Equal(step.Owns, []string{"X-Forwarded-Client-Cert"}) || !slices.Equal(step.Proves, []gateway.Identity{gateway.Subject}) {
		t.Errorf("owns %v, proves %v", step.Owns, step.Proves)
	}
}

// TestMTLSPatterns is about the names that a certificate may have been given to look
// like others.
func TestMTLSPatterns(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for _, one := range []struct {
		setting, pattern, name string
		want                   bool
	}{
		{"uris", "spiffe://e.org/a/*", "spiffe://e.org/a/b", true},
		{"uris", "spiffe://e.org/a/*", "spiffe://e.org/a/b/c", false},
		{"uris", "spiffe://e.org/a/*", "spiffe://e.org/a/", false},
		{"uris", "spiffe://e.org/a/*", "spiffe://e.org/a", false},
		{"uris", "spiffe://e.org/a/**", "spiffe://e.org/a/b/c", true},
		{"uris", "spiffe://e.org/a/**", "spiffe://e.org/a", false},
		{"uris", "spiffe://e.org/a/**", "spiffe://e.org/ab/c", false},
		{"uris", "spiffe://e.org/a", "spiffe://e.org/a/", false},
		{"uris", "spiffe://e.org/a", "spiffe://e.org/A", false},
		{"uris", "spiffe://e.org/a", "spiffe://e.org.evil.example/a", false},
		{"emails", "ops@example.com", "ops@EXAMPLE.com", true},
		{"emails", "ops@example.com", "OPS@example.com", false},
		{"emails", "*@example.com", "a@example.com", true},
		{"emails", "*@example.com", "a@sub.example.com", false},
		{"dns", "a.example.com", "A.example.com", true},
		{"dns", "*.example.com", "example.com", false},
		{"dns", "*.example.com", "*.example.com", false},
	} {
		cert := clientCert(t, func(c *x509.Certificate) {
			switch one.setting {
			case "uris":
				c.URIs = []*url.URL{certURI(t, one.name)}
			case "emails":
				c.EmailAddresses = []string{one.name}
			default:
				c.DNSNames = []string{one.name}
			}
		})
		step := middlewaretest.Build(t, env, "mtls: {"+one.setting+`: ["`+one.pattern+`"]}`)
		r := middlewaretest.Request(t, "GET /")
		shows(cert, true)(r, nil)
		a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{})
		if (a.Status == 200) != one.want {
			t.Errorf("%s %s for %s: status %d", one.setting, one.pattern, one.name, a.Status)
		}
	}
	t.Run("I24 an address with two @", func(t *testing.T) {
		cert := clientCert(t, func(*x509.Certificate) {})
		cert.EmailAddresses = []string{"a@example.com@example.com", "a@evil.example@example.com"}
		step := middlewaretest.Build(t, env, `mtls: {emails: ["*@example.com"]}`)
		r := middlewaretest.Request(t, "GET /")
		shows(cert, true)(r, nil)
		if a := middlewaretest.Send(t, env, step, r, &gateway.Exchange{}); a.Status != 403 {
			t.Errorf("status %d", a.Status)
		}
	})
}

func TestMTLSMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string][]string{
		`mtls: {dns: ["a.*.example.com"]}`: {`1:14: "a.*.example.com" is no DNS name; a wildcard is a whole label at the beginning, as in *.example.com`},
		`mtls: {uris: ["spiffe://*/a"]}`:   {`1:15: "spiffe://*/a" has a wildcard outside of the path; trust domains are listed one by one`},
		`mtls: {uris: ["spiffe://e/a*"]}`:  {`1:15: "spiffe://e/a*" has a wildcard that is no whole segment, or ** before the end`},
		`mtls: {uris: ["e.org/a"]}`:        {`1:15: "e.org/a" is no URI such as spiffe://example.org/ns/shop/sa/web`},
		`mtls: {emails: ["*@a@b"]}`:        {`1:17: "*@a@b" is no address such as ops@example.com or *@example.com`},
		`mtls: {common_names: ["*"]}`:      {`1:23: "*" is no common name; they have no wildcards`},
		`mtls: {sha256: [ab]}`:             {`1:17: "ab" is no SHA-256 digest of 64 hexadecimal digits`},
		`mtls: {subject: san}`:             {`1:17: "san" is no part of a certificate; write one of matched, uri, dns, email, cn, sha256`},
	} {
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s: %s", block, diff)
		}
	}
}
