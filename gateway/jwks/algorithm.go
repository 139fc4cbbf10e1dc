package jwks

import (
	"crypto"
	"crypto/rsa"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is a way of signing that is accepted. There is no "none" among them.
type algorithm struct {
	name   string
	family string // which keys it is for: the curve, else the type of key
	verify jwt.SigningMethod
	secret int // the least size of a secret in bytes, RFC 7518, 3.2
}

const (
	familyRSA    = "RSA"
	familySecret = "oct"
)

var algorithms = []algorithm{
	{name: "RS256", family: familyRSA, verify: jwt.SigningMethodRS256},
	{name: "RS384", family: familyRSA, verify: jwt.SigningMethodRS384},
	{name: "RS512", family: familyRSA, verify: jwt.SigningMethodRS512},
	{name: "PS256", family: familyRSA, verify: pss("PS256", crypto.SHA256)},
	{name: "PS384", family: familyRSA, verify: pss("PS384", crypto.SHA384)},
	{name: "PS512", family: familyRSA, verify: pss("PS512", crypto.SHA512)},
	{name: "ES256", family: "P-256", verify: jwt.SigningMethodES256},
	{name: "ES384", family: "P-384", verify: jwt.SigningMethodES384},
	{name: "ES512", family: "P-521", verify: jwt.SigningMethodES512},
	{name: "EdDSA", family: "Ed25519", verify: jwt.SigningMethodEdDSA},
	{name: "Ed25519", family: "Ed25519", verify: jwt.SigningMethodEdDSA}, // RFC 9864
	{name: "HS256", family: familySecret, verify: jwt.SigningMethodHS256, secret: 32},
	{name: "HS384", family: familySecret, verify: jwt.SigningMethodHS384, secret: 48},
	{name: "HS512", family: familySecret, verify: jwt.SigningMethodHS512, secret: 64},
}

// pss insists on a salt as long as the hash, RFC 7518, 3.5.
func pss(name string, hash crypto.Hash) jwt.SigningMethod {
	exact := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: &jwt.SigningMethodRSA{Name: name, Hash: hash}, Options: exact, VerifyOptions: exact,
	}
}

// Algorithms are the names of all algorithms: those with public keys, or those
// with a shared secret.
func Algorithms(secret bool) (names []string) {
	for _, a := range algorithms {
		if (a.family == familySecret) == secret {
			names = append(names, a.name)
		}
	}
	return names
}

// SecretSize is the least size in bytes of a secret for an algorithm.
func SecretSize(name string) int {
	i := slices.IndexFunc(algorithms, func(a algorithm) bool { return a.name == name })
	if i < 0 {
		return 0
	}
	return algorithms[i].secret
}

// ofFamily are the algorithms for a key. One that says its algorithm has no other.
func ofFamily(family, only string) (all []*algorithm) {
	for i := range algorithms {
		if a := &algorithms[i]; a.family == family && (only == "" || a.name == only || sameCurve(a, only)) {
			all = append(all, a)
		}
	}
	return all
}

// sameCurve says whether EdDSA and Ed25519 are two names of the same thing.
func sameCurve(a *algorithm, only string) bool {
	return a.family == "Ed25519" && (only == "EdDSA" || only == "Ed25519")
}
