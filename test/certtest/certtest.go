// Package certtest makes certificates for tests.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Write writes NAME.pem and NAME.key into a folder, for each name a certificate of its
// own that it has as common name and as DNS name.
func Write(tb testing.TB, dir string, names ...string) {
	tb.Helper()
	for _, name := range names {
		cert, key := Pair(tb, &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}})
		for suffix, data := range map[string][]byte{".pem": cert, ".key": key} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), data, 0o600); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// Pair makes a certificate that signs itself and its key, both as PEM. A template
// without a serial number gets one at random, one without times is valid now.
func Pair(tb testing.TB, template *x509.Certificate) (cert, key []byte) {
	tb.Helper()
	c := *template
	if c.SerialNumber == nil {
		serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
		if err != nil {
			tb.Fatal(err)
		}
		c.SerialNumber = serial
	}
	if c.NotBefore.IsZero() && c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, private.Public(), private)
	if err != nil {
		tb.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}
