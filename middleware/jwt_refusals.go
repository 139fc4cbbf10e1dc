package middleware

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
)

// jwtRefusals are all answers to requests that do not pass. They are made once:
// whoever floods the gateway with bad tokens is not to cost it memory.
type jwtRefusals struct {
	missing, ambiguous, csrf                   *gateway.Error
	large, malformed, extension, typ, issuer   *gateway.Error
	algorithm, key, signature, keys            *gateway.Error
	exp, claims, expired, early, lifetime, aud *gateway.Error
	subject, header, scope, denied             *gateway.Error
}

// newJWTRefusals makes the answers for a realm. What they say of a token is said of
// any token that fails in this way, never what is in it.
func newJWTRefusals(realm string, scopes []string) jwtRefusals {
	challenge := `Bearer realm="` + realm + `"`
	refuse := func(status int, code, reason, msg string) *gateway.Error {
		e := &gateway.Error{Status: status, Reason: "jwt_" + reason, Msg: msg, Cause: gateway.CauseClient, Challenge: challenge}
		if code != "" {
			e.Challenge += `, error="` + code + `", error_description="` + msg + `"`
		}
		return e
	}
	invalid := func(reason, msg string) *gateway.Error {
		return refuse(http.StatusUnauthorized, "invalid_token", reason, msg)
	}
	r := jwtRefusals{
		missing:   refuse(http.StatusUnauthorized, "", "missing", "a token is required"),
		ambiguous: refuse(http.StatusBadRequest, "invalid_request", "ambiguous", "the request must have exactly one credential"),
		csrf:      refuse(http.StatusForbidden, "", "csrf", "a token in a cookie is not enough for this method"),
		large:     invalid("too_large", "the token is too large"),
		malformed: invalid("malformed", "the token is malformed"),
		extension: invalid("extension", "the token uses an extension that is not supported"),
		typ:       invalid("type", "the token is of a type that is not accepted"),
		issuer:    invalid("issuer", "the issuer of the token is not accepted"),
		algorithm: invalid("algorithm", "the algorithm of the token is not accepted"),
		key:       invalid("key", "the key of the token is not known"),
		signature: invalid("signature", "the signature of the token is wrong"),
		exp:       invalid("expiry", "the token has no valid expiry"),
		claims:    invalid("claims", "the token has a claim that is not valid"),
		expired:   invalid("expired", "the token has expired"),
		early:     invalid("not_yet", "the token is not valid yet"),
		lifetime:  invalid("lifetime", "the token is valid for too long"),
		aud:       invalid("audience", "the token is for another audience"),
		subject:   invalid("subject", "the token has no subject"),
		header:    invalid("header", "a claim of the token cannot be passed on"),
		denied:    refuse(http.StatusForbidden, "insufficient_scope", "denied", "the token does not allow this"),
		scope:     refuse(http.StatusForbidden, "insufficient_scope", "scope", "the token does not have the scope that is required"),
		keys: &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "jwt_keys", Msg: "tokens cannot be verified at the moment",
			Cause: gateway.CauseGateway, RetryAfter: 2 * time.Second,
		},
	}
	if len(scopes) > 0 {
		r.scope.Challenge += `, scope="` + strings.Join(scopes, " ") + `"`
	}
	return r
}

// of is the answer to an error of the mechanism.
func (r *jwtRefusals) of(err error) *gateway.Error {
	switch {
	case errors.Is(err, jwks.ErrNoKeys):
		return r.keys
	case errors.Is(err, jwks.ErrTooLarge):
		return r.large
	case errors.Is(err, jwks.ErrHeader):
		return r.extension
	case errors.Is(err, jwks.ErrAlgorithm):
		return r.algorithm
	case errors.Is(err, jwks.ErrUnknownKey):
		return r.key
	case errors.Is(err, jwks.ErrSignature):
		return r.signature
	}
	return r.malformed
}
