package middleware

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/limiter/shared"
)

// RateLimitConfig lets each key make so many requests in a time, and answers those
// beyond with 429 and the time to wait, at once. Each key has a bucket of `burst` tokens,
// which fills at `rate`; a request takes some. In any time there are no more
// requests than the burst and what the rate brings.
//
//	rate_limit: {rate: 100/s, burst: 200, key: client}
//
// Several gateways keep one limit together if they have a `store`; without, each
// counts for itself.
//
// All routes that use a named block share its buckets. They survive a reload; if the
// limits change, keys stay used to the same share of those that keep their name.
type RateLimitConfig struct {
	// Rate is how many tokens come back in a second, minute, hour or day: `100/s`, `10/m`,
	// `1000/h`, `5000/d`. They come back evenly, a day's not at midnight. At most 1000000/s.
	// This or `limits` is required.
	Rate Rate `yaml:"rate"`
	// Burst is how many tokens a full bucket has. Default: the number in the rate.
	Burst int64 `yaml:"burst"`
	// Limits are up to four limits, all of which a request must pass. One that does not
	// takes no token from any. Default: the one of `rate` and `burst`.
	Limits []RateLimit `yaml:"limits"`
	// Key is what has a bucket: `client`, `subject`, `route`, `host`, `header:NAME`,
	// `cookie:NAME`, `query:NAME`, `claim:NAME`, a list of these for their combinations, or `all` for one
	// bucket. `subject` is the caller that a middleware before this one has proven, and `claim:org.tenant`
	// what its proof says besides; they are the only words for people or applications that these cannot change at will. Of headers, cookies and
	// parameters, capitals and spaces do not count. Default: client.
	Key []RateLimitKey `yaml:"key,one"`
	// OnMissing says what becomes of requests that lack a part of the key, or have
	// two values for it, or one beyond ASCII: `client` puts the client's address in its place, `reject`
	// answers 400, `skip` lets them pass without a limit. Default: client.
	OnMissing string `yaml:"on_missing"`
	// IPv4Prefix is how many bits of an IPv4 address are one client. Default: 32.
	IPv4Prefix int `yaml:"ipv4_prefix"`
	// IPv6Prefix is how many bits of an IPv6 address are one client. One host usually has
	// 64 bits to choose from. Default: 64.
	IPv6Prefix int `yaml:"ipv6_prefix"`
	// Cost is how many tokens a request takes, at most the burst. Default: 1.
	Cost int64 `yaml:"cost"`
	// CostHeader is a response header in which the upstream says what the request has cost, as a whole
	// number. What is more than `cost` is taken then, though the bucket may be empty:
	// the key is in debt until it is paid. A lower number brings nothing back. Default: none.
	CostHeader string `yaml:"cost_header"`
	// MaxDebt is how many tokens a key can be in debt. Needs a cost_header. Default: the burst.
	MaxDebt int64 `yaml:"max_debt"`
	// DryRun lets requests pass that the limits would refuse, and only counts them, as
	// `result="dry_run"` in `pithead_rate_limited_total`. Default: false.
	DryRun bool `yaml:"dry_run"`
	// Headers of answers that tell of the limits: `standard` is RateLimit-Policy and RateLimit
	// (draft-ietf-httpapi-ratelimit-headers), `legacy` X-RateLimit-Limit, X-RateLimit-Remaining and
	// X-RateLimit-Reset in seconds, of the limit that is nearest to its end; or `both`, or `none`. 429 has
	// Retry-After in any case. Default: standard.
	Headers string `yaml:"headers"`
	// Announce has these headers in the answers of requests that pass, too. Default: false.
	Announce bool `yaml:"announce"`
	// MaxKeys is how many keys have a bucket of their own at the same time, 7 to 10000000, at 9 bytes
	// and 9 more for each limit. A key whose bucket is full needs none. When there are more, new ones
	// take over the fullest buckets; where all are more than half used, they share one with others,
	// and `pithead_rate_limit_crowded_total` counts. Default: 100000.
	MaxKeys int `yaml:"max_keys"`
	// Store is where gateways keep the limits together. Default: none, each keeps its own.
	Store *RateLimitStore `yaml:"store"`
	// OnStoreError says what becomes of requests while the store does not answer: `local` keeps the share of
	// one gateway in this one, `open` lets all of them pass, `closed` answers 429. Default: local.
	OnStoreError string `yaml:"on_store_error"`
}

// RateLimit is one of several limits.
type RateLimit struct {
	// Name is how metrics, headers and answers call it: lower-case letters, digits, `-` and `_`.
	// Default: per-second, per-minute, per-hour or per-day, by its rate.
	Name string `yaml:"name"`
	// Rate is how many tokens come back in a time, as `100/s`. Required.
	Rate Rate `yaml:"rate"`
	// Burst is how many tokens a full bucket has. Default: the number in the rate.
	Burst int64 `yaml:"burst"`
}

// Rate is a number in a second, minute, hour or day.
type Rate struct {
	Count int64
	Per   time.Duration // 0 is no rate
}

var ratePeriods = []struct {
	letter, name string
	per          time.Duration
}{{"s", "per-second", time.Second}, {"m", "per-minute", time.Minute}, {"h", "per-hour", time.Hour}, {"d", "per-day", 24 * time.Hour}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(text []byte) error {
	number, letter, _ := strings.Cut(string(text), "/")
	for _, p := range ratePeriods {
		if n, err := strconv.ParseInt(number, 10, 64); p.letter == letter && err == nil && n > 0 {
			*r = Rate{n, p.per}
			return nil
		}
	}
	return fmt.Errorf("%q is no rate; write for example 100/s, 10/m, 1000/h or 5000/d", text)
}

// MarshalText implements encoding.TextMarshaler.
func (r Rate) MarshalText() ([]byte, error) {
	for _, p := range ratePeriods {
		if p.per == r.Per {
			return []byte(strconv.FormatInt(r.Count, 10) + "/" + p.letter), nil
		}
	}
	return nil, nil
}

func (r Rate) name() string {
	for _, p := range ratePeriods {
		if p.per == r.Per {
			return p.name
		}
	}
	return ""
}

// limits are what the settings come to.
func (c RateLimitConfig) limits() (all []limiter.Limit) {
	given := c.Limits
	if len(given) == 0 {
		given = []RateLimit{{Rate: c.Rate, Burst: c.Burst}}
	}
	for _, l := range given {
		one := limiter.Limit{Name: l.Name, Count: l.Rate.Count, Per: l.Rate.Per, Burst: l.Burst}
		if one.Name == "" {
			one.Name = l.Rate.name()
		}
		if one.Burst == 0 {
			one.Burst = one.Count
		}
		if one.Debt = c.MaxDebt; one.Debt == 0 && c.CostHeader != "" {
			one.Debt = one.Burst
		}
		all = append(all, one)
	}
	return all
}

// Validate implements the check of settings.
func (c RateLimitConfig) Validate() error {
	errs := []error{c.validateBursts(), c.validateLimits(), c.validateKey(), c.validateCost(), c.validateLease()}
	one := func(path, value string, of ...string) {
		if !slices.Contains(of, value) {
			errs = append(errs, kind.At(path, "%q is none of %s", value, strings.Join(of, ", ")))
		}
	}
	one("on_missing", c.OnMissing, keyClient, missingReject, missingSkip)
	one("on_store_error", c.OnStoreError, shared.OnErrorLocal, shared.OnErrorOpen, shared.OnErrorClosed)
	if c.Store == nil && c.OnStoreError != shared.OnErrorLocal {
		errs = append(errs, kind.At("on_store_error", "is of no use without a store"))
	}
	one("headers", c.Headers, headersStandard, headersLegacy, headersBoth, headersNone)
	within := func(path string, n, low, high int) {
		if n < low || n > high {
			errs = append(errs, kind.At(path, "must be from %d to %d", low, high))
		}
	}
	within("ipv4_prefix", c.IPv4Prefix, 1, 32)
	within("ipv6_prefix", c.IPv6Prefix, 1, 128)
	within("max_keys", c.MaxKeys, 7, 10_000_000)
	if c.Announce && c.Headers == headersNone {
		errs = append(errs, kind.At("announce", "is of no use without headers"))
	}
	if c.Announce && c.DryRun {
		errs = append(errs, kind.At("announce", "a dry run does not announce limits that it does not keep"))
	}
	return errors.Join(errs...)
}

// validateBursts refuses what is wrong whatever the rates are.
func (c RateLimitConfig) validateBursts() error {
	var errs []error
	if c.Burst < 0 {
		errs = append(errs, kind.At("burst", "a burst is at least 1"))
	}
	for i, l := range c.Limits {
		if l.Burst < 0 {
			errs = append(errs, kind.At(fmt.Sprintf("limits[%d].burst", i), "a burst is at least 1"))
		}
	}
	return errors.Join(errs...)
}

func (c RateLimitConfig) validateLimits() error {
	single := c.Rate.Per != 0 || c.Burst != 0
	switch {
	case single && len(c.Limits) > 0:
		return kind.At("limits", "give either limits or rate and burst")
	case len(c.Limits) > limiter.MaxLimits:
		return kind.At("limits", "at most %d", limiter.MaxLimits)
	case c.Rate.Per == 0 && len(c.Limits) == 0:
		return kind.At("", "has no limit; give a rate, for example 100/s")
	}
	var errs []error
	seen := make(map[string]bool)
	for i, l := range c.limits() {
		at := ""
		if len(c.Limits) > 0 {
			at = fmt.Sprintf("limits[%d].", i)
		}
		if l.Per == 0 {
			errs = append(errs, kind.At(strings.TrimSuffix(at, "."), "has no rate; give one, for example 100/s"))
			continue
		}
		if err := checkLimit(l, at); err != nil {
			errs = append(errs, err)
			continue
		}
		switch {
		case !isLimitName(l.Name):
			errs = append(errs, kind.At(at+"name", "%q is no name; it has lower-case letters, digits, - and _", l.Name))
		case seen[l.Name]:
			errs = append(errs, kind.At(strings.TrimSuffix(at, "."), "a second limit is called %s; give it another name", l.Name))
		}
		seen[l.Name] = true
		if c.Cost > l.Burst {
			errs = append(errs, kind.At("cost", "is more than the burst of %s, so that no request could pass", l.Name))
		}
	}
	return errors.Join(errs...)
}

// checkLimit finds out which of its numbers is wrong with a limit.
func checkLimit(l limiter.Limit, at string) error {
	rate, burst := l, l
	rate.Burst, rate.Debt, burst.Debt = 1, 0, 0
	if err := rate.Check(); err != nil {
		return kind.At(at+"rate", "%w", err)
	}
	if err := burst.Check(); err != nil {
		return kind.At(at+"burst", "%w", err)
	}
	if err := l.Check(); err != nil {
		return kind.At("max_debt", "%w", err)
	}
	return nil
}

// isLimitName keeps names to what needs no quoting in metrics and headers.
func isLimitName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

func (c RateLimitConfig) validateKey() error {
	if len(c.Key) == 0 {
		return kind.At("key", "is empty; write all for one bucket")
	}
	var errs []error
	for i, k := range c.Key {
		at := fmt.Sprintf("key[%d]", i)
		if slices.Contains(c.Key[:i], k) {
			errs = append(errs, kind.At(at, "%s is there twice", k))
		}
		if k.word == keyAll && len(c.Key) > 1 {
			errs = append(errs, kind.At(at, "all is one bucket, beside which other words mean nothing"))
		}
	}
	return errors.Join(errs...)
}

func (c RateLimitConfig) validateCost() error {
	var errs []error
	if c.Cost < 1 {
		errs = append(errs, kind.At("cost", "must be at least 1"))
	}
	if c.CostHeader != "" {
		errs = append(errs, validateName("cost_header", c.CostHeader))
	}
	if c.MaxDebt > 0 && c.CostHeader == "" {
		errs = append(errs, kind.At("max_debt", "is of no use without a cost_header"))
	}
	return errors.Join(errs...)
}
