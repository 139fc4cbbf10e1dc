package middleware

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// APIKey is a key that is let through.
type APIKey struct {
	// ID names the key, for people and for the access log. No two keys have the same. Required.
	ID string `yaml:"id,required" json:"id"`
	// SHA256 is the digest of the key in hexadecimal, as `printf %s "$KEY" | sha256sum`
	// prints it. Required.
	SHA256 APIKeyDigest `yaml:"sha256,required" json:"sha256"`
	// Subject is who the key proves to be calling. Several keys may have the same, so
	// that one can take the place of another. Default: the id.
	Subject string `yaml:"subject" json:"subject"`
	// Meta are facts about the key for `headers`. Default: none.
	Meta map[string]string `yaml:"meta" json:"meta"`
	// NotAfter is when the key ends, as `2027-01-31T12:00:00Z`, or `2027-01-31` for the
	// beginning of that day in UTC. Default: never.
	NotAfter APIKeyEnd `yaml:"not_after" json:"not_after"`
}

func (k APIKey) subject() string {
	if k.Subject != "" {
		return k.Subject
	}
	return k.ID
}

// Validate checks one key.
func (k APIKey) Validate() error {
	return validateAccount(k.ID, k.Subject, k.Meta)
}

// APIKeyDigest is the SHA-256 digest of a key.
type APIKeyDigest [sha256.Size]byte

// UnmarshalText reads 64 hexadecimal digits. Its errors do not repeat the text,
// which may be a key that somebody has taken for its digest.
func (d *APIKeyDigest) UnmarshalText(text []byte) error {
	if len(text) != 2*sha256.Size {
		return errors.New("want a SHA-256 digest, 64 hexadecimal digits, and never the key itself; make it with: printf %s \"$KEY\" | sha256sum")
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return errors.New("a SHA-256 digest has only hexadecimal digits; make it with: printf %s \"$KEY\" | sha256sum")
	}
	if *d == sha256.Sum256(nil) || *d == sha256.Sum256([]byte("\n")) {
		return errors.New("is the digest of an empty text; was the variable with the key set?")
	}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (d APIKeyDigest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// APIKeyEnd is a point in time; zero is never.
type APIKeyEnd struct{ at time.Time }

// UnmarshalText reads a day or a point in time.
func (e *APIKeyEnd) UnmarshalText(text []byte) error {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, string(text)); err == nil {
			e.at = t
			return nil
		}
	}
	return fmt.Errorf("%q is no time; write for example 2027-01-31 or 2027-01-31T12:00:00Z", text)
}

// MarshalText implements encoding.TextMarshaler.
func (e APIKeyEnd) MarshalText() ([]byte, error) {
	if e.at.IsZero() {
		return nil, nil
	}
	return e.at.MarshalText()
}

// tableKey is a key in use.
type tableKey struct {
	digest   [sha256.Size]byte
	subject  string
	notAfter time.Time
	told     map[string]string
}

// apiKeyTable finds keys by their digests. It never changes. All keys, known or
// not, cost the same: one digest, one look at the map, one comparison of the
// whole. What the map may betray is the beginning of a digest, which does not help
// to find a key.
type apiKeyTable struct {
	keys   map[uint64]*tableKey // by the first bytes of the digest
	nobody *tableKey            // stands in for keys that are not there
	digest func(key string) [sha256.Size]byte
	same   func(a, b [sha256.Size]byte) bool
}

// maxAPIKey bounds what is hashed for a caller who has not proven anything.
const maxAPIKey = 512

func digestOfKey(key string) [sha256.Size]byte {
	var buf [maxAPIKey]byte
	return sha256.Sum256(buf[:copy(buf[:], key)])
}

func sameDigest(a, b [sha256.Size]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

func (t *apiKeyTable) find(key string) (*tableKey, bool) {
	digest := t.digest(key)
	found, known := t.keys[binary.BigEndian.Uint64(digest[:])]
	if !known {
		found = t.nobody
	}
	same := t.same(digest, found.digest)
	return found, same && known && len(key) <= maxAPIKey
}

// newAPIKeyTable makes the table of the keys of a block and of a file, "" for none.
func newAPIKeyTable(keys []APIKey, file string, text []byte) (*apiKeyTable, error) {
	t := &apiKeyTable{
		keys: make(map[uint64]*tableKey, len(keys)+bytes.Count(text, []byte("\n"))),
		// Nobody can find a key for this digest, and a match would not count.
		nobody: &tableKey{}, digest: digestOfKey, same: sameDigest,
	}
	ids := make(map[string]bool)
	var errs []error
	for i, k := range keys {
		if err := t.add(k, ids); err != nil {
			errs = append(errs, kind.At(fmt.Sprintf("keys[%d]", i), "%w", err))
		}
	}
	errs = append(errs, eachAccount(file, text, func(line []byte) error {
		k, err := parseAPIKey(line)
		if err != nil {
			return err
		}
		return t.add(k, ids)
	})...)
	if len(errs) == 0 && len(t.keys) == 0 {
		errs = append(errs, kind.At("file", "%s holds no key; if nobody is to pass, leave one that has expired", file))
	}
	return t, errors.Join(errs...)
}

func (t *apiKeyTable) add(k APIKey, ids map[string]bool) error {
	slot := binary.BigEndian.Uint64(k.SHA256[:])
	switch {
	case ids[k.ID]:
		return fmt.Errorf("a second key has the id %q", k.ID)
	case t.keys[slot] != nil:
		return fmt.Errorf("the key %q has the digest of %q", k.ID, t.keys[slot].told["id"])
	}
	ids[k.ID] = true
	t.keys[slot] = &tableKey{digest: k.SHA256, subject: k.subject(), notAfter: k.NotAfter.at, told: toldOf(k)}
	return nil
}

// parseAPIKey reads a line of a file.
func parseAPIKey(line []byte) (APIKey, error) {
	var k APIKey
	if err := parseAccount(line, &k); err != nil {
		return k, err
	}
	if k.SHA256 == (APIKeyDigest{}) {
		return k, errors.New(`"sha256" is required`)
	}
	return k, oneLine(k.Validate())
}
