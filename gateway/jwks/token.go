package jwks

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// MaxToken is the size of the largest token that is looked at.
const MaxToken = 8 << 10

// maxKeyID is longer than any thumbprint.
const maxKeyID = 256

// What is wrong with a token, for errors.Is. They come in the order in which a
// token is looked at: one that is expired and badly signed is badly signed.
var (
	ErrTooLarge   = errors.New("token is too large")
	ErrMalformed  = errors.New("token is malformed")
	ErrHeader     = errors.New("token asks for something that is not supported")
	ErrAlgorithm  = errors.New("token is signed by an algorithm that its key is not for")
	ErrUnknownKey = errors.New("token names no known key")
	ErrSignature  = errors.New("signature is wrong")
)

// Token is a token in the compact form, taken apart. Nothing of it may be believed
// before Set.Verify has said so.
type Token struct {
	Algorithm string
	KeyID     string // "" if it names none
	Type      string // of the header's typ, as written; "" if there is none
	Payload   string

	signed    string
	signature []byte
}

// base64url refuses padding, line ends and last characters with bits that mean
// nothing: each of them would be a second way of writing the same token.
var base64url = base64.RawURLEncoding.Strict()

// ParseToken takes a token apart. It looks at nothing beyond its size before it
// has seen that there are exactly three parts.
func ParseToken(raw string) (*Token, error) {
	if len(raw) > MaxToken {
		return nil, ErrTooLarge
	}
	head, rest, ok := strings.Cut(raw, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.IndexByte(signature, '.') >= 0 {
		return nil, fmt.Errorf("%w: it does not have three parts", ErrMalformed)
	}
	t := &Token{signed: raw[:len(head)+1+len(payload)]}
	text, err := decodePart(head)
	if err != nil {
		return nil, fmt.Errorf("%w: its header %w", ErrMalformed, err)
	}
	if err := t.header(text); err != nil {
		return nil, err
	}
	if t.Payload, err = decodePart(payload); err != nil {
		return nil, fmt.Errorf("%w: its payload %w", ErrMalformed, err)
	}
	sig, err := decodePart(signature)
	if err != nil {
		return nil, fmt.Errorf("%w: its signature %w", ErrMalformed, err)
	}
	t.signature = []byte(sig)
	return t, nil
}

var errBase64 = errors.New("is not in base64url")

func decodePart(part string) (string, error) {
	// The decoder skips line ends.
	if strings.ContainsAny(part, "\r\n") {
		return "", errBase64
	}
	data, err := base64url.DecodeString(part)
	if err != nil {
		return "", errBase64
	}
	return string(data), nil
}

// unsupported are header members that change how a token is to be read: whoever
// does not follow them must refuse it (RFC 7515, 4.1.11; RFC 7797, 6). Keys that a
// token brings along or points at are no reason: they are never looked at.
var unsupported = []string{"crit", "b64", "zip", "cty", "enc"}

func (t *Token) header(text string) error {
	members, err := ParseObject(text)
	if err != nil {
		return fmt.Errorf("%w: its header %w", ErrMalformed, err)
	}
	for _, name := range unsupported {
		if _, there := members[name]; there {
			return fmt.Errorf("%w: %s", ErrHeader, name)
		}
	}
	for _, m := range []struct {
		name string
		into *string
	}{{"alg", &t.Algorithm}, {"kid", &t.KeyID}, {"typ", &t.Type}} {
		v, there := members[m.name]
		text, isText := v.(string)
		if there && (!isText || text == "" || len(text) > maxKeyID) {
			return fmt.Errorf("%w: %s of its header is no short text", ErrMalformed, m.name)
		}
		*m.into = text
	}
	if t.Algorithm == "" {
		return fmt.Errorf("%w: its header has no alg", ErrMalformed)
	}
	return nil
}
