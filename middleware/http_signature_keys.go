package middleware

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/httpsig"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
)

// signer is a key in use, with who it is.
type signer struct {
	*httpsig.Key
	id, subject string
	told        map[string]string // for headers
	claims      gateway.Claims
	seen        *nonces
	name        string // of its nonces in a store, with the nonce behind it
}

// signers makes the keys of a block by their ids.
func (c HTTPSignatureConfig) signers(env Env) (map[string]*signer, error) {
	all := make(map[string]*signer)
	var errs []error
	for i, k := range c.Keys {
		if err := c.addSigner(all, k, env); err != nil {
			errs = append(errs, kind.At(fmt.Sprintf("keys[%d]", i), "%w", err))
		}
	}
	if c.File != "" {
		text, err := readAccounts(string(c.File))
		if err != nil {
			return nil, errors.Join(append(errs, kind.At("file", "%w", err))...)
		}
		errs = append(errs, eachAccount(string(c.File), text, func(line []byte) error {
			k, err := parseSignatureKey(line)
			if err != nil {
				return err
			}
			return c.addSigner(all, k, env)
		})...)
		if len(errs) == 0 && len(all) == 0 {
			errs = append(errs, kind.At("file", "%s holds no key", string(c.File)))
		}
	}
	return all, errors.Join(errs...)
}

func (c HTTPSignatureConfig) addSigner(all map[string]*signer, k HTTPSignatureKey, env Env) error {
	if all[k.ID] != nil {
		return fmt.Errorf("a second key has the id %q", k.ID)
	}
	key, err := k.key()
	if err != nil {
		return err
	}
	s := &signer{Key: key, id: k.ID, subject: k.subject(), claims: make(gateway.Claims, len(k.Meta)+1)}
	for name, value := range k.Meta {
		s.claims[name] = value
	}
	s.claims["id"] = k.ID
	s.told = make(map[string]string, len(k.Meta)+2)
	maps.Copy(s.told, k.Meta)
	s.told["id"], s.told["subject"] = k.ID, s.subject
	// Who has the same key on another route can send the same signature there, so that
	// what is remembered belongs to the key and not to the block.
	lifetime := c.MaxAge + 2*c.Leeway
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %s %d", k.ID, k.Secret.Reveal(), k.Public, lifetime, c.Nonces))
	s.name = "http_signature " + hex.EncodeToString(sum[:]) + " "
	s.seen, err = keep.Get(env.Keep, "http_signature/"+hex.EncodeToString(sum[:]), func() (*nonces, error) {
		return &nonces{lifetime: lifetime, limit: c.Nonces}, nil
	})
	all[k.ID] = s
	return err
}

// nonces remembers the nonces of one key for at least its lifetime and at most
// twice as long, in two tables that take turns, so that nothing is ever searched for
// what is old. Only those who have the key can fill it, and only they wait for its lock.
type nonces struct {
	lifetime time.Duration
	limit    int

	mu       sync.Mutex
	turned   time.Time
	new, old map[[16]byte]struct{}
}

// use enters a nonce. known says that it has been used, full that there is no place
// to remember it.
func (n *nonces) use(nonce string, now time.Time) (known, full bool) {
	sum := sha256.Sum256([]byte(nonce))
	key := [16]byte(sum[:16])
	n.mu.Lock()
	defer n.mu.Unlock()
	switch age := now.Sub(n.turned); {
	case n.new == nil || age >= 2*n.lifetime:
		n.old, n.new, n.turned = nil, make(map[[16]byte]struct{}), now
	case age >= n.lifetime:
		n.old, n.new, n.turned = n.new, make(map[[16]byte]struct{}), now
	}
	_, recently := n.new[key]
	_, before := n.old[key]
	switch {
	case recently || before:
		return true, false
	case len(n.new) >= n.limit:
		return false, true
	}
	n.new[key] = struct{}{}
	return false, false
}

// forget lets a nonce be used again.
func (n *nonces) forget(nonce string) {
	sum := sha256.Sum256([]byte(nonce))
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.new, [16]byte(sum[:16]))
	delete(n.old, [16]byte(sum[:16]))
}
