package hostile_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/pithead/pithead/test/certtest"
)

// certificate writes a certificate for a.example and its key to dir, and makes
// the settings of a client that trusts it.
func certificate(tb testing.TB, dir string) (cert, key string, client *tls.Config) {
	tb.Helper()
	certtest.Write(tb, dir, "a.example")
	cert, key = filepath.Join(dir, "a.example.pem"), filepath.Join(dir, "a.example.key")
	text, err := os.ReadFile(cert)
	if err != nil {
		tb.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return cert, key, &tls.Config{RootCAs: roots, ServerName: "a.example", MinVersion: tls.VersionTLS12}
}
