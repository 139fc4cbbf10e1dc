package middleware

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "oauth2_introspection", OAuth2IntrospectionConfig{
		Client: OAuth2Client{Auth: authBasic}, Forward: true, Subject: "sub", Realm: "pithead",
		Timeout: 2 * time.Second, MaxInFlight: 100,
		Cache: OAuth2Cache{Size: 100_000, TTL: time.Minute, Negative: 5 * time.Second},
	}, newIntrospection)
}

// OAuth2IntrospectionConfig lets requests pass that bring a token which an
// authorization server says is active (RFC 7662), and proves by its answer who the
// caller is. It is for tokens that say nothing themselves, and for those that can be
// withdrawn. Whoever has no good token gets 401, whose token does not say enough
// 403, both with the challenge of RFC 6750.
//
//	oauth2_introspection:
//	  endpoint: https://id.example.com/introspect
//	  client: {id: pithead, secret: "a secret of this client"}
//	  audience: orders
//
// The token comes as `Authorization: Bearer`. When the server cannot be asked (it is
// too slow, answers an error or nonsense, or redirects) nobody passes: 503 with
// Retry-After. After half of at least 10 questions within 10 s, or 5 in a row, have
// failed, it is left alone for 5 s; then a few questions tell whether it is back.
// Requests with the same token wait for one answer. Blocks with the same endpoint
// and client share this, and reloads leave it alone.
//
// `active` must be `true`, and nothing that only looks like it. `exp` and `nbf` hold if
// they are there. Tokens with a `token_type` other than Bearer and refresh tokens are refused.
type OAuth2IntrospectionConfig struct {
	// Endpoint is the URL that is asked, by https; by http only on this machine.
	// Redirects are not followed. Required.
	Endpoint string `yaml:"endpoint,required"`
	// Client is how the gateway proves to the server that it may ask.
	Client OAuth2Client `yaml:"client"`
	// Insecure allows plain http, by which anybody on the way learns the tokens and can
	// make any of them good. Default: false.
	Insecure bool `yaml:"insecure"`

	// Audience are those of whom the `aud` of the answer must name one, or `any`, which
	// takes tokens that were made for others. Required.
	Audience []string `yaml:"audience,one"`
	// Issuer is what the `iss` of the answer must be. Default: anything.
	Issuer string `yaml:"issuer"`
	// Scopes must all be in the `scope` of the answer. Default: none.
	Scopes []string `yaml:"scopes"`
	// Claims are further demands on members of the answer. All must be met. Default: none.
	Claims []JWTClaim `yaml:"claims"`
	// Subject is the member that says who the caller is, for limits, sticky splits and the
	// log, such as `client_id`. The answer must have it. A dot leads into an object. Default: sub.
	Subject string `yaml:"subject"`
	// Headers are request headers that tell the upstream of members of the answer, by name. An
	// answer without the member has the header absent. What clients send under these names,
	// or aliases of them, is dropped or refused, on all routes. Default: none.
	Headers map[string]JWTHeader `yaml:"headers"`

	// Optional lets requests without a token pass, as those of nobody. A bad token is refused
	// all the same. Default: false.
	Optional bool `yaml:"optional"`
	// Forward leaves the token in the request that goes upstream. Default: true.
	Forward bool `yaml:"forward"`
	// Realm is what the challenge calls the protected space. Default: pithead.
	Realm string `yaml:"realm"`

	// Cache is for how long answers are believed.
	Cache OAuth2Cache `yaml:"cache"`
	// Timeout is how long an answer may take, from connecting to its last byte. Default: 2s.
	Timeout time.Duration `yaml:"timeout"`
	// MaxInFlight is how many questions there may be at a time. Further ones wait, for half of
	// the timeout. Default: 100.
	MaxInFlight int `yaml:"max_in_flight"`
}

// OAuth2Client is the gateway in the eyes of the authorization server.
type OAuth2Client struct {
	// ID is the client_id. Required.
	ID string `yaml:"id,required"`
	// Secret is the client_secret, for `basic` and `post`: `${file:/run/secrets/introspection}`.
	Secret gateway.Secret `yaml:"secret"`
	// Auth is how the client proves itself: `basic` (RFC 6749, 2.3.1), `post`, which has the secret in
	// the body, or `private_key_jwt` (RFC 7523), which signs instead. Default: basic.
	Auth string `yaml:"auth"`
	// Key is the private key of `private_key_jwt`.
	Key OAuth2Key `yaml:"key"`
}

// OAuth2Key signs for a client.
type OAuth2Key struct {
	// File is a PEM file with a private key: RSA of at least 2048 bits, ECDSA or Ed25519. The configuration is
	// loaded again when it changes.
	File kind.Path `yaml:"file"`
	// Algorithm is RS256, PS256, ES256, ES384 or EdDSA. Default: what suits the key, RS256 for RSA.
	Algorithm string `yaml:"alg"`
	// ID is the `kid` that tells the server which key it is. Default: none.
	ID string `yaml:"kid"`
	// Audience is for whom the client signs. Default: the endpoint.
	Audience string `yaml:"audience"`
}

// OAuth2Cache bounds what is remembered of answers.
type OAuth2Cache struct {
	// Size is how many tokens that pass are remembered, within 64 MiB, and how many that do not; so that a flood of
	// bad tokens drives out no good one. `0` asks each time. Default: 100000.
	Size int `yaml:"size"`
	// TTL is how long a token that passes is remembered, and never beyond its `exp`. A token that
	// is withdrawn works for this long. Default: 60s.
	TTL time.Duration `yaml:"ttl"`
	// Negative is how long a token that does not pass is remembered; `0s` is not at all. Default: 5s.
	Negative time.Duration `yaml:"negative"`
}

const (
	authBasic   = "basic"
	authPost    = "post"
	authKey     = "private_key_jwt"
	maxCacheTTL = 10 * time.Minute
)

// Validate checks everything but the key.
func (c OAuth2IntrospectionConfig) Validate() error {
	var errs []error
	if err := (jwks.Remote{URL: c.Endpoint, Insecure: true}).Check(); err != nil {
		errs = append(errs, kind.At("endpoint", "%s %w", c.Endpoint, err))
	} else if (jwks.Remote{URL: c.Endpoint, Insecure: c.Insecure}).Check() != nil {
		errs = append(errs, kind.At("endpoint", "%s is not https: whoever can change its answer can make any token good; `insecure: true` accepts that", c.Endpoint))
	}
	switch {
	case len(c.Audience) == 0:
		// CVE-2026-55689
		errs = append(errs, kind.At("", "has no audience: tokens that were made for other services would be accepted; write audience: any if that is meant"))
	case len(c.Audience) > 1 && slices.Contains(c.Audience, anyAudience), slices.Contains(c.Audience, ""):
		errs = append(errs, kind.At("audience", "any stands alone, and an empty one is none"))
	}
	if c.Subject == "" {
		errs = append(errs, kind.At("subject", "names no member; leave it out for sub"))
	}
	if c.Timeout <= 0 || c.Timeout > 30*time.Second {
		errs = append(errs, kind.At("timeout", "is not more than 0 and at most 30s"))
	}
	if c.MaxInFlight < 1 {
		errs = append(errs, kind.At("max_in_flight", "must be at least 1"))
	}
	// Scopes, realm and headers have the rules that they have for jwt.
	same := JWTConfig{Scopes: c.Scopes, Realm: c.Realm, Headers: c.Headers, Subject: "sub", Types: []string{"JWT"}}
	return errors.Join(append(errs, same.validateToken(), same.validateHeaders())...)
}

// Files is the key, for kind.Filer.
func (c OAuth2IntrospectionConfig) Files() []string {
	if c.Client.Key.File == "" {
		return nil
	}
	return []string{string(c.Client.Key.File)}
}

// Validate checks that there is what the way of proving needs, and nothing else.
func (c OAuth2Client) Validate() error {
	signing := c.Auth == authKey
	switch {
	case c.Auth != authBasic && c.Auth != authPost && !signing:
		return kind.At("auth", "%q is not known; write basic, post or private_key_jwt", c.Auth)
	case signing && c.Key.File == "":
		return kind.At("key", "private_key_jwt needs one: {file: PATH}")
	case signing && c.Secret != "":
		return kind.At("secret", "private_key_jwt has a key in its place")
	case !signing && c.Key != (OAuth2Key{}):
		return kind.At("key", "is for auth: private_key_jwt")
	case !signing && c.Secret == "":
		return kind.At("", "has no secret; write secret: ${file:PATH}")
	}
	return nil
}

// Validate checks the algorithm.
func (k OAuth2Key) Validate() error {
	if k.Algorithm != "" && !slices.Contains(signingAlgorithms, k.Algorithm) {
		return kind.At("alg", "%q is not known; write %s", k.Algorithm, strings.Join(signingAlgorithms, ", "))
	}
	return nil
}

// Validate checks the bounds.
func (c OAuth2Cache) Validate() error {
	var errs []error
	if c.Size < 0 || c.Size > 1_000_000 {
		errs = append(errs, kind.At("size", "is not from 0 to 1000000"))
	}
	for name, d := range map[string]time.Duration{"ttl": c.TTL, "negative": c.Negative} {
		if d < 0 || d > maxCacheTTL {
			errs = append(errs, kind.At(name, "is not from 0s to %s: what has been withdrawn would work for so long", maxCacheTTL))
		}
	}
	return errors.Join(errs...)
}

// meaning is the same for blocks that take the same tokens for the same thing, and
// for no others (CVE-2026-33496). provider is that of introspectorKey.
func (c OAuth2IntrospectionConfig) meaning(provider string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q %q %q %q %d %s %s", provider, c.Audience, c.Issuer, c.Scopes, c.Claims, c.Subject, c.Cache.Size, c.Cache.TTL, c.Cache.Negative)
	fmt.Fprintf(&b, " %q", c.Realm)
	for _, name := range sortedKeys(c.Headers) {
		fmt.Fprintf(&b, " %q %q %q", name, c.Headers[name].Claim, c.Headers[name].As)
	}
	return b.String()
}
