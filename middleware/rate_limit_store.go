package middleware

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
)

// RateLimitStore is where several gateways keep the buckets of a block together. They find each
// other's buckets by the name of the block, or by the route and the place in `use` of one without.
type RateLimitStore struct {
	// Redis has the buckets. Required.
	Redis *RedisConfig `yaml:"redis,required"`
	// Lease is how much of the burst a gateway may take at once for one caller, up to 50%. Requests then pass without a
	// question to Redis until that is used up, or a second is over; it takes only as much as the caller
	// has lately used, and gives back what is left. Limits hold as they do without; but what all gateways have
	// leased may be used in a moment in which it would not have been given. Default: 0%, a question for each request.
	Lease Percent `yaml:"lease"`
	// Replicas is how many gateways share the limits: each keeps that part of them by itself while Redis is away
	// and `on_store_error` is `local`. Default: as many as Redis has seen within 10 s when it was last there.
	Replicas int `yaml:"replicas"`
}

// Percent is a whole part of a hundred, as `10%`.
type Percent int

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Percent) UnmarshalText(text []byte) error {
	number, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n > 100 {
		return fmt.Errorf("%q is no percentage; write for example 10%%", text)
	}
	*p = Percent(n)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (p Percent) MarshalText() ([]byte, error) { return []byte(strconv.Itoa(int(p)) + "%"), nil }

// Validate checks the numbers.
func (c RateLimitStore) Validate() error {
	var errs []error
	if c.Lease > 50 {
		errs = append(errs, kind.At("lease", "must be at most 50%%"))
	}
	if c.Replicas < 0 || c.Replicas > 10_000 {
		errs = append(errs, kind.At("replicas", "must be from 0 to 10000"))
	}
	return errors.Join(errs...)
}

// lease is the share of the smallest burst, in tokens.
func (c RateLimitConfig) lease(limits []limiter.Limit) int64 {
	least := limits[0].Burst
	for _, l := range limits {
		least = min(least, l.Burst)
	}
	return least/100*int64(c.Store.Lease) + least%100*int64(c.Store.Lease)/100
}

func (c RateLimitConfig) validateLease() error {
	if c.Store == nil || c.Store.Lease == 0 {
		return nil
	}
	if limits := c.limits(); len(limits) > 0 && limits[0].Per > 0 && c.Cost > 0 && c.lease(limits) < c.Cost {
		return kind.At("store.lease", "is less than one request costs; make it larger, or leave it out")
	}
	return nil
}

// Files implements kind.Filer.
func (c RateLimitConfig) Files() []string {
	if c.Store == nil {
		return nil
	}
	return c.Store.Redis.files()
}

// digest tells apart what a gateway knows of buckets under different settings.
func (c RateLimitConfig) digest(store string, limits []limiter.Limit) string {
	return digestOf(store, fmt.Sprintf("%+v %d %d %d %s %d", limits, c.Cost, c.Store.Lease, c.Store.Replicas, c.OnStoreError, c.MaxKeys))
}
