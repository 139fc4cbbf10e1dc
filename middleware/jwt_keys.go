package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

// JWTKeys says where the keys of an issuer come from.
type JWTKeys struct {
	// URL is where a JWK Set is fetched, by https; by http only from this machine. Redirects are
	// not followed. Default: what the issuer's discovery document
	// (`ISSUER/.well-known/openid-configuration`) names.
	URL string `yaml:"url"`
	// File is a file with a JWK Set, which is read again every 5 s.
	File kind.Path `yaml:"file"`
	// Inline is a JWK Set.
	Inline string `yaml:"inline"`
	// Refresh is how often the keys are fetched again, at least 1m. The server's
	// `Cache-Control: max-age` can make it sooner, not later. It is for how long a key works that
	// the issuer has withdrawn. Default: 5m.
	Refresh time.Duration `yaml:"refresh"`
	// Stale is how long the last keys are used while new ones cannot be had. Default: 24h.
	Stale time.Duration `yaml:"stale"`
	// Insecure allows plain http, by which anybody on the way can make tokens. Default: false.
	Insecure bool `yaml:"insecure"`
}

const (
	discovery   = "discovery"
	fileRefresh = 5 * time.Second
)

// UnmarshalText reads the short forms: discovery, or a URL.
func (k *JWTKeys) UnmarshalText(text []byte) error {
	if string(text) == discovery {
		*k = JWTKeys{}
		return nil
	}
	if !strings.Contains(string(text), "://") {
		return fmt.Errorf("%q is no place where keys come from; write discovery, a URL, {file: PATH} or {inline: DOCUMENT}", text)
	}
	*k = JWTKeys{URL: string(text)}
	return nil
}

// MarshalText writes the short forms. Of a document it tells that there is one.
func (k JWTKeys) MarshalText() ([]byte, error) {
	switch {
	case k.File != "":
		return []byte(k.File), nil
	case k.Inline != "":
		return []byte("inline"), nil
	case k.URL != "":
		return []byte(k.URL), nil
	}
	return []byte(discovery), nil
}

func (k JWTKeys) remote(issuer string) jwks.Remote {
	return jwks.Remote{Issuer: issuer, URL: k.URL, Insecure: k.Insecure}
}

func (k JWTKeys) validate(issuer string) error {
	sources := 0
	for _, given := range []bool{k.URL != "", k.File != "", k.Inline != ""} {
		if given {
			sources++
		}
	}
	var errs []error
	if sources > 1 {
		errs = append(errs, kind.At("jwks", "url, file and inline exclude each other"))
	}
	fetched := k.File == "" && k.Inline == ""
	switch {
	case !fetched && (k.Refresh != 0 || k.Insecure || k.Stale != 0):
		errs = append(errs, kind.At("jwks", "refresh, stale and insecure are for keys that are fetched"))
	case k.Refresh != 0 && k.Refresh < time.Minute:
		errs = append(errs, kind.At("jwks.refresh", "%s is too often; at least 1m", k.Refresh))
	case k.Stale != 0 && k.Stale < k.Refresh:
		errs = append(errs, kind.At("jwks.stale", "is less than refresh, so that keys would be missing now and then"))
	}
	if fetched && issuer != "" {
		if err := k.remote(issuer).Check(); err != nil {
			at, what := "issuer", "has its keys found by discovery, but "+issuer
			if k.URL != "" {
				at, what = "jwks", k.URL
			}
			errs = append(errs, kind.At(at, "%s %w", what, err))
		}
	}
	if k.Inline != "" {
		if _, err := jwks.ParseSet(k.Inline); err != nil {
			errs = append(errs, kind.At("jwks.inline", "%w", err))
		}
	}
	return errors.Join(errs...)
}

// jwtKeys are the keys of one issuer, which all blocks with the same settings for
// it share and reloads leave alone.
type jwtKeys struct {
	*jwks.Cache
	issuer, source string
	shown          shown
}

// keptKeys finds or makes the keys of an issuer.
func keptKeys(c JWTIssuer, at string, env Env) (*jwtKeys, error) {
	source, make := c.source(env)
	if c.JWKS.File != "" {
		answer, err := jwks.ReadFile(string(c.JWKS.File))(context.Background(), false)
		if err == nil {
			_, err = jwks.ParseSet(answer.Document)
		}
		if err != nil {
			return nil, kind.At(at+"jwks.file", "%w", err)
		}
	}
	meaning := fmt.Sprintf("%q %q %s %s %t %x", c.Issuer, source, c.JWKS.Refresh, c.JWKS.Stale, c.JWKS.Insecure,
		sha256.Sum256([]byte(c.Secret.Reveal()+c.JWKS.Inline)))
	sum := sha256.Sum256([]byte(meaning))
	return keep.Get(env.Keep, "jwks/"+hex.EncodeToString(sum[:]), func() (*jwtKeys, error) {
		cache, err := make()
		return &jwtKeys{Cache: cache, issuer: c.Issuer, source: source}, err
	})
}

// source is the name of where the keys come from, and how to make a cache of them.
func (c JWTIssuer) source(env Env) (name string, make func() (*jwks.Cache, error)) {
	fixed := func(parse func(string) (*jwks.Set, error), document string) func() (*jwks.Cache, error) {
		return func() (*jwks.Cache, error) {
			set, err := parse(document)
			if err != nil {
				return nil, err
			}
			return jwks.Fixed(set), nil
		}
	}
	log := env.Log.With("issuer", c.Issuer)
	switch k := c.JWKS; {
	case c.Secret != "":
		return "secret", fixed(jwks.ParseSecret, c.Secret.Reveal())
	case k.Inline != "":
		return "inline", fixed(jwks.ParseSet, k.Inline)
	case k.File != "":
		return string(k.File), func() (*jwks.Cache, error) {
			return jwks.NewCache(jwks.Options{Load: jwks.ReadFile(string(k.File)), Refresh: fileRefresh, Log: log}), nil
		}
	default:
		name, _ := k.MarshalText() // cannot fail
		return string(name), func() (*jwks.Cache, error) {
			return jwks.NewCache(jwks.Options{Load: k.remote(c.Issuer).Loader(), Refresh: k.Refresh, Stale: k.Stale, Log: log}), nil
		}
	}
}

// start begins to load the keys and to show them in the metrics, once.
func (k *jwtKeys) start(metrics *obs.Metrics) {
	k.shown.show(func() func() {
		k.Start()
		return metrics.WatchKeys(k.issuer, k.source, func() obs.KeysState {
			s := k.State()
			return obs.KeysState{Keys: s.Keys, Confirmed: s.Confirmed, Failures: s.Failures}
		})
	})
}

// lacking is for gateway.Step.
func (k *jwtKeys) lacking() []string {
	if _, err := k.Set(time.Now()); err != nil {
		return []string{"keys of " + k.issuer}
	}
	return nil
}

// Close ends the loading.
func (k *jwtKeys) Close() error {
	return errors.Join(k.shown.Close(), k.Cache.Close())
}
