package jwks

import (
	"errors"
	"fmt"
	"strings"
)

// maxKeys bounds the keys of a set; providers have two or three.
const maxKeys = 100

// Set are the keys of an issuer. It never changes.
type Set struct {
	keys map[string]*Key // by key id; "" for one without
	any  *Key            // for every key id; nil for sets with names

	// Ignored says of keys in the document why they are not used.
	Ignored []string
}

// ParseSet reads a JWK Set of public keys. Keys that are not for verifying, weak,
// or of unknown sorts are left out, as are all that share a key id: it cannot be
// known which one is meant. A set of which nothing is left is an error.
func ParseSet(document string) (*Set, error) { return parseSet(document, false) }

// ParseSecret makes a set out of a shared secret: its bytes, or a JWK Set of keys
// of type oct, by which secrets can be rotated.
func ParseSecret(secret string) (*Set, error) {
	if strings.HasPrefix(strings.TrimSpace(secret), "{") {
		return parseSet(secret, true)
	}
	k := &Key{value: []byte(secret)}
	for _, a := range ofFamily(familySecret, "") {
		if len(secret) >= a.secret {
			k.algorithms = append(k.algorithms, a)
		}
	}
	if len(k.algorithms) == 0 {
		return nil, fmt.Errorf("the secret has %d bytes; it needs at least 32", len(secret))
	}
	return &Set{keys: map[string]*Key{"": k}, any: k}, nil
}

func parseSet(document string, secret bool) (*Set, error) {
	members, err := ParseObject(document)
	if err != nil {
		return nil, fmt.Errorf("the key set %w", err)
	}
	list, ok := members["keys"].([]any)
	switch {
	case !ok:
		return nil, errors.New("the key set has no list of keys")
	case len(list) > maxKeys:
		return nil, fmt.Errorf("the key set has %d keys; at most %d are accepted", len(list), maxKeys)
	}
	s := &Set{keys: make(map[string]*Key, len(list))}
	seen := make(map[string]int, len(list))
	for _, item := range list {
		if jwk, isObject := item.(map[string]any); isObject {
			id, _ := jwk["kid"].(string)
			seen[id]++
		}
	}
	for i, item := range list {
		jwk, isObject := item.(map[string]any)
		if !isObject {
			s.ignore(i, errNoObject)
			continue
		}
		key, err := parseKey(jwk, secret)
		switch {
		case err != nil:
			s.ignore(i, err)
		case seen[key.id] > 1:
			s.ignore(i, errors.New("shares its kid with another one"))
		default:
			s.keys[key.id] = key
		}
	}
	// Secrets beside keys that everybody knows are a mistake of the operator.
	if secret && len(s.keys) != len(list) {
		return nil, fmt.Errorf("the secret has a key that cannot be used%s", s.reasons())
	}
	if len(s.keys) == 0 {
		return nil, fmt.Errorf("of %d keys none can be used%s", len(list), s.reasons())
	}
	return s, nil
}

func (s *Set) ignore(i int, why error) {
	s.Ignored = append(s.Ignored, fmt.Sprintf("key %d %v", i, why))
}

func (s *Set) reasons() string {
	if len(s.Ignored) == 0 {
		return ""
	}
	return ": " + strings.Join(s.Ignored, "; ")
}

// Len is the number of keys.
func (s *Set) Len() int { return len(s.keys) }

// Secret is the size in bytes of the shortest secret of a set made by ParseSecret.
func (s *Set) Secret() int {
	shortest := 0
	for _, k := range s.keys {
		if bytes, ok := k.value.([]byte); ok && (shortest == 0 || len(bytes) < shortest) {
			shortest = len(bytes)
		}
	}
	return shortest
}

// Verify says whether the key that t names has signed it. The key decides which
// algorithms there are: a token that may choose is a token that may choose to use a
// public key as a secret (RFC 8725, 2.1).
func (s *Set) Verify(t *Token) error {
	key := s.any
	if key == nil {
		key = s.keys[t.KeyID]
	}
	if key == nil {
		return ErrUnknownKey
	}
	a := key.allows(t.Algorithm)
	if a == nil {
		return ErrAlgorithm
	}
	if err := a.verify.Verify(t.signed, t.signature, key.value); err != nil {
		return ErrSignature
	}
	return nil
}
