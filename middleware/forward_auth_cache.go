package middleware

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// ForwardAuthCache remembers answers of the service for a while. Two requests have the same
// answer if they are alike in all of `request_headers` and in all of `by`. Remembered is what
// lets pass, and 401 and 403, apart from each other; never an answer with Set-Cookie, with
// `Vary: *`, or whose Cache-Control says no-store, no-cache or private.
type ForwardAuthCache struct {
	// TTL is how long an answer holds that does not say so by `max-age` or `s-maxage` of its
	// Cache-Control, at most 10m as with those: somebody who is locked out may get in for so long. 0s
	// remembers no others. Default: 0s.
	TTL time.Duration `yaml:"ttl"`
	// By is what else of a request the answer depends on: `client` (its address), `scheme`, `method`,
	// `host`, `path` and `query`. Leave out only what the service does not look at. Default: all of them.
	By []string `yaml:"by"`
	// Size is the number of answers of each kind, at most 1000000. Default: 10000.
	Size int `yaml:"size"`
}

const maxAuthCacheBytes = 32 << 20 // of each kind

var authFacts = []string{"client", "scheme", "method", "host", "path", "query"}

// SetDefaults sets the values that the comments of the fields name.
func (c *ForwardAuthCache) SetDefaults() { c.By, c.Size = authFacts, 10_000 }

// Validate checks the bounds.
func (c *ForwardAuthCache) Validate() error {
	var errs []error
	if c.TTL < 0 || c.TTL > maxCacheTTL {
		errs = append(errs, kind.At("ttl", "is not from 0s to %s: who is locked out would get in for so long", maxCacheTTL))
	}
	if c.Size < 1 || c.Size > 1_000_000 {
		errs = append(errs, kind.At("size", "is not from 1 to 1000000"))
	}
	for i, fact := range c.By {
		if !slices.Contains(authFacts, fact) {
			errs = append(errs, kind.At(fmt.Sprintf("by[%d]", i), "%q is not known; write %s", fact, strings.Join(authFacts, ", ")))
		}
	}
	return errors.Join(errs...)
}

// authAnswers are the answers that a block remembers.
type authAnswers struct {
	rememberedVerdicts[*authVerdict]
}

func newAuthAnswers(size int) *authAnswers {
	return &authAnswers{newRememberedVerdicts[*authVerdict](size, maxAuthCacheBytes)}
}

func (a *authAnswers) put(key string, v *authVerdict, until, now time.Time) {
	size := len(v.body)
	for name, values := range v.header {
		size += len(name) + 64
		for _, value := range values {
			size += len(value) + 16
		}
	}
	a.remember(v.passes(), key, v, size, until, now)
}

// cacheKey is all of a request that an answer may depend on. Each part has its length before it,
// so that no two requests can be written alike (CVE-2026-71326).
func (m *forwardAuth) cacheKey(r *http.Request, x *gateway.Exchange) string {
	original := r
	if x.Request != nil {
		original = x.Request
	}
	var space [512]byte
	key := space[:0]
	part := func(text string) {
		key = binary.AppendUvarint(key, uint64(len(text)))
		key = append(key, text...)
	}
	for _, name := range m.asked {
		values := r.Header[name]
		key = binary.AppendUvarint(key, uint64(len(values)))
		for _, value := range values {
			part(value)
		}
	}
	for _, fact := range m.Cache.By {
		switch fact {
		case "client":
			client := x.Client.As16()
			key = append(key, client[:]...)
		case "scheme":
			part(x.Scheme)
		case "method":
			part(original.Method)
		case "host":
			part(original.Host)
		case "path":
			part(original.URL.EscapedPath())
		case "query":
			part(original.URL.RawQuery)
		}
	}
	return string(key)
}

// remembered is how long an answer may be remembered; 0 is not at all.
func (m *forwardAuth) remembered(v *authVerdict) time.Duration {
	if !v.passes() && v.status != http.StatusUnauthorized && v.status != http.StatusForbidden {
		return 0 // such as a redirect to a login that has a state of its own
	}
	if len(v.header["Set-Cookie"]) > 0 || slices.Contains(v.header["Vary"], "*") {
		return 0
	}
	ttl, shared := m.Cache.TTL, false
	for directive := range strings.SplitSeq(strings.Join(v.header["Cache-Control"], ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache", "private":
			return 0
		case "max-age", "s-maxage":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0
			}
			if name == "s-maxage" || !shared {
				ttl, shared = time.Duration(seconds)*time.Second, name == "s-maxage"
			}
		}
	}
	return min(ttl, maxCacheTTL)
}
