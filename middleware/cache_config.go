package middleware

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pithead/pithead/gateway/httpcache"
	"github.com/pithead/pithead/gateway/kind"
)

// CacheConfig keeps answers in memory and gives them again, as a shared cache by the
// rules of HTTP (RFC 9111): what services say in Cache-Control, Expires and Vary counts.
// `cache` alone, with its defaults, stores nothing that a service has not said may be stored.
//
//	cache: {max_bytes: 256MiB, stale_if_error: 10m}
//
// Put it last in `use`: after what asks who is calling, because it answers whoever gets
// to it, and after a `canary`, whose arms have their answers apart. What a later
// middleware decides about the arm, the caller or the headers that go upstream is not known
// when an answer is looked for, so that answers which it has touched are not stored.
//
// GET and HEAD are answered from memory. An answer to a caller who has said who it is, by
// Authorization or in a way that the gateway has proven, is stored only if it says
// `public`, `s-maxage` or `must-revalidate`, and only such answers are given to those
// callers. Never stored are answers with `no-store`, `private`, Set-Cookie, `Vary: *`
// or trailers, parts (206), and answers to requests with a body or with headers that some services
// take a URL from, such as X-Original-URL. Answers that stand in for one URL are forgotten
// when a POST, PUT, PATCH or DELETE of it succeeds.
//
// Of several requests for an answer that is not there, one fetches it and the others
// wait for it. Answers tell in Cache-Status (RFC 9211) and Age where they come from. A named block is
// one cache for all routes that use it, though routes do not share answers; it survives reloads.
// `POST /-/cache/NAME/purge` and `pithead cache purge` take answers out.
type CacheConfig struct {
	// MaxBytes is how much is kept, 1MiB to 64GiB. A quarter of it more is for answers on their way. Default: 64MiB.
	MaxBytes kind.Size `yaml:"max_bytes"`
	// MaxObject is the largest body that is stored, at most a quarter of max_bytes. Default: 1MiB.
	MaxObject kind.Size `yaml:"max_object"`
	// TTL is how long answers are fresh that say nothing of it, unless the request has a cookie or says who the
	// caller is. `0s` does not store them. Default: 0s.
	TTL time.Duration `yaml:"ttl"`
	// Statuses are those of answers that `ttl` is for. Default: [200, 203, 204, 300, 301, 308, 404, 410].
	Statuses []int `yaml:"statuses"`
	// ForceTTL has `ttl` count in the place of max-age, s-maxage and Expires too. It is never stronger than
	// no-store, private and Set-Cookie. Default: false.
	ForceTTL bool `yaml:"force_ttl"`
	// Heuristic is the share of the time since Last-Modified for which an answer is fresh that says nothing
	// else, 0 to 1, and a day at most. Default: 0, which is no guessing.
	Heuristic float64 `yaml:"heuristic"`
	// StaleWhileRevalidate is how long a stale answer is given while it is asked for again, where
	// the answer itself does not say. Default: 0s.
	StaleWhileRevalidate time.Duration `yaml:"stale_while_revalidate"`
	// StaleIfError is how long a stale answer is given when the service fails: a status of 500 or more, no answer,
	// an open circuit breaker, no healthy endpoint; where the answer itself does not say. Default: 0s.
	StaleIfError time.Duration `yaml:"stale_if_error"`
	// StripSetCookie stores answers with Set-Cookie, but without it: only the client that they were made for gets
	// the cookie. Default: false, which does not store them.
	StripSetCookie bool `yaml:"strip_set_cookie"`
	// ClientControl heeds Cache-Control of requests: no-cache, no-store, max-age, min-fresh, max-stale and
	// only-if-cached. Without it, only `no-store` counts. Default: true.
	ClientControl bool `yaml:"client_control"`
	// Wait is how long a request waits for an answer that another one is fetching, before it asks the service
	// itself. `0s` does not wait. Default: 5s.
	Wait time.Duration `yaml:"wait"`
	// Key is what of a request an answer is stored under, beside scheme, host, path and query.
	Key CacheKeyConfig `yaml:"key"`
	// TagHeader is the field of answers with the tags, separated by spaces or commas, by which they can be purged. It is not
	// given to clients. `""` reads none. Default: Surrogate-Key.
	TagHeader string `yaml:"tag_header"`
	// CacheStatus adds a Cache-Status to answers. Default: true.
	CacheStatus bool `yaml:"cache_status"`
}

// CacheKeyConfig is what answers are stored under.
type CacheKeyConfig struct {
	// SortQuery makes the order of the parameters of the query meaningless. They go to the service sorted. Default: false.
	SortQuery bool `yaml:"sort_query"`
	// Query are the only parameters that count. Others do not go to the service either: an
	// answer that somebody's parameter has changed would be given to everybody. Default: all.
	Query []string `yaml:"query"`
	// Headers are fields of the request that services heed without saying so in Vary. Default: none.
	Headers []string `yaml:"headers"`
}

var defaultCache = CacheConfig{
	MaxBytes: 64 * kind.MiB, MaxObject: kind.MiB,
	Statuses:      []int{200, 203, 204, 300, 301, 308, 404, 410},
	ClientControl: true, Wait: 5 * time.Second, TagHeader: "Surrogate-Key", CacheStatus: true,
}

// Validate checks what does not depend on the route.
func (c CacheConfig) Validate() error {
	var errs []error
	within := func(path string, ok bool, want string, got any) {
		if !ok {
			errs = append(errs, kind.At(path, "%v is not %s", got, want))
		}
	}
	within("max_bytes", c.MaxBytes >= kind.MiB && c.MaxBytes <= 64*kind.GiB, "from 1MiB to 64GiB", c.MaxBytes)
	within("max_object", c.MaxObject >= 1 && c.MaxObject <= c.MaxBytes/4, fmt.Sprintf("from 1B to a quarter of max_bytes, %s", c.MaxBytes/4), c.MaxObject)
	within("ttl", c.TTL >= 0, "0s or more", c.TTL)
	within("heuristic", c.Heuristic >= 0 && c.Heuristic <= 1, "from 0 to 1", c.Heuristic)
	within("stale_while_revalidate", c.StaleWhileRevalidate >= 0, "0s or more", c.StaleWhileRevalidate)
	within("stale_if_error", c.StaleIfError >= 0, "0s or more", c.StaleIfError)
	within("wait", c.Wait >= 0 && c.Wait <= time.Minute, "from 0s to 1m", c.Wait)
	if c.ForceTTL && c.TTL == 0 {
		errs = append(errs, kind.At("force_ttl", "there is no ttl to force; give one"))
	}
	for i, status := range c.Statuses {
		if !httpcache.Understood(status) {
			errs = append(errs, kind.At(fmt.Sprintf("statuses[%d]", i), "answers with %d are never stored", status))
		}
	}
	for i, name := range c.Key.Query {
		if name == "" || slices.Contains(c.Key.Query[:i], name) {
			errs = append(errs, kind.At(fmt.Sprintf("key.query[%d]", i), "%q is no parameter, or is there already", name))
		}
	}
	for i, name := range c.Key.Headers {
		errs = append(errs, validateHeaderName(fmt.Sprintf("key.headers[%d]", i), name))
	}
	if c.TagHeader != "" {
		errs = append(errs, validateHeaderName("tag_header", c.TagHeader))
	}
	return errors.Join(errs...)
}

func (c CacheConfig) policy() httpcache.Policy {
	return httpcache.Policy{
		TTL: c.TTL, Force: c.ForceTTL, Statuses: c.Statuses, Heuristic: c.Heuristic,
		StaleWhileRevalidating: c.StaleWhileRevalidate, StaleWhileFailed: c.StaleIfError, StripSetCookie: c.StripSetCookie,
	}
}
