// Package jwks verifies signed tokens (JWS, RFC 7515) with the keys of an issuer
// (JWK sets, RFC 7517), and keeps those keys fresh.
//
//	keys := jwks.NewCache(jwks.Options{Name: issuer, Load: loader})
//	keys.Start()
//	...
//	token, err := jwks.ParseToken(raw)
//	set, err := keys.Set()
//	err = set.Verify(token)    // ErrUnknownKey: keys.Want(), and no waiting
//	claims, err := jwks.ParseObject(token.Payload)
//
// It is stricter than the standards are wherever two readers could understand a
// token in two ways, and knows nothing of HTTP servers: what is asked of the claims
// is the middleware's business.
package jwks
