package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
)

// raw is a signature of a curve as RFC 9421 writes it.
func raw(t testing.TB, key *ecdsa.PrivateKey, sum []byte) []byte {
	t.Helper()
	r, s, err := ecdsa.Sign(rand.Reader, key, sum)
	if err != nil {
		t.Fatal(err)
	}
	size := (key.Params().BitSize + 7) / 8
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out
}

// TestAlgorithms signs with each algorithm, and holds each signature to every other
// key: none of them fits.
func TestAlgorithms(t *testing.T) {
	base := []byte(`"@signature-params": ()`)
	h256, h384, h512 := sha256.Sum256(base), sha512.Sum384(base), sha512.Sum512(base)
	edPublic, edKey, _ := ed25519.GenerateKey(rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	shared := []byte(strings.Repeat("s", MinSecret))
	mac := hmac.New(sha256.New, shared)
	mac.Write(base)
	pss, _ := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA512, h512[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	longSalt, _ := rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA512, h512[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
	v15, _ := rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, h256[:])
	der, _ := ecdsa.SignASN1(rand.Reader, p256, h256[:])
	secretKey, _ := SecretKey(shared)
	of := func(public crypto.PublicKey, algorithm string) *Key {
		k, err := PublicKey(public, algorithm)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	keys := []*Key{
		secretKey, of(edPublic, ""), of(&p256.PublicKey, ""), of(&p384.PublicKey, ""), of(&rsaKey.PublicKey, ""), of(&rsaKey.PublicKey, RSAV15SHA256),
	}
	signatures := [][]byte{mac.Sum(nil), ed25519.Sign(edKey, base), raw(t, p256, h256[:]), raw(t, p384, h384[:]), pss, v15}
	for i, k := range keys {
		if k.Algorithm() != Algorithms()[i] {
			t.Errorf("key %d is for %s", i, k.Algorithm())
		}
		for j, s := range signatures {
			if err := k.Verify(base, s); (err == nil) != (i == j) {
				t.Errorf("the key of %s and a signature of %s: %v", k.Algorithm(), keys[j].Algorithm(), err)
			}
		}
		for _, odd := range [][]byte{nil, {0}, der, longSalt, make([]byte, 64), make([]byte, 96), make([]byte, 256), signatures[i][1:], append([]byte{0}, signatures[i]...)} {
			if k.Verify(base, odd) == nil {
				t.Errorf("%s takes %x", k.Algorithm(), odd)
			}
		}
	}
}

// TestKeysRefused are keys that can be broken, and algorithms that are not theirs.
func TestKeysRefused(t *testing.T) {
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key             crypto.PublicKey
		algorithm, want string
	}{
		{&p521.PublicKey, "", "curve P-521"},
		{&p256.PublicKey, HMACSHA256, "is for ecdsa-p256-sha256, not for hmac-sha256"},
		{&p256.PublicKey, ECDSAP384SHA384, "not for ecdsa-p384-sha384"},
		{&small.PublicKey, "", "has 1024 bits"},
		{"text", "", "signs no messages"},
	} {
		if _, err := PublicKey(c.key, c.algorithm); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%T for %q: %v", c.key, c.algorithm, err)
		}
	}
	if _, err := SecretKey(make([]byte, MinSecret-1)); err == nil {
		t.Error("a short secret is taken")
	}
	private, _ := x509.MarshalECPrivateKey(p256)
	for text, want := range map[string]string{
		"text": "is no PEM",
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})): "is a private key",
		rfcEd25519 + "\n" + rfcP256: "more than one",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})):    `is a "CERTIFICATE"`,
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})):     "no public key",
		string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: []byte{1}})): "no RSA key",
	} {
		if _, err := ParsePEM(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
