package httpsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"

	"github.com/dunglas/httpsfv"
)

// ErrDigest says that a Content-Digest is not that of the body, or that it says
// nothing that can be relied on.
var ErrDigest = errors.New("the body does not have the digest that the message gives")

// VerifyDigest compares the Content-Digest of a message with its body. Every
// digest of SHA-256 and SHA-512 must be right, and there must be one: the other
// algorithms of RFC 9530 protect from accidents and from nobody.
func VerifyDigest(lines []string, body []byte) error {
	d, err := dictionary(lines)
	if err != nil {
		return ErrDigest
	}
	trusted := false
	for _, name := range d.Names() {
		var sum []byte
		switch name {
		case "sha-256":
			s := sha256.Sum256(body)
			sum = s[:]
		case "sha-512":
			s := sha512.Sum512(body)
			sum = s[:]
		default:
			continue
		}
		member, _ := d.Get(name)
		given, ok := bytesOf(member)
		if !ok || subtle.ConstantTimeCompare(given, sum) != 1 {
			return ErrDigest
		}
		trusted = true
	}
	if !trusted {
		return ErrDigest
	}
	return nil
}

// bytesOf is the byte sequence that a member of a dictionary is.
func bytesOf(member httpsfv.Member) ([]byte, bool) {
	item, ok := member.(httpsfv.Item)
	if !ok {
		return nil, false
	}
	data, ok := item.Value.([]byte)
	return data, ok
}
