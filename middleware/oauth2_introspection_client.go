package middleware

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife = time.Minute
	minRSA        = 2048
)

// signingAlgorithms are those that a client can sign with.
var signingAlgorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// oauth2Client proves to an authorization server who asks.
type oauth2Client struct {
	OAuth2Client
	endpoint string
	sign     *assertionSigner // nil unless it signs
}

// newOAuth2Client reads the key if there is one. digest tells clients apart that
// prove themselves differently.
func newOAuth2Client(c OAuth2Client, endpoint string) (k *oauth2Client, digest string, err error) {
	k = &oauth2Client{OAuth2Client: c, endpoint: endpoint}
	proof := []byte(c.Secret.Reveal())
	if c.Auth == authKey {
		if proof, err = kind.ReadFile(string(c.Key.File), maxProof); err != nil {
			return nil, "", err
		}
		if k.sign, err = newAssertionSigner(proof, c.Key.Algorithm); err != nil {
			return nil, "", fmt.Errorf("%s: %w", c.Key.File, err)
		}
	}
	return k, fmt.Sprintf("%q %s %q %q %x", c.ID, c.Auth, c.Key, endpoint, sha256.Sum256(proof)), nil
}

// prove adds the proof to a question, in its form or its headers.
func (k *oauth2Client) prove(form url.Values, h http.Header, now time.Time) error {
	switch k.Auth {
	case authPost:
		form.Set("client_id", k.ID)
		form.Set("client_secret", k.Secret.Reveal())
	case authKey:
		assertion, err := k.assertion(now)
		if err != nil {
			return fmt.Errorf("sign for the client: %w", err)
		}
		form.Set("client_id", k.ID)
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	default: // RFC 6749, 2.3.1: both are form-encoded first
		pair := url.QueryEscape(k.ID) + ":" + url.QueryEscape(k.Secret.Reveal())
		h.Set(authorization, "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	return nil
}

// assertion is a fresh one each time: servers accept a jti once.
func (k *oauth2Client) assertion(now time.Time) (string, error) {
	audience := k.Key.Audience
	if audience == "" {
		audience = k.endpoint
	}
	head := map[string]any{"alg": k.sign.algorithm, "typ": "JWT"}
	if k.Key.ID != "" {
		head["kid"] = k.Key.ID
	}
	return k.sign.jwt(head, map[string]any{
		"iss": k.ID, "sub": k.ID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
}

// assertionSigner makes signed tokens with one key.
type assertionSigner struct {
	algorithm string
	key       crypto.Signer
}

func newAssertionSigner(document []byte, algorithm string) (*assertionSigner, error) {
	block, _ := pem.Decode(document)
	if block == nil {
		return nil, errors.New("is no PEM file")
	}
	key, err := parsePrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	var fit []string
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSA {
			return nil, fmt.Errorf("its key has %d bits, which is less than %d", k.N.BitLen(), minRSA)
		}
		fit = []string{"RS256", "PS256"}
	case *ecdsa.PrivateKey:
		switch k.Curve.Params().BitSize {
		case 256:
			fit = []string{"ES256"}
		case 384:
			fit = []string{"ES384"}
		}
	case ed25519.PrivateKey:
		fit = []string{"EdDSA"}
	}
	switch {
	case fit == nil:
		return nil, errors.New("its key is neither RSA, nor ECDSA on P-256 or P-384, nor Ed25519")
	case algorithm == "":
		algorithm = fit[0]
	case !slices.Contains(fit, algorithm):
		return nil, fmt.Errorf("its key is not for %s but for %q", algorithm, fit)
	}
	return &assertionSigner{algorithm, key.(crypto.Signer)}, nil
}

// parsePrivateKey reads PKCS #8, and the older forms for RSA and ECDSA.
func parsePrivateKey(der []byte) (any, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errors.New("holds no private key that can be read; encrypted ones cannot")
}

func (s *assertionSigner) jwt(head, claims map[string]any) (string, error) {
	var parts [2]string
	for i, part := range []map[string]any{head, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	input := parts[0] + "." + parts[1]
	signature, err := s.signature([]byte(input))
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func (s *assertionSigner) signature(input []byte) ([]byte, error) {
	hash := crypto.SHA256
	switch s.algorithm {
	case "EdDSA":
		return s.key.Sign(rand.Reader, input, crypto.Hash(0))
	case "ES384":
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write(input)
	digest := h.Sum(nil)
	if key, ok := s.key.(*ecdsa.PrivateKey); ok {
		return jwsECDSA(key, digest)
	}
	var opts crypto.SignerOpts = hash
	if s.algorithm == "PS256" {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	return s.key.Sign(rand.Reader, digest, opts)
}

// jwsECDSA is the two numbers in full length, RFC 7518, 3.4, not in ASN.1.
func jwsECDSA(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	size := (key.Curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out, nil
}
