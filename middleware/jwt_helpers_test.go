package middleware_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const issuerURL = "https://id.example.com"

// signers are private keys of each sort, made once: a key of RSA takes its time.
var signers = sync.OnceValue(func() map[string]crypto.Signer {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	return map[string]crypto.Signer{"rsa": rsaKey, "ec": ecKey, "ed": edKey}
})

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// jwkOf is the public key of a signer, with more members.
func jwkOf(kid string, key crypto.Signer, more string) string {
	switch pub := key.Public().(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q%s}`, kid, b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes()), more)
	case *ecdsa.PublicKey:
		point, _ := pub.Bytes()
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q%s}`, kid, b64(point[1:33]), b64(point[33:]), more)
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q%s}`, kid, b64(pub), more)
	}
	panic("no such key")
}

// keySet is a JWK Set of all signers, each under its name.
func keySet() string {
	var keys []string
	for _, kid := range []string{"rsa", "ec", "ed"} {
		keys = append(keys, jwkOf(kid, signers()[kid], ""))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

type members = map[string]any

// goodClaims are those of a token that passes, changed by edits; a nil value takes
// a claim away.
func goodClaims(edits members) members {
	now := time.Now().Unix()
	claims := members{"iss": issuerURL, "aud": "orders", "sub": "ada", "iat": now, "exp": now + 300}
	maps.Copy(claims, edits)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

// token makes a token that the key under kid signs by RS256, ES256 or EdDSA.
func token(t testing.TB, kid string, claims members) string {
	t.Helper()
	alg := map[string]string{"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}[kid]
	return tokenWith(t, members{"alg": alg, "typ": "JWT", "kid": kid}, claims, kid)
}

func tokenWith(t testing.TB, header, claims members, signer string) string {
	t.Helper()
	head, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signed(t, string(head), string(payload), signer)
}

// signed makes a token of any header and payload, with a signature that is right.
func signed(t testing.TB, header, payload, signer string) string {
	t.Helper()
	method := map[string]jwt.SigningMethod{"rsa": jwt.SigningMethodRS256, "ec": jwt.SigningMethodES256, "ed": jwt.SigningMethodEdDSA}[signer]
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	sig, err := method.Sign(text, signers()[signer])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(sig)
}

// jwtBlock is a block with the keys of signers inline, and more settings.
func jwtBlock(more string) string {
	return fmt.Sprintf("jwt: {issuer: %q, audience: orders, jwks: {inline: '%s'}%s}", issuerURL, keySet(), more)
}

func bearer(token string) string { return "GET /\nAuthorization: Bearer " + token }
