package sealed

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// MinSecret is the least size of a secret in bytes.
	MinSecret = 32
	// MaxSecrets bounds a keyring: each of them is tried on a cookie that somebody made up.
	MaxSecrets = 8
)

// ErrSealed says that a text was not sealed by a key of the ring for this purpose.
var ErrSealed = errors.New("not sealed by a known key")

// base64url refuses what would be a second way of writing the same text.
var base64url = base64.RawURLEncoding.Strict()

// Keyring seals texts so that nobody else can read or change them. The first key
// seals, and each opens, by which keys can be replaced while sessions last.
type Keyring struct {
	keys    []cipher.AEAD
	names   [][]byte // keys of Names
	purpose []byte
}

// NewKeyring derives the keys from secrets. What was sealed for one purpose cannot
// be opened for another one, even with the same secrets.
func NewKeyring(secrets []string, purpose string) (*Keyring, error) {
	if len(secrets) == 0 || len(secrets) > MaxSecrets {
		return nil, fmt.Errorf("there are %d keys; it takes 1 to %d", len(secrets), MaxSecrets)
	}
	k := &Keyring{purpose: []byte(purpose)}
	for i, secret := range secrets {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("key %d has %d bytes; it needs at least %d", i+1, len(secret), MinSecret)
		}
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "pithead session\x00"+purpose, chacha20poly1305.KeySize)
		if err != nil {
			return nil, fmt.Errorf("derive key %d: %w", i+1, err)
		}
		aead, err := chacha20poly1305.NewX(key) // its nonces are long enough to be drawn
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		names, err := hkdf.Key(sha256.New, []byte(secret), nil, "pithead names\x00"+purpose, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("derive key %d: %w", i+1, err)
		}
		k.keys, k.names = append(k.keys, aead), append(k.names, names)
	}
	return k, nil
}

// Seal makes a text of letters, digits, - and _ that Open takes back.
func (k *Keyring) Seal(plain []byte) string {
	aead := k.keys[0]
	sealed := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	_, _ = rand.Read(sealed) // never fails
	return base64url.EncodeToString(aead.Seal(sealed, sealed, plain, k.purpose))
}

// Open is what was sealed, or ErrSealed.
func (k *Keyring) Open(text string) ([]byte, error) {
	sealed, err := base64url.DecodeString(text)
	if err != nil || len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrSealed
	}
	nonce, box := sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:]
	for _, aead := range k.keys {
		if plain, err := aead.Open(nil, nonce, box, k.purpose); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSealed
}

// Names are what others may be told in the place of a text, one by each key and the first key's first:
// letters, digits, - and _, which are the same wherever the key is, and tell nobody
// without it what the text is.
func (k *Keyring) Names(text string) []string {
	all := make([]string, len(k.names))
	for i, key := range k.names {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(text))
		all[i] = base64url.EncodeToString(mac.Sum(nil)[:16])
	}
	return all
}
