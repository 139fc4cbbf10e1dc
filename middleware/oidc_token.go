package middleware

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

const (
	idTokenLeeway = 30 * time.Second
	maxLogoutAge  = 5 * time.Minute
	keyWait       = 3 * time.Second
	keyLook       = 50 * time.Millisecond
	logoutEvent   = "http://schemas.openid.net/event/backchannel-logout"
	typeOfLogout  = "logout+jwt"
)

// verified is what a token of the provider for this client says. Types are those of typ
// that it may have. A key that is not known yet is waited for: the answer to a login
// comes once.
func (m *oidcAuth) verified(ctx context.Context, raw string, now time.Time, types ...string) (map[string]any, error) {
	t, err := jwks.ParseToken(raw)
	if err != nil {
		return nil, err
	}
	if !typeAmong(t.Type, types) {
		return nil, fmt.Errorf("it is of type %.40q", t.Type)
	}
	if err := m.signedByProvider(ctx, t); err != nil {
		return nil, err
	}
	claims, err := jwks.ParseObject(t.Payload)
	if err != nil {
		return nil, err
	}
	// OpenID Connect Core, 3.1.3.7: of several, azp tells for whom it was made.
	if aud, isList := claims["aud"].([]any); isList && len(aud) > 1 && claims["azp"] != m.ClientID {
		return nil, errors.New("it is for several clients, and for this one not above all")
	}
	azp, there := claims["azp"]
	switch {
	case claims["iss"] != m.Issuer:
		return nil, fmt.Errorf("its issuer is %.200q", claims["iss"])
	case !m.audience.audience(claims):
		return nil, errors.New("it is for another client")
	case there && azp != m.ClientID:
		return nil, errors.New("it was made for another client")
	}
	return claims, timely(claims, now)
}

func typeAmong(typ string, types []string) bool {
	const prefix = "application/"
	typ = strings.ToLower(typ)
	for _, one := range types {
		if strings.TrimPrefix(typ, prefix) == one {
			return true
		}
	}
	return false
}

// signedByProvider verifies the signature, and has the keys read again if it names an unknown one.
func (m *oidcAuth) signedByProvider(ctx context.Context, t *jwks.Token) error {
	verify := func() error {
		set, err := m.keys.Set(time.Now())
		if err != nil {
			return err
		}
		return set.Verify(t)
	}
	err := verify()
	if !errors.Is(err, jwks.ErrUnknownKey) {
		return err
	}
	m.keys.Want()
	ctx, cancel := context.WithTimeout(ctx, keyWait)
	defer cancel()
	look := time.NewTicker(keyLook)
	defer look.Stop()
	for errors.Is(err, jwks.ErrUnknownKey) {
		select {
		case <-ctx.Done():
			return err
		case <-look.C:
			err = verify()
		}
	}
	return err
}

// timely checks exp and iat, both of which are required.
func timely(claims map[string]any, now time.Time) error {
	exp, _, expOK := date(claims, "exp")
	iat, _, iatOK := date(claims, "iat")
	nbf, hasNbf, nbfOK := date(claims, "nbf")
	at, leeway := unix(now), idTokenLeeway.Seconds()
	switch {
	case !expOK || !iatOK || hasNbf && !nbfOK:
		return errors.New("it has no valid exp and iat")
	case at > exp+leeway:
		return errors.New("it has expired")
	case at < max(iat, nbf)-leeway:
		return errors.New("it is of the future")
	}
	return nil
}

// idToken verifies the ID token of a login, whose nonce is one that nobody else knows.
func (m *oidcAuth) idToken(ctx context.Context, raw, nonce string, now time.Time) (map[string]any, error) {
	claims, err := m.verified(ctx, raw, now, "", "jwt")
	if err != nil {
		return nil, fmt.Errorf("ID token: %w", err)
	}
	if claims["nonce"] != nonce {
		return nil, errors.New("ID token: its nonce is not that of this login")
	}
	if sub, _ := claims["sub"].(string); sub == "" {
		return nil, errors.New("ID token: it has no sub")
	}
	return claims, nil
}

// renewedToken verifies the ID token that has come with a refresh, which may be none. It is about
// the same person (OpenID Connect Core, 12.2).
func (m *oidcAuth) renewedToken(ctx context.Context, raw string, s *oidcSession, now time.Time) error {
	if raw == "" {
		return nil
	}
	claims, err := m.verified(ctx, raw, now, "", "jwt")
	if err != nil {
		return fmt.Errorf("renewed ID token: %w", err)
	}
	before, err := s.claims()
	if err != nil {
		return err
	}
	if sub, _ := claims["sub"].(string); sub == "" || claims["sub"] != before["sub"] {
		return errors.New("renewed ID token: it is about somebody else")
	}
	return nil
}

// logoutToken is what the provider tells of a logout: it ends sessions of sid, or all of sub.
type logoutToken struct{ id, sub, sid string }

// logoutToken verifies one. It follows OpenID Connect Back-Channel Logout 1.0, 2.6, with typ required.
func (m *oidcAuth) logoutToken(ctx context.Context, raw string, now time.Time) (t logoutToken, err error) {
	claims, err := m.verified(ctx, raw, now, typeOfLogout)
	if err != nil {
		return t, fmt.Errorf("logout token: %w", err)
	}
	events, _ := claims["events"].(map[string]any)
	event, isObject := events[logoutEvent].(map[string]any)
	iat, _, _ := date(claims, "iat")
	t.id, _ = claims["jti"].(string)
	_, hasNonce := claims["nonce"]
	t.sub, _ = claims["sub"].(string)
	t.sid, _ = claims["sid"].(string)
	switch {
	case !isObject || len(event) != 0:
		return t, errors.New("logout token: it tells of no logout")
	case hasNonce:
		return t, errors.New("logout token: it has a nonce, as ID tokens have")
	case t.sub == "" && t.sid == "":
		return t, errors.New("logout token: it does not say whom it is about")
	case t.id == "" || len(t.id) > 256:
		return t, errors.New("logout token: it has no good jti")
	case unix(now)-iat > maxLogoutAge.Seconds():
		return t, errors.New("logout token: it is old")
	}
	return t, nil
}
