package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/kind"
)

// JWTConfig lets requests pass that bring a signed token (JWT) of a known issuer,
// and proves by it who the caller is. Whoever has no good token gets 401, whose
// token does not say enough 403, both with the challenge of RFC 6750.
//
//	jwt: {issuer: "https://id.example.com", audience: orders}
//
// The token comes as `Authorization: Bearer`, never in the query. It must name a key
// of its issuer and be signed with it, by an algorithm that this key is for. `iss`,
// `aud` and `exp` are required; `nbf` and `iat` hold if they are there. Tokens that
// ask for extensions (`crit`, `b64`, `zip`, `cty`), have a member twice or more than
// 8 KiB are refused.
//
// Keys are fetched in the background, and once a minute at most because of an unknown
// key, so that no request waits for an issuer. While it cannot be reached the last
// ones stay in use for a day; before there are any, its tokens get 503.
type JWTConfig struct {
	// The only issuer, or the first of those whose settings stand in `issuers`.
	JWTIssuer

	// Issuers are several issuers, each with keys of its own. The `iss` of a token says
	// whose it is, and the subject becomes `ISSUER#SUB`, because different issuers may have the
	// same `sub`. In the place of issuer and the settings that go with it.
	Issuers []JWTIssuer `yaml:"issuers"`

	// Header names a request header that brings the token instead of Authorization, bare
	// or behind `Bearer`. Default: Authorization.
	Header string `yaml:"header"`
	// Cookie names a cookie that may bring the token too. Who brings two tokens gets 400. Default: none.
	Cookie string `yaml:"cookie"`
	// CookieCSRF says what protects other methods than GET, HEAD and OPTIONS when the token comes in
	// the cookie, which browsers send along with requests that other sites have them make:
	// `origin` lets those pass that Sec-Fetch-Site and Origin tell to be of the same
	// origin, or that no browser has made. Default: nothing, and they get 403.
	CookieCSRF string `yaml:"cookie_csrf"`
	// Optional lets requests without a token pass, as those of nobody. A bad token is refused
	// all the same. Default: false.
	Optional bool `yaml:"optional"`
	// Forward leaves the token in the request that goes upstream. Default: true.
	Forward bool `yaml:"forward"`

	// Types are the values of `typ` that a token may have, beside none: media types without
	// `application/`, in any case. Default: [JWT, at+jwt].
	Types []string `yaml:"types"`
	// Leeway is how far the clocks of issuer and gateway may be apart, at most 5m. Default: 30s.
	Leeway time.Duration `yaml:"leeway"`
	// MaxLifetime is how far away `exp` may be, from now and from `iat`. Default: 24h.
	MaxLifetime time.Duration `yaml:"max_lifetime"`
	// Subject is the claim that says who the caller is, for limits, sticky splits and the log. A
	// token must have it. A dot leads into an object. Default: sub.
	Subject string `yaml:"subject"`

	// Scopes must all be in the `scope` of the token, or in its list `scp`. Default: none.
	Scopes []string `yaml:"scopes"`
	// Claims are further demands on the token. All must be met. Default: none.
	Claims []JWTClaim `yaml:"claims"`
	// Headers are request headers that tell the upstream of claims, by name. A token without the
	// claim has the header absent. What clients send under these names, or aliases of
	// them, is dropped or refused, on all routes. Default: none.
	Headers map[string]JWTHeader `yaml:"headers"`

	// Cache is how many verified tokens are remembered, at most until they expire or the keys
	// of their issuer change, within 32 MiB. `0` verifies each time. Default: 10000.
	Cache int `yaml:"cache"`
	// Realm is what the challenge calls the protected space. Default: pithead.
	Realm string `yaml:"realm"`
}

// JWTIssuer is who makes tokens.
type JWTIssuer struct {
	// Issuer is the `iss` of the tokens, exactly as they have it. Required.
	Issuer string `yaml:"issuer"`
	// Audience are those of whom the `aud` of a token must name one, or `any`, which takes
	// tokens that were made for others. Required.
	Audience []string `yaml:"audience,one"`
	// JWKS says where the keys come from: `discovery`, an https URL, `{file: PATH}` or
	// `{inline: DOCUMENT}`. Default: discovery.
	JWKS JWTKeys `yaml:"jwks"`
	// Secret is shared with the issuer instead: at least 32 bytes, or a JWK Set with keys of
	// type oct. Every service that knows it can make tokens. Default: none.
	Secret gateway.Secret `yaml:"secret"`
	// Algorithms are those that are accepted, of what the key is for. Default: RS256, RS384,
	// RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA; with a secret HS256, HS384 and HS512, as
	// far as it is long enough.
	Algorithms []string `yaml:"algorithms"`
}

// JWTClaim is a demand on a claim.
type JWTClaim struct {
	// Claim is the name of the claim. A dot leads into an object, unless there is a claim with
	// just this name: `realm_access.roles`. Required.
	Claim string `yaml:"claim,required"`
	// Equals is the value that it must have, or that its list must have among others.
	Equals string `yaml:"equals"`
	// OneOf are the values of which it must have one, or its list at least one.
	OneOf []string `yaml:"one_of"`
}

// Validate checks that something is demanded.
func (c JWTClaim) Validate() error {
	if (c.Equals == "") == (len(c.OneOf) == 0) {
		return kind.At("", "needs either equals or one_of")
	}
	return nil
}

const (
	anyAudience = "any"
	csrfOrigin  = "origin"
	maxLeeway   = 5 * time.Minute
)

// all are the issuers, in whichever way they are written.
func (c JWTConfig) all() []JWTIssuer {
	if len(c.Issuers) > 0 {
		return c.Issuers
	}
	return []JWTIssuer{c.JWTIssuer}
}

// Validate checks everything but the keys.
func (c JWTConfig) Validate() error {
	return errors.Join(c.validateIssuers(), c.validateToken(), c.validateTimes(), c.validateHeaders())
}

func (c JWTConfig) validateIssuers() error {
	if len(c.Issuers) == 0 {
		return c.JWTIssuer.Validate()
	}
	var errs []error
	if c.Issuer != "" || len(c.Audience) > 0 || c.Secret != "" || len(c.Algorithms) > 0 || c.JWKS != (JWTKeys{}) {
		errs = append(errs, kind.At("issuers", "issuer, audience, jwks, secret and algorithms of each issuer stand here, not beside"))
	}
	seen := make(map[string]bool)
	for i, one := range c.Issuers {
		if seen[one.Issuer] {
			errs = append(errs, kind.At(fmt.Sprintf("issuers[%d].issuer", i), "%q is there already; an issuer has one set of keys", one.Issuer))
		}
		seen[one.Issuer] = true
	}
	return errors.Join(errs...)
}

// Validate checks one issuer.
func (c JWTIssuer) Validate() error {
	var errs []error
	if c.Issuer == "" {
		errs = append(errs, kind.At("", "has no issuer; write the iss of the tokens, such as https://id.example.com"))
	}
	switch {
	case len(c.Audience) == 0:
		// CVE-2026-55689
		errs = append(errs, kind.At("", "has no audience: tokens that the issuer has made for other services would be accepted; write audience: any if that is meant"))
	case len(c.Audience) > 1 && slices.Contains(c.Audience, anyAudience), slices.Contains(c.Audience, ""):
		errs = append(errs, kind.At("audience", "any stands alone, and an empty one is none"))
	}
	if c.Secret != "" && c.JWKS != (JWTKeys{}) {
		errs = append(errs, kind.At("secret", "secret and jwks exclude each other"))
	}
	known := jwks.Algorithms(c.Secret != "")
	for i, name := range c.Algorithms {
		at := fmt.Sprintf("algorithms[%d]", i)
		switch {
		case slices.Contains(known, name):
		case slices.Contains(jwks.Algorithms(true), name):
			errs = append(errs, kind.At(at, "%s needs a secret; public keys must never be used as one", name))
		default:
			errs = append(errs, kind.At(at, "%q is no algorithm that can be used here; known are %s", name, strings.Join(known, ", ")))
		}
	}
	if c.Secret == "" {
		errs = append(errs, c.JWKS.validate(c.Issuer))
	} else if err := c.validateSecret(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c JWTIssuer) validateSecret() error {
	set, err := jwks.ParseSecret(c.Secret.Reveal())
	if err != nil {
		return kind.At("secret", "%w; make one with openssl rand -hex 32", err)
	}
	for i, name := range c.Algorithms {
		if need := jwks.SecretSize(name); set.Secret() < need {
			return kind.At(fmt.Sprintf("algorithms[%d]", i), "%s needs a secret of at least %d bytes; this one has %d", name, need, set.Secret())
		}
	}
	return nil
}

func (c JWTConfig) validateToken() error {
	var errs []error
	if c.Header != "" {
		errs = append(errs, validateName("header", c.Header), readable("header", c.Header))
	}
	if c.Cookie != "" && !grammar.IsToken(c.Cookie) {
		errs = append(errs, kind.At("cookie", "%q is no name of a cookie", c.Cookie))
	}
	switch {
	case c.CookieCSRF != "" && c.Cookie == "":
		errs = append(errs, kind.At("cookie_csrf", "is of no use without a cookie"))
	case c.CookieCSRF != "" && c.CookieCSRF != csrfOrigin:
		errs = append(errs, kind.At("cookie_csrf", "%q is no protection; write origin", c.CookieCSRF))
	}
	if len(c.Types) == 0 {
		errs = append(errs, kind.At("types", "without a type only tokens without typ would pass; leave it out for JWT and at+jwt"))
	}
	if c.Subject == "" {
		errs = append(errs, kind.At("subject", "names no claim; leave it out for sub"))
	}
	if c.Cache < 0 || c.Cache > 1_000_000 {
		errs = append(errs, kind.At("cache", "is not from 0 to 1000000"))
	}
	if strings.ContainsFunc(c.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		errs = append(errs, kind.At("realm", "may have printable ASCII characters only, and neither quotes nor backslashes"))
	}
	for i, scope := range c.Scopes {
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			errs = append(errs, kind.At(fmt.Sprintf("scopes[%d]", i), "%q is no scope; list them one by one", scope))
		}
	}
	return errors.Join(errs...)
}

func (c JWTConfig) validateTimes() error {
	var errs []error
	if c.Leeway > maxLeeway {
		errs = append(errs, kind.At("leeway", "is more than %s; set the clocks instead", maxLeeway))
	}
	if c.MaxLifetime <= 0 {
		errs = append(errs, kind.At("max_lifetime", "must be more than 0"))
	}
	return errors.Join(errs...)
}

func (c JWTConfig) validateHeaders() error {
	var errs []error
	for _, name := range sortedKeys(c.Headers) {
		at := "headers." + name
		if !grammar.IsToken(name) {
			errs = append(errs, kind.At(at, "%q is no valid name", name))
			continue
		}
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Cookie", "Host", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect":
			errs = append(errs, kind.At(at, "%s cannot tell of a claim: clients need it themselves", name))
		}
		if strings.EqualFold(name, c.Header) {
			errs = append(errs, kind.At(at, "brings the token; take another one"))
		}
	}
	return errors.Join(errs...)
}
