package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenIssuer is who makes the tokens of scripts.
const tokenIssuer = "https://id.example.com"

// signerOf is the key under a name, the same each time.
func signerOf(kid string) ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	copy(seed[:], kid)
	return ed25519.NewKeyFromSeed(seed[:])
}

// keySet writes a JWK Set with the keys of these names.
func keySet(s *script, args []string) (output, error) {
	if len(args) < 2 {
		return output{}, errors.New("usage: keys FILE KID [KID]")
	}
	data, err := jwkSet(args[1:]...)
	if err != nil {
		return output{}, err
	}
	return output{}, os.WriteFile(s.MkAbs(args[0]), data, 0o600)
}

// jwkSet is a JWK Set with the keys of these names.
func jwkSet(kids ...string) ([]byte, error) {
	type jwk struct {
		Kty string `json:"kty"`
		Crv string `json:"crv"`
		Kid string `json:"kid"`
		X   string `json:"x"`
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	for _, kid := range kids {
		public := signerOf(kid).Public().(ed25519.PublicKey)
		set.Keys = append(set.Keys, jwk{"OKP", "Ed25519", kid, base64.RawURLEncoding.EncodeToString(public)})
	}
	return json.Marshal(set)
}

// token makes a token that the key under kid signs: for ada and the audience orders,
// good for five minutes, unless claims say otherwise. A value that is JSON is that, an empty
// one takes the claim away, and exp is in seconds from now.
func token(s *script, args []string) (output, error) {
	if len(args) < 2 {
		return output{}, errors.New("usage: token VARIABLE KID [CLAIM=VALUE...]")
	}
	now := time.Now().Unix()
	claims := jwt.MapClaims{"iss": tokenIssuer, "aud": "orders", "sub": "ada", "iat": now, "exp": now + 300}
	for _, arg := range args[2:] {
		name, value, ok := strings.Cut(arg, "=")
		if !ok {
			return output{}, fmt.Errorf("%q is no claim", arg)
		}
		var v any
		if json.Unmarshal([]byte(value), &v) != nil {
			v = value
		}
		if claims[name] = v; value == "" {
			delete(claims, name)
		}
		if n, err := strconv.ParseInt(value, 10, 64); name == "exp" && err == nil {
			claims[name] = now + n
		}
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	t.Header["kid"] = args[1]
	text, err := t.SignedString(signerOf(args[1]))
	if err != nil {
		return output{}, err
	}
	s.set(args[0], text)
	return output{}, nil
}
