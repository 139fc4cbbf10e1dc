package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Key is one key, and what it may verify.
type Key struct {
	id         string
	algorithms []*algorithm
	value      any // as golang-jwt wants it
}

// The limits of RSA keys: shorter ones can be broken, longer ones cost too much.
const (
	minModulus  = 2048
	maxModulus  = 8192
	maxExponent = 1<<31 - 1
)

var errNotForThis = errors.New("is not for verifying")

// parseKey reads a JWK. secret wants the keys of a shared secret, and no others.
func parseKey(members map[string]any, secret bool) (*Key, error) {
	text := func(name string) string { s, _ := members[name].(string); return s }
	if err := purpose(members); err != nil {
		return nil, err
	}
	if _, private := members["d"]; private {
		return nil, errors.New("is a private key")
	}
	k := &Key{id: text("kid")}
	if _, isText := members["kid"].(string); members["kid"] != nil && !isText || len(k.id) > maxKeyID {
		return nil, errors.New("has a kid that is no short text")
	}
	kty := text("kty")
	if secret != (kty == familySecret) {
		return nil, fmt.Errorf("is of type %.16q", kty)
	}
	family, err := k.read(kty, text)
	if err != nil {
		return nil, err
	}
	k.algorithms = ofFamily(family, text("alg"))
	if bytes, isSecret := k.value.([]byte); isSecret {
		k.algorithms = slices.DeleteFunc(k.algorithms, func(a *algorithm) bool { return len(bytes) < a.secret })
	}
	if len(k.algorithms) == 0 {
		return nil, fmt.Errorf("is for the algorithm %.16q, which is not supported with it", text("alg"))
	}
	return k, nil
}

// purpose follows use and key_ops, RFC 7517, 4.2 and 4.3.
func purpose(members map[string]any) error {
	if use, there := members["use"]; there && use != "sig" {
		return errNotForThis
	}
	if ops, there := members["key_ops"]; there {
		if list, isList := ops.([]any); !isList || !slices.Contains(list, any("verify")) {
			return errNotForThis
		}
	}
	return nil
}

// read fills in the key itself and returns the family of its algorithms.
func (k *Key) read(kty string, text func(string) string) (family string, err error) {
	part := func(name string) []byte {
		data, decodeErr := base64url.DecodeString(text(name))
		if decodeErr != nil || len(data) == 0 {
			err = errors.Join(err, fmt.Errorf("has no good %s", name))
		}
		return data
	}
	switch crv := text("crv"); {
	case kty == familySecret:
		k.value, family = part("k"), familySecret
	case kty == "RSA":
		k.value, family = &rsa.PublicKey{N: new(big.Int).SetBytes(part("n")), E: exponent(part("e"))}, familyRSA
	case kty == "EC" && curves[crv] != nil:
		k.value, err = point(curves[crv], part("x"), part("y"))
		family = crv
	case kty == "OKP" && crv == "Ed25519":
		k.value, family = ed25519.PublicKey(part("x")), crv
	default:
		return "", fmt.Errorf("is of type %.16q and curve %.16q", kty, crv)
	}
	if err == nil {
		err = k.strong()
	}
	return family, err
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

// point reads a public key of a curve. Coordinates have all their bytes (RFC 7518, 6.2.1.2).
func point(curve elliptic.Curve, x, y []byte) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	if len(x) != size || len(y) != size {
		return nil, errors.New("has coordinates of the wrong size")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, errors.New("is no point of its curve")
	}
	return key, nil
}

func exponent(bytes []byte) int {
	if e := new(big.Int).SetBytes(bytes); e.IsInt64() && e.Int64() <= maxExponent {
		return int(e.Int64())
	}
	return 0
}

// strong refuses keys that can be broken, or that take long to verify with.
func (k *Key) strong() error {
	switch key := k.value.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		switch {
		case bits < minModulus || bits > maxModulus:
			return fmt.Errorf("has %d bits; want %d to %d", bits, minModulus, maxModulus)
		case key.E < 3 || key.E%2 == 0:
			return errors.New("has a bad exponent")
		case roca(key.N):
			return errors.New("can be factored (CVE-2017-15361)")
		}
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return errors.New("is no Ed25519 key")
		}
	}
	return nil
}

// rocaPrimes are the odd primes by which the moduli of CVE-2017-15361 are told.
var rocaPrimes = []int64{
	3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
	101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
}

// roca says whether n was made by the chips whose primes are all powers of 65537
// modulo small primes, and can be factored for that. Of other moduli one in 2^27 is.
func roca(n *big.Int) bool {
	rest := new(big.Int)
	return !slices.ContainsFunc(rocaPrimes, func(p int64) bool {
		want := rest.Mod(n, big.NewInt(p)).Int64()
		for power := int64(1); ; {
			if power == want {
				return false
			}
			if power = power * 65537 % p; power == 1 {
				return true
			}
		}
	})
}

// allows finds the algorithm under a name if the key may verify with it.
func (k *Key) allows(name string) *algorithm {
	for _, a := range k.algorithms {
		if a.name == name {
			return a
		}
	}
	return nil
}
