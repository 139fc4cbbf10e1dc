package jwks

import (
	"crypto"
	"fmt"
)

// ParsePublic reads a document with one public key, a JWK, as strictly as a set of
// them. algorithm is what its `alg` says, or "".
func ParsePublic(document string) (key crypto.PublicKey, algorithm string, err error) {
	members, err := ParseObject(document)
	if err != nil {
		return nil, "", fmt.Errorf("the key %w", err)
	}
	k, err := parseKey(members, false)
	if err != nil {
		return nil, "", fmt.Errorf("the key %w", err)
	}
	algorithm, _ = members["alg"].(string)
	return k.value, algorithm, nil
}
