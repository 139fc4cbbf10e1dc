package middleware

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/pithead/pithead/gateway"
)

// session is what a token says.
type session struct {
	endpoint    uint64 // its ID; 0 is no session
	began, seen uint32 // in seconds of Unix
}

func (s session) start() time.Time { return time.Unix(int64(s.began), 0) }
func (s session) last() time.Time  { return time.Unix(int64(s.seen), 0) }

// sessionSeal turns sessions into tokens and back. A session is one block of the
// cipher, so any other token is a session with an endpoint at random, of which
// there is none: 64 bits are to be guessed.
type sessionSeal struct{ block cipher.Block }

func newSessionSeal(secret gateway.Secret) sessionSeal {
	key := sha256.Sum256([]byte("affinity\x00" + secret.Reveal()))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key has the one length that it can have
	}
	return sessionSeal{block}
}

func (s sessionSeal) close(what session) string {
	var b [aes.BlockSize]byte
	binary.LittleEndian.PutUint64(b[:], what.endpoint)
	binary.LittleEndian.PutUint32(b[8:], what.began)
	binary.LittleEndian.PutUint32(b[12:], what.seen)
	s.block.Encrypt(b[:], b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (s sessionSeal) open(token string) (what session, ok bool) {
	var b [aes.BlockSize]byte
	if len(token) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return what, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(token)); err != nil {
		return what, false
	}
	s.block.Decrypt(b[:], b[:])
	return session{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])}, true
}
