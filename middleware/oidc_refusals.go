package middleware

import (
	"errors"
	"net/http"

	"github.com/pithead/pithead/gateway"
)

// oidcRefusals are the answers to requests that do not pass.
type oidcRefusals struct {
	missing, csrf, https, subject, denied, header, method *gateway.Error
	state, refused, code, token, provider, large, logout  *gateway.Error
	store                                                 *gateway.Error
}

func newOIDCRefusals() oidcRefusals {
	refuse := func(status int, reason, msg string) *gateway.Error {
		return &gateway.Error{Status: status, Reason: "oidc_" + reason, Msg: msg, Cause: gateway.CauseClient}
	}
	r := oidcRefusals{
		missing: refuse(http.StatusUnauthorized, "missing", "a login is required"),
		csrf:    refuse(http.StatusForbidden, "csrf", "another site must not ask for this"),
		https:   refuse(http.StatusForbidden, "https", "logins need https"),
		subject: refuse(http.StatusForbidden, "subject", "the login does not say who you are"),
		denied:  refuse(http.StatusForbidden, "denied", "your login does not allow this"),
		header:  refuse(http.StatusForbidden, "header", "a claim of the login cannot be passed on"),
		method:  refuse(http.StatusMethodNotAllowed, "method", "the method is not for this address"),
		state:   refuse(http.StatusBadRequest, "state", "this browser has not begun this login, or long ago; please begin again"),
		refused: refuse(http.StatusForbidden, "refused", "the provider has not let you in"),
		code:    refuse(http.StatusBadRequest, "code", "the login has been used or is not valid; please begin again"),
		token:   refuse(http.StatusBadGateway, "token", "the answer of the provider cannot be accepted"),
		large:   refuse(http.StatusBadGateway, "too_large", "the answer of the provider is too large for a session"),
		logout:  refuse(http.StatusBadRequest, "logout_token", "the logout token cannot be accepted"),
		provider: &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "oidc_provider", Msg: "logins are not possible at the moment",
			Cause: gateway.CauseGateway, RetryAfter: providerPause,
		},
		store: &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "oidc_store", Msg: "it cannot be found out at the moment whether the login is still good",
			Cause: gateway.CauseGateway, RetryAfter: storePause,
		},
	}
	// A 401 names a scheme (RFC 9110, 15.5.2). There is none for logins by OpenID Connect, so
	// this says only that no header is asked for.
	r.missing.Challenge = `OpenID-Connect realm="pithead"`
	r.token.Cause, r.large.Cause = gateway.CauseGateway, gateway.CauseGateway
	return r
}

// because is a refusal with what only the log is told.
func because(e *gateway.Error, err error) *gateway.Error {
	told := *e
	told.Err = err
	return &told
}

// ofProvider is the answer to what went wrong with the provider: otherwise if it has answered.
func (r *oidcRefusals) ofProvider(err error, otherwise *gateway.Error) *gateway.Error {
	if errors.Is(err, errProviderAway) {
		return because(r.provider, err)
	}
	return because(otherwise, err)
}
