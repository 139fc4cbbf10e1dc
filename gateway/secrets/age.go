package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"

	"github.com/pithead/pithead/gateway"
)

const (
	agePrefix = "age:"
	maxFile   = 1 << 20
	maxValue  = 1 << 20 // what a sealed value may hold
)

// ageOpener opens values with the identities of a file.
type ageOpener struct{ file string }

var _ gateway.Opener = ageOpener{}

// Open implements gateway.Opener. The file is read each time: it is small, and what
// has been replaced must not go on working.
func (o ageOpener) Open(_ context.Context, sealed string) ([]byte, error) {
	identities, err := o.identities()
	if err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sealed, agePrefix))
	if err != nil {
		return nil, errors.New("is no file of age in base64")
	}
	r, err := age.Decrypt(bytes.NewReader(data), identities...)
	if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
		return nil, fmt.Errorf("is not sealed for any identity in %s", o.file)
	} else if err != nil {
		return nil, errors.New("is damaged")
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxValue+1))
	switch {
	case err != nil:
		return nil, errors.New("is damaged")
	case len(plain) > maxValue:
		return nil, fmt.Errorf("holds more than %d MiB", maxValue>>20)
	}
	return plain, nil
}

func (o ageOpener) identities() ([]age.Identity, error) {
	if o.file == "" {
		return nil, errors.New("is sealed with age, and `secrets` names no identity_file")
	}
	info, err := os.Stat(o.file) // to open a pipe would block
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot be opened: %w", err)
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return nil, fmt.Errorf("cannot be opened: %s is no file of identities", o.file)
	case info.Mode().Perm()&0o004 != 0:
		return nil, fmt.Errorf("cannot be opened: everybody on this machine can read %s; chmod o-r it", o.file)
	}
	text, err := os.ReadFile(o.file)
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("cannot be opened: %s holds no identities of age", o.file) // the error of age may repeat a line
	}
	return identities, nil
}

// SealAge seals a value for recipients, given as age writes them, one or more in a
// text, each in a line.
func SealAge(value []byte, recipients string) (string, error) {
	to, err := age.ParseRecipients(strings.NewReader(recipients))
	if err != nil {
		return "", fmt.Errorf("recipients: %w", err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(value); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	return agePrefix + base64.StdEncoding.EncodeToString(out.Bytes()), nil
}

// NewIdentity makes an identity, and the recipient that goes with it.
func NewIdentity() (identity gateway.Secret, recipient string, err error) {
	made, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("make an identity: %w", err)
	}
	return gateway.Secret(made.String()), made.Recipient().String(), nil
}
