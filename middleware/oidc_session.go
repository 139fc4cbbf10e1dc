package middleware

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

// oidcSession is what the cookies of a session hold.
type oidcSession struct {
	id      string    // of the session, drawn at the login
	login   time.Time // when it began
	until   time.Time // when it ends
	renew   time.Time // when the provider is to confirm it; zero is never
	token   string    // the ID token
	refresh string    // the refresh token; "" if there is none
}

// oidcLogin is what the cookie of a login that has begun holds. It binds the answer
// of the provider to the browser that has asked.
type oidcLogin struct {
	until                                time.Time
	state, nonce, verifier, back, caller string // caller is the redirect URI
}

const sessionVersion = 1

var errSessionForm = errors.New("not in the form of a session")

func (s *oidcSession) encode() []byte {
	return encodeSession([]time.Time{s.login, s.until, s.renew}, []string{s.id, s.token, s.refresh})
}

func decodeOIDCSession(plain []byte) (*oidcSession, error) {
	var s oidcSession
	err := decodeSession(plain, []*time.Time{&s.login, &s.until, &s.renew}, []*string{&s.id, &s.token, &s.refresh})
	return &s, err
}

func (l *oidcLogin) encode() []byte {
	return encodeSession([]time.Time{l.until}, []string{l.state, l.nonce, l.verifier, l.back, l.caller})
}

func decodeOIDCLogin(plain []byte) (*oidcLogin, error) {
	var l oidcLogin
	err := decodeSession(plain, []*time.Time{&l.until}, []*string{&l.state, &l.nonce, &l.verifier, &l.back, &l.caller})
	return &l, err
}

// encodeSession writes times in milliseconds and texts behind their lengths. There is
// one way of writing what is meant.
func encodeSession(times []time.Time, texts []string) []byte {
	out := []byte{sessionVersion}
	for _, t := range times {
		out = binary.BigEndian.AppendUint64(out, uint64(max(0, t.UnixMilli())))
	}
	for _, text := range texts {
		out = binary.BigEndian.AppendUint16(out, uint16(len(text)))
		out = append(out, text...)
	}
	return out
}

func decodeSession(plain []byte, times []*time.Time, texts []*string) error {
	if len(plain) == 0 || plain[0] != sessionVersion {
		return errSessionForm
	}
	plain = plain[1:]
	for _, t := range times {
		if len(plain) < 8 {
			return errSessionForm
		}
		if ms := binary.BigEndian.Uint64(plain); ms > maxDate*1000 {
			return errSessionForm
		} else if ms > 0 {
			*t = time.UnixMilli(int64(ms))
		}
		plain = plain[8:]
	}
	for _, text := range texts {
		if len(plain) < 2 {
			return errSessionForm
		}
		n := int(binary.BigEndian.Uint16(plain))
		if plain = plain[2:]; len(plain) < n {
			return errSessionForm
		}
		*text, plain = string(plain[:n]), plain[n:]
	}
	if len(plain) > 0 {
		return errSessionForm
	}
	return nil
}

// claims are those of the ID token, which was verified before the session was sealed.
func (s *oidcSession) claims() (map[string]any, error) {
	_, rest, _ := strings.Cut(s.token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, errSessionForm
	}
	return jwks.ParseObject(string(text))
}
