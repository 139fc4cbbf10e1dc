package httpsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// The algorithms of RFC 9421, 3.3.
const (
	HMACSHA256      = "hmac-sha256"
	Ed25519         = "ed25519"
	ECDSAP256SHA256 = "ecdsa-p256-sha256"
	ECDSAP384SHA384 = "ecdsa-p384-sha384"
	RSAPSSSHA512    = "rsa-pss-sha512"
	RSAV15SHA256    = "rsa-v1_5-sha256"
)

// Algorithms are the names of all algorithms.
func Algorithms() []string {
	return []string{HMACSHA256, Ed25519, ECDSAP256SHA256, ECDSAP384SHA384, RSAPSSSHA512, RSAV15SHA256}
}

// MinSecret is the least size of a shared secret in bytes.
const MinSecret = 32

// The limits of RSA keys: shorter ones can be broken, longer ones cost too much.
const (
	minModulus = 2048
	maxModulus = 8192
)

// ErrSignature says that a signature is not the key's.
var ErrSignature = errors.New("the signature is wrong")

// Key verifies with one algorithm, which belongs to it: a message that could
// choose would choose to use a public key as a secret.
type Key struct {
	algorithm string
	public    crypto.PublicKey
	secret    []byte
}

// Algorithm is the one algorithm of the key.
func (k *Key) Algorithm() string { return k.algorithm }

// SecretKey makes a key for hmac-sha256.
func SecretKey(secret []byte) (*Key, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("has %d bytes; it needs at least %d", len(secret), MinSecret)
	}
	return &Key{algorithm: HMACSHA256, secret: slices.Clone(secret)}, nil
}

// PublicKey makes a key of a public one. algorithm may be "" for the one that goes
// with it; for RSA that is rsa-pss-sha512.
func PublicKey(public crypto.PublicKey, algorithm string) (*Key, error) {
	var fits []string
	switch key := public.(type) {
	case ed25519.PublicKey:
		fits = []string{Ed25519}
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			fits = []string{ECDSAP256SHA256}
		case elliptic.P384():
			fits = []string{ECDSAP384SHA384}
		default:
			return nil, fmt.Errorf("is of the curve %s; want P-256 or P-384", key.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minModulus || bits > maxModulus {
			return nil, fmt.Errorf("has %d bits; want %d to %d", bits, minModulus, maxModulus)
		}
		fits = []string{RSAPSSSHA512, RSAV15SHA256}
	default:
		return nil, errors.New("is of a sort that signs no messages; want Ed25519, P-256, P-384 or RSA")
	}
	if algorithm == "" {
		algorithm = fits[0]
	}
	if !slices.Contains(fits, algorithm) {
		return nil, fmt.Errorf("is for %s, not for %s", strings.Join(fits, " or "), algorithm)
	}
	return &Key{algorithm: algorithm, public: public}, nil
}

// ParsePEM reads a public key in PEM: `PUBLIC KEY`, or `RSA PUBLIC KEY`.
func ParsePEM(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, errors.New("is no PEM")
	case strings.TrimSpace(string(rest)) != "":
		return nil, errors.New("holds more than one key")
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("is a private key; its owner keeps it, and gives away the public one")
	case block.Type == "RSA PUBLIC KEY":
		key, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("is no RSA key")
		}
		return key, nil
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("is a %.32q; want a PUBLIC KEY", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is no public key that can be read")
	}
	return key, nil
}

// Verify says whether the key has signed base.
func (k *Key) Verify(base, signature []byte) error {
	if !k.verify(base, signature) {
		return ErrSignature
	}
	return nil
}

func (k *Key) verify(base, signature []byte) bool {
	switch k.algorithm {
	case HMACSHA256:
		mac := hmac.New(sha256.New, k.secret)
		mac.Write(base)
		return hmac.Equal(mac.Sum(nil), signature) // takes the same time for all of one length
	case Ed25519:
		key := k.public.(ed25519.PublicKey)
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(key, base, signature)
	case ECDSAP256SHA256:
		sum := sha256.Sum256(base)
		return k.verifyECDSA(sum[:], signature, 32)
	case ECDSAP384SHA384:
		sum := sha512.Sum384(base)
		return k.verifyECDSA(sum[:], signature, 48)
	case RSAPSSSHA512:
		sum := sha512.Sum512(base)
		exact := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return rsa.VerifyPSS(k.public.(*rsa.PublicKey), crypto.SHA512, sum[:], signature, exact) == nil
	case RSAV15SHA256:
		sum := sha256.Sum256(base)
		return rsa.VerifyPKCS1v15(k.public.(*rsa.PublicKey), crypto.SHA256, sum[:], signature) == nil
	}
	return false
}

// verifyECDSA takes signatures as RFC 9421, 3.3.4 writes them: both numbers, each
// with all its bytes.
func (k *Key) verifyECDSA(sum, signature []byte, size int) bool {
	if len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(k.public.(*ecdsa.PublicKey), sum, r, s)
}
