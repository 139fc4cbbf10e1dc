package middleware_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
	"github.com/pithead/pithead/test/redistest"
)

// redisCertificate is for both ends, and signed by itself.
func redisCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"redis.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &signer.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Redis over TLS, with certificates both ways and a user of its own.
func TestRateLimitStoreTLS(t *testing.T) {
	cert, key := redisCertificate(t, t.TempDir())
	server := redistest.Start(t, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
	server.Do("ACL", "SETUSER", "limits", "on", ">s3cret", "~pithead:*", "+@all")
	f := func(name, more string, found bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
			step := middlewaretest.Build(t, env, fmt.Sprintf(
				"rate_limit: {rate: 10/h, store: {replicas: 2, redis: {address: %q, timeout: 1s, username: limits, %s}}}", server.TLSAddr, more))
			if found {
				begin(t, step)
			} else {
				step.Start()
			}
			want := map[bool]int{true: 10, false: 5}[found]
			if n := passes(t, env, step, 20); n != want {
				t.Errorf("%d pass, want %d", n, want)
			}
			if !found {
				wantMetric(t, env, `pithead_store_up{store="`+server.TLSAddr+`"} 0`)
			}
			server.Do("FLUSHALL")
		})
	}
	pair := fmt.Sprintf("cert: %q, key: %q", cert, key)
	ca := fmt.Sprintf("ca: %q, ", cert)
	f("both prove themselves", "password: s3cret, tls: {"+ca+pair+"}", true)
	f("by another name", "password: s3cret, tls: {server_name: redis.example, "+ca+pair+"}", true)
	f("the name is wrong", "password: s3cret, tls: {server_name: other.example, "+ca+pair+"}", false)
	f("nobody vouches for the server", "password: s3cret, tls: {"+pair+"}", false)
	f("the gateway has no certificate", "password: s3cret, tls: {"+strings.TrimSuffix(ca, ", ")+"}", false)
	f("the password is wrong", "password: secret, tls: {"+ca+pair+"}", false)
}

func TestRateLimitStoreFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := redisCertificate(t, dir)
	c := middleware.RateLimitConfig{Store: &middleware.RateLimitStore{Redis: &middleware.RedisConfig{
		TLS: &middleware.RedisTLS{CA: kind.Path(cert), Cert: kind.Path(cert), Key: kind.Path(key)},
	}}}
	if got := len(c.Files()); got != 3 {
		t.Errorf("%d files are watched, want 3", got)
	}
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	f := func(tls, want string) {
		t.Helper()
		got := middlewaretest.Mistakes(t, env, "rate_limit: {rate: 10/h, store: {redis: {address: 'a:1', tls: {"+tls+"}}}}")
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %q", tls, got, want)
		}
	}
	f(fmt.Sprintf("ca: %q", key), "1:68: "+key+" holds no certificate")
	f(fmt.Sprintf("ca: %q", filepath.Join(dir, "none")), "no such file")
	f(fmt.Sprintf("cert: %q, key: %q", cert, cert), "1:70: tls:")
}
