package certtest_test

import (
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"github.com/pithead/pithead/test/certtest"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	certtest.Write(t, dir, "a.example", "*.b.example")
	for name, host := range map[string]string{"a.example": "a.example", "*.b.example": "x.b.example"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(pair.Leaf)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots}); err != nil {
			t.Error(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "c.example", Roots: roots}); err == nil {
			t.Errorf("the certificate of %s is good for c.example", name)
		}
	}
}

func TestPairKeepsTheTemplate(t *testing.T) {
	end := time.Now().Add(-time.Minute).Truncate(time.Second)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: end}
	pair, err := tls.X509KeyPair(certtest.Pair(t, template))
	if err != nil {
		t.Fatal(err)
	}
	if pair.Leaf.SerialNumber.Int64() != 7 || !pair.Leaf.NotAfter.Equal(end) {
		t.Errorf("serial number %v, valid until %v", pair.Leaf.SerialNumber, pair.Leaf.NotAfter)
	}
}
