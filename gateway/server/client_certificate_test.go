package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

// clientAuthority writes a file with an authority and returns a certificate of it.
func clientAuthority(t *testing.T, path string) tls.Certificate {
	t.Helper()
	make := func(serial int64, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("%s %d", path, serial)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: parent == nil,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if parent == nil {
			parent, signer = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	root, rootKey := make(1, nil, nil)
	leaf, leafKey := make(2, root, rootKey)
	put(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})))
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: leafKey}
}

// guarded is a house whose listener wants certificates of ca.pem.
func guarded(t *testing.T, mode string) (h *house, dir string, client tls.Certificate) {
	dir = t.TempDir()
	certify(t, dir, 1)
	client = clientAuthority(t, filepath.Join(dir, "ca.pem"))
	h = secureWith(t, fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\", tls: {certificates: [{cert: %[1]s/cert.pem, key: %[1]s/key.pem}], client: {ca: %[1]s/ca.pem, mode: %[2]s}}}}\n", dir, mode), say("hello"))
	return h, dir, client
}

// asker is a client with a certificate that resumes sessions where it can, and
// connects anew for each request unless it keeps connections.
func asker(cert *tls.Certificate, version uint16, keep bool) *http.Client {
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	if cert != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: !keep}, Timeout: patience}
}

func (h *house) ask(c *http.Client) (resumed bool, status int, err error) {
	res, err := c.Get("https://" + h.addr())
	if err != nil {
		return false, 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.TLS.DidResume, res.StatusCode, err
}

// TestFault43ClientAuthorityRotates: not one session of the old authority is
// resumed after the reload, and before it none either.
func TestFault43ClientAuthorityRotates(t *testing.T) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			h, dir, old := guarded(t, "require")
			client := asker(&old, version, false)
			for range 3 {
				if resumed, status, err := h.ask(client); err != nil || resumed || status != 200 {
					t.Fatalf("before: resumed %t, status %d, %v", resumed, status, err)
				}
			}
			fresh := clientAuthority(t, filepath.Join(dir, "ca.pem"))
			h.log.wait(t, "generation=2 ", 1) // nobody asks for the reload
			for range 3 {
				if resumed, status, err := h.ask(client); err == nil {
					t.Errorf("the old certificate got in: resumed %t, status %d", resumed, status)
				}
			}
			if _, status, err := h.ask(asker(&fresh, version, false)); err != nil || status != 200 {
				t.Errorf("the new certificate: status %d, %v", status, err)
			}
		})
	}
}

// TestFault43TicketsFromBefore: sessions of a time when nobody was asked for a
// certificate do not get in either.
func TestFault43TicketsFromBefore(t *testing.T) {
	h, dir := secure(t, say("hello"))
	ca := clientAuthority(t, filepath.Join(dir, "ca.pem"))
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			open := fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\", tls: {certificates: [{cert: %[1]s/cert.pem, key: %[1]s/key.pem}]", dir)
			if err := h.edit(settings(1, open+"}}}\n"+ending)); err != nil {
				t.Fatal(err)
			}
			nobody := asker(nil, version, false)
			_, _, _ = h.ask(nobody)
			if resumed, _, err := h.ask(nobody); err != nil || !resumed {
				t.Fatalf("resumed %t, %v: without client certificates sessions are resumed", resumed, err)
			}
			if err := h.edit(settings(1, open+", client: {ca: "+dir+"/ca.pem}}}}\n"+ending)); err != nil {
				t.Fatal(err)
			}
			if resumed, status, err := h.ask(nobody); err == nil {
				t.Errorf("got in: resumed %t, status %d", resumed, status)
			}
			if _, status, err := h.ask(asker(&ca, version, false)); err != nil || status != 200 {
				t.Errorf("with a certificate: status %d, %v", status, err)
			}
		})
	}
}

func TestClientCertificateModes(t *testing.T) {
	for _, one := range []struct {
		mode                      string
		without, foreign, trusted bool
	}{
		{"require", false, false, true},
		{"verify_if_given", true, false, true},
	} {
		t.Run(one.mode, func(t *testing.T) {
			h, dir, trusted := guarded(t, one.mode)
			foreign := clientAuthority(t, filepath.Join(dir, "other.pem"))
			f := func(name string, cert *tls.Certificate, want bool) {
				if _, _, err := h.ask(asker(cert, tls.VersionTLS13, false)); (err == nil) != want {
					t.Errorf("%s: %v", name, err)
				}
			}
			f("without a certificate", nil, one.without)
			f("a certificate of another authority", &foreign, one.foreign)
			f("a certificate of the authority", &trusted, one.trusted)
		})
	}
}

// TestC11ClientAuthorityUnreadable: the configuration that is in use stays, and
// goes on asking for certificates (CVE-2026-27586).
func TestC11ClientAuthorityUnreadable(t *testing.T) {
	h, dir, trusted := guarded(t, "require")
	put(t, filepath.Join(dir, "ca.pem"), "no authority")
	h.log.wait(t, "configuration refused", 1)
	if _, _, err := h.ask(asker(nil, tls.VersionTLS13, false)); err == nil {
		t.Error("nobody asks for certificates any more")
	}
	if _, status, err := h.ask(asker(&trusted, tls.VersionTLS13, false)); err != nil || status != 200 {
		t.Errorf("status %d, %v", status, err)
	}
}
