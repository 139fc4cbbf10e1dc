package middleware

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/httpsig"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/kind"
)

// HTTPSignatureConfig lets requests pass that are signed with a known key (HTTP message
// signatures, RFC 9421), which proves who has sent them, and that what is covered has
// not been changed on the way.
//
//	http_signature:
//	  keys:
//	    - {id: shop, secret: an-example-secret-that-nobody-should-use, meta: {plan: gold}}
//
// A signature must cover the method, the target and, if there is a body, its
// `Content-Digest` (RFC 9530), which is then compared with the body before anything goes
// upstream. It must say when it was made (`created`) and with which key (`keyid`). A
// `nonce` can be used once. The key decides on the algorithm.
//
// Of several signatures one must be good; no more than three are looked at. Whoever
// brings none gets a 401 with `WWW-Authenticate: Signature`, and what must be covered. Scheme and
// host are those that the client has used, as a trusted proxy tells them. Without a `store`, nonces are remembered
// by each process for itself, in memory; they outlive a reload but not a restart.
type HTTPSignatureConfig struct {
	// Keys are listed here, beside those of the file. Default: none.
	Keys []HTTPSignatureKey `yaml:"keys"`
	// File has one key in each line, as JSON with the settings of `keys`, as in
	// `{"id": "robot", "public": "-----BEGIN PUBLIC KEY-----\n..."}`; lines that begin with # are
	// comments. The configuration is reloaded when it changes, and one with a mistake is
	// refused. At most 8MiB. Default: none.
	File kind.Path `yaml:"file"`
	// Components must all be covered. In the place of `@target-uri` a signature may cover
	// `@authority`, `@path` and, if there is one, `@query`. Names of header fields are in lower case;
	// `content-digest` is required of requests with a body. Without it the body is not
	// protected. Default: [@method, @target-uri, content-digest].
	Components []string `yaml:"components"`
	// Label is the name of the signature to look at. Default: any.
	Label string `yaml:"label"`
	// Tag is what the signature must say that it is for. Default: anything.
	Tag string `yaml:"tag"`
	// MaxAge is how old a signature may be. Default: 5m.
	MaxAge time.Duration `yaml:"max_age"`
	// Leeway is how far the clocks of client and gateway may be apart, at most 5m. Default: 30s.
	Leeway time.Duration `yaml:"leeway"`
	// RequireNonce refuses signatures without a nonce, which can be sent again for as long as
	// `max_age` allows. Default: false.
	RequireNonce bool `yaml:"require_nonce"`
	// Nonces is how many nonces of each key are remembered within `max_age` and twice the leeway. A key
	// that uses more gets 429 until time has passed. Default: 100000.
	Nonces int `yaml:"nonces"`
	// Store is where several gateways keep the nonces that were used, by a hash; a request with a nonce then takes a question to
	// it. They need the same `max_age`, `leeway` and `nonces`. Default: none, each keeps its own.
	Store *NonceStore `yaml:"store"`
	// OnStoreError says what becomes of requests with a nonce while the store does not answer: `closed` answers 503, `local`
	// lets those pass whose nonce was not used at this gateway. Default: closed.
	OnStoreError string `yaml:"on_store_error"`
	// MaxBody bounds the bodies of signed requests, which are held in memory until their digest has
	// been compared; more is a 413. Default: 1MiB.
	MaxBody kind.Size `yaml:"max_body"`
	// Headers tell the upstream about the key: `id`, `subject`, or an entry of `meta`,
	// under the name of a header. Nobody else can set these headers, on any route; a
	// key without the entry has none. Default: none.
	Headers map[string]string `yaml:"headers"`
	// Realm is what the challenge of a 401 calls the protected space. Default: pithead.
	Realm string `yaml:"realm"`
	// Forward passes Signature and Signature-Input on to the upstream. Default: false.
	Forward bool `yaml:"forward"`
}

// NonceStore is where gateways keep used nonces together.
type NonceStore struct {
	// Redis has them. Required.
	Redis *RedisConfig `yaml:"redis,required"`
}

// HTTPSignatureKey is a key that may sign. It has either a secret or a public key.
type HTTPSignatureKey struct {
	// ID is the `keyid` of its signatures. Required.
	ID string `yaml:"id,required" json:"id"`
	// Secret is shared with the one who signs: at least 32 bytes, as they are or behind `base64:`.
	Secret gateway.Secret `yaml:"secret" json:"secret"`
	// Public is the public key: PEM, or a JWK.
	Public string `yaml:"public" json:"public"`
	// Algorithm is hmac-sha256, ed25519, ecdsa-p256-sha256, ecdsa-p384-sha384, rsa-pss-sha512 or
	// rsa-v1_5-sha256. Default: the one that goes with the key; for RSA rsa-pss-sha512.
	Algorithm string `yaml:"algorithm" json:"algorithm"`
	// Subject is who the key proves to be calling. Several keys may have the same, so
	// that one can take the place of another. Default: the id.
	Subject string `yaml:"subject" json:"subject"`
	// Meta are facts about the key: claims for `authorize`, and values for `headers`. Default: none.
	Meta map[string]string `yaml:"meta" json:"meta"`
}

// Files implements kind.Filer.
func (c HTTPSignatureConfig) Files() []string {
	if c.Store == nil {
		return filesOf(c.File)
	}
	return append(filesOf(c.File), c.Store.Redis.files()...)
}

// Validate checks everything but the file.
func (c HTTPSignatureConfig) Validate() error {
	var errs []error
	if len(c.Keys) == 0 && c.File == "" {
		errs = append(errs, kind.At("", "knows no key; list some under keys, or name a file"))
	}
	switch {
	case c.MaxAge < time.Second:
		errs = append(errs, kind.At("max_age", "must be at least 1s"))
	case c.Leeway > maxLeeway:
		errs = append(errs, kind.At("leeway", "%s is more than %s; set the clocks", c.Leeway, maxLeeway))
	}
	if c.Nonces < 1 || c.Nonces > 10_000_000 {
		errs = append(errs, kind.At("nonces", "want 1 to 10000000"))
	}
	if c.MaxBody < 1 || c.MaxBody > 1*kind.GiB {
		errs = append(errs, kind.At("max_body", "want 1B to 1GiB"))
	}
	for _, name := range sortedKeys(c.Headers) {
		errs = append(errs, validateHeaderName("headers."+name, name))
		if c.Headers[name] == "" {
			errs = append(errs, kind.At("headers."+name, "wants id, subject, or the name of an entry of meta"))
		}
	}
	if !isVisible(c.Tag) {
		errs = append(errs, kind.At("tag", "%q cannot stand in a header; write printable ASCII", c.Tag))
	}
	return errors.Join(append(errs, c.validateComponents(), validateRealm(c.Realm), validateStore(c.Store != nil, c.OnStoreError))...)
}

// derived are the components of a request that are no fields and can be required.
var derived = []string{"@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query"}

func (c HTTPSignatureConfig) validateComponents() error {
	var errs []error
	if len(c.Components) == 0 {
		errs = append(errs, kind.At("components", "names nothing that must be covered, so that a signature would fit every request"))
	}
	for i, name := range c.Components {
		at := fmt.Sprintf("components[%d]", i)
		switch {
		case slices.Contains(c.Components[:i], name):
			errs = append(errs, kind.At(at, "%s stands here a second time", name))
		case strings.HasPrefix(name, "@") && !slices.Contains(derived, name):
			errs = append(errs, kind.At(at, "%q is no component of all requests; known are %s, and header fields", name, strings.Join(derived, ", ")))
		case strings.HasPrefix(name, "@"):
		case name != strings.ToLower(name):
			errs = append(errs, kind.At(at, "write it in lower case: %s", strings.ToLower(name)))
		case !grammar.IsToken(name):
			errs = append(errs, validateName(at, name))
		default:
			errs = append(errs, readable(at, name))
		}
	}
	return errors.Join(errs...)
}

// Validate checks one key.
func (k HTTPSignatureKey) Validate() error {
	errs := []error{validateAccount(k.ID, k.Subject, k.Meta)}
	if k.Algorithm != "" && !slices.Contains(httpsig.Algorithms(), k.Algorithm) {
		errs = append(errs, kind.At("algorithm", "%q is no algorithm; known are %s", k.Algorithm, strings.Join(httpsig.Algorithms(), ", ")))
	} else if _, err := k.key(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// key makes the key. Its errors do not repeat what it holds.
func (k HTTPSignatureKey) key() (*httpsig.Key, error) {
	switch {
	case (k.Secret == "") == (k.Public == ""):
		return nil, kind.At("", "needs either a secret or a public key")
	case k.Secret != "":
		return k.secretKey()
	}
	public, algorithm, at := any(nil), k.Algorithm, "public"
	var err error
	if strings.HasPrefix(strings.TrimSpace(k.Public), "{") {
		var said string
		if public, said, err = jwks.ParsePublic(k.Public); err == nil && said != "" {
			algorithm, err = signatureAlgorithm(said, k.Algorithm)
		}
	} else {
		public, err = httpsig.ParsePEM(k.Public)
	}
	if err != nil {
		return nil, kind.At(at, "%w", err)
	}
	if k.Algorithm != "" {
		at = "algorithm"
	}
	key, err := httpsig.PublicKey(public, algorithm)
	if err != nil {
		return nil, kind.At(at, "the key %w", err)
	}
	return key, nil
}

func (k HTTPSignatureKey) secretKey() (*httpsig.Key, error) {
	if k.Algorithm != "" && k.Algorithm != httpsig.HMACSHA256 {
		return nil, kind.At("algorithm", "%s needs a public key; a secret is for %s", k.Algorithm, httpsig.HMACSHA256)
	}
	secret := []byte(k.Secret.Reveal())
	if encoded, ok := strings.CutPrefix(k.Secret.Reveal(), "base64:"); ok {
		var err error
		if secret, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, kind.At("secret", "is no base64, with = at its end where it needs it")
		}
	}
	key, err := httpsig.SecretKey(secret)
	if err != nil {
		return nil, kind.At("secret", "%w; make one with openssl rand -hex 32", err)
	}
	return key, nil
}

// signatureAlgorithm is what a JWK calls its algorithm in the words of RFC 9421.
func signatureAlgorithm(jose, wanted string) (string, error) {
	names := map[string]string{
		"EdDSA": httpsig.Ed25519, "Ed25519": httpsig.Ed25519, "ES256": httpsig.ECDSAP256SHA256, "ES384": httpsig.ECDSAP384SHA384,
		"PS512": httpsig.RSAPSSSHA512, "RS256": httpsig.RSAV15SHA256,
	}
	name := names[jose]
	if name == "" || wanted != "" && wanted != name {
		return "", fmt.Errorf("the key is for the algorithm %.16s and no other", jose)
	}
	return name, nil
}

func (k HTTPSignatureKey) subject() string {
	if k.Subject != "" {
		return k.Subject
	}
	return k.ID
}

// parseSignatureKey reads a line of a file.
func parseSignatureKey(line []byte) (HTTPSignatureKey, error) {
	var k HTTPSignatureKey
	if err := parseAccount(line, &k); err != nil {
		return k, err
	}
	return k, oneLine(k.Validate())
}
