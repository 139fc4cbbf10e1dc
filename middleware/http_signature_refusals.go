package middleware

import (
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// signatureRefusals are all answers to requests that do not pass. They are made
// once: whoever floods the gateway with bad signatures is not to cost it memory.
type signatureRefusals struct {
	missing, malformed, key, algorithm, components *gateway.Error
	invalid, created, expired, nonce, replayed     *gateway.Error
	digest, large, full, store                     *gateway.Error
}

// newSignatureRefusals makes the answers. RFC 9421 names no scheme for
// WWW-Authenticate, which a 401 must have (RFC 9110, 15.5.2): this one says what is
// wanted in words of its own.
func newSignatureRefusals(c HTTPSignatureConfig) signatureRefusals {
	challenge := `Signature realm="` + c.Realm + `", covers="` + strings.Join(c.Components, " ") + `"`
	refuse := func(reason, msg string) *gateway.Error {
		return &gateway.Error{
			Status: http.StatusUnauthorized, Reason: "signature_" + reason, Msg: msg, Cause: gateway.CauseClient, Challenge: challenge,
		}
	}
	return signatureRefusals{
		missing:    refuse("missing", "a signature is required"),
		malformed:  gateway.BadRequest("signature_malformed", "the signature fields are malformed"),
		key:        refuse("key", "no signature is of a key that is known here"),
		algorithm:  refuse("algorithm", "the signature names an algorithm that is not that of its key"),
		components: refuse("components", "the signature does not cover all that it must cover"),
		invalid:    refuse("invalid", "the signature is wrong"),
		created:    refuse("created", "the signature does not say when it was made, or was made too long ago or in the future"),
		expired:    refuse("expired", "the signature has expired"),
		nonce:      refuse("nonce", "the signature has no nonce, or one that is too long"),
		replayed:   refuse("replayed", "the nonce of the signature has been used before"),
		digest:     refuse("digest", "the body does not have the digest that is signed"),
		large: &gateway.Error{
			Status: http.StatusRequestEntityTooLarge, Reason: "signature_body_too_large",
			Msg: "the body is larger than that of a signed request may be", Cause: gateway.CauseClient, Close: true,
		},
		full: &gateway.Error{
			Status: http.StatusTooManyRequests, Reason: "signature_nonces_full",
			Msg: "the key has used too many nonces", Cause: gateway.CauseClient, RetryAfter: 30 * time.Second,
		},
		store: &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "signature_store", Msg: "it cannot be found out at the moment whether the nonce was used before",
			Cause: gateway.CauseGateway, RetryAfter: storePause,
		},
	}
}
