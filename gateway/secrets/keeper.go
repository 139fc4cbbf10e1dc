package secrets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// maxKept bounds what is remembered of Vault.
const maxKept = 4096

// Keeper makes openers, and remembers from one to the next what Vault has opened.
type Keeper struct {
	mu      sync.Mutex
	opening uint64 // the number of the last opener
	kept    map[[sha256.Size]byte]kept
}

type kept struct {
	plain []byte
	used  uint64 // by which opener, last
}

// NewKeeper makes one that remembers nothing yet.
func NewKeeper() *Keeper { return &Keeper{kept: make(map[[sha256.Size]byte]kept)} }

// Opening is a config.Opening.
func (k *Keeper) Opening(s config.Secrets) gateway.Opener {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opening++
	if len(k.kept) > maxKept {
		for key, one := range k.kept {
			if one.used+1 < k.opening { // neither the last one nor this one
				delete(k.kept, key)
			}
		}
	}
	return &opener{Secrets: s, keeper: k, number: k.opening}
}

// opener opens the values of one configuration.
type opener struct {
	config.Secrets
	keeper *Keeper
	number uint64
}

var _ gateway.Opener = (*opener)(nil)

// Open implements gateway.Opener.
func (o *opener) Open(ctx context.Context, sealed string) ([]byte, error) {
	switch {
	case strings.HasPrefix(sealed, agePrefix):
		return ageOpener{file: string(o.Age.IdentityFile)}.Open(ctx, sealed)
	case !strings.HasPrefix(sealed, vaultPrefix):
		return nil, errors.New("is sealed in a way that is not known here")
	case o.Vault.Address == "":
		return nil, errors.New("is sealed by Vault, and `secrets` names no vault")
	}
	v := o.Vault
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", v.Address, v.Namespace, v.Mount, v.Key, sealed))
	if plain, known := o.keeper.get(key, o.number); known {
		return plain, nil
	}
	client, err := newVault(v)
	if err != nil {
		return nil, err
	}
	defer client.close()
	plain, err := client.Open(ctx, sealed)
	if err == nil {
		o.keeper.put(key, plain, o.number)
	}
	return plain, err
}

func (k *Keeper) get(key [sha256.Size]byte, number uint64) ([]byte, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one, known := k.kept[key]
	if known {
		one.used = number
		k.kept[key] = one
	}
	return one.plain, known
}

func (k *Keeper) put(key [sha256.Size]byte, plain []byte, number uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[key] = kept{plain, number}
}

// SealVault lets the Vault of a configuration seal a value.
func SealVault(ctx context.Context, v config.Vault, value []byte) (string, error) {
	if v.Address == "" {
		return "", errors.New("the configuration names no vault under `secrets`")
	}
	client, err := newVault(v)
	if err != nil {
		return "", err
	}
	defer client.close()
	return client.seal(ctx, value)
}
