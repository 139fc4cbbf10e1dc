package middleware

import (
	"errors"
	"time"

	"github.com/pithead/pithead/gateway/concurrency"
	"github.com/pithead/pithead/gateway/kind"
)

// ConcurrencyConfig bounds how many requests are under way at a time, by a fixed number or by one that
// follows the latency of the service. A few more wait for their turn in a short, fair queue; all others get a 503
// (`overloaded`) with Retry-After at once, gRPC calls the status `unavailable`. That never counts against an upstream.
//
//	concurrency: {adaptive: {min: 4, max: 200}, queue: {size: 50}}
//
// In the queue, high priority comes before low, and keys take turns. If it has not been empty for twice the `target`, it
// is of no help any more: then the newest are served first and the oldest refused, so that those
// who are served do not wait long.
//
// All routes that use a named block share its limit, which survives reloads: a block that all routes to an
// upstream use is the limit of the upstream. A request holds its place until its answer has ended. WebSockets and
// event streams hold theirs for as long as they last, so give their routes another block.
type ConcurrencyConfig struct {
	// Max is how many requests are under way at a time, 1 to 100000. This or `adaptive` is required.
	Max int `yaml:"max"`
	// Adaptive finds out how many the service can do. Default: none, `max` is fixed.
	Adaptive *ConcurrencyAdaptive `yaml:"adaptive"`
	// Queue is where a few others wait.
	Queue ConcurrencyQueue `yaml:"queue"`
}

// ConcurrencyAdaptive is a limit that goes down while the service answers slower than it does with little to
// do, and up while that is not so and the limit is in use. What it takes with little to do is looked at again every 30 seconds, with
// a limit that is lower by a third or so for a second. Clients that leave or are slow, event streams and WebSockets say nothing of the
// service; a tenth of timeouts, 429, 503 or 504 lowers the limit too. What is sent to one block should take similar times.
type ConcurrencyAdaptive struct {
	// Min is the lowest limit, from 1. Default: 4.
	Min int `yaml:"min"`
	// Max is the highest limit, to 100000. Default: 1000.
	Max int `yaml:"max"`
	// Initial is the limit to begin with. Default: 20, or what min and max leave of it.
	Initial int `yaml:"initial"`
	// Tolerance is how many times as long as with little to do answers may take, 1.05 to 10. More brings more requests at a time, and slower ones. Default: 1.2.
	Tolerance float64 `yaml:"tolerance"`
}

// ConcurrencyQueue is a short queue. A long one would only make all answers late.
type ConcurrencyQueue struct {
	// Size is how many requests wait, 0 to 1000. When there are more, the key with the most of the lowest priority
	// loses one. Default: 100.
	Size int `yaml:"size"`
	// Timeout is how long a request waits at most, 1ms to 1m. Default: 1s.
	Timeout time.Duration `yaml:"timeout"`
	// Target is how long a request waits at most while the queue does not get empty, 1ms to the timeout. Half of
	// what an answer takes is a good choice. Default: 50ms.
	Target time.Duration `yaml:"target"`
	// Key is whose requests take turns: `client`, `subject`, `route`, `host`, `header:NAME`, `cookie:NAME`, `query:NAME`,
	// `claim:NAME`, a list of these, or `all` for no turns. Who lacks a part is taken by the client's address. Default: client.
	Key []RateLimitKey `yaml:"key,one"`
}

// SetDefaults is called before decoding.
func (a *ConcurrencyAdaptive) SetDefaults() {
	*a = ConcurrencyAdaptive{Min: 4, Max: 1000, Initial: 20, Tolerance: 1.2}
}

func (c ConcurrencyConfig) settings() concurrency.Settings {
	s := concurrency.Settings{Max: c.Max, Queue: concurrency.Queue{Size: c.Queue.Size, Timeout: c.Queue.Timeout, Target: c.Queue.Target}}
	if a := c.Adaptive; a != nil {
		s.Adaptive = &concurrency.Adaptive{Min: a.Min, Max: a.Max, Initial: a.Initial, Tolerance: a.Tolerance}
	}
	return s
}

// keys are the settings of the queue's key.
func (q ConcurrencyQueue) keys() RateLimitConfig {
	return RateLimitConfig{Key: q.Key, OnMissing: keyClient, IPv4Prefix: 32, IPv6Prefix: 64}
}

// Validate checks that there is one limit.
func (c ConcurrencyConfig) Validate() error {
	switch {
	case c.Max == 0 && c.Adaptive == nil:
		return kind.At("", "has no limit; give max, for example 100, or adaptive")
	case c.Max != 0 && c.Adaptive != nil:
		return kind.At("max", "max and adaptive exclude each other; write adaptive: {max: %d}", c.Max)
	case c.Adaptive == nil && (c.Max < 1 || c.Max > maxConcurrency):
		return kind.At("max", "must be from 1 to %d", maxConcurrency)
	}
	return nil
}

const maxConcurrency = 100_000

// Validate checks the bounds.
func (a ConcurrencyAdaptive) Validate() error {
	var errs []error
	if a.Max < 1 || a.Max > maxConcurrency {
		errs = append(errs, kind.At("max", "must be from 1 to %d", maxConcurrency))
	}
	switch {
	case a.Min < 1:
		errs = append(errs, kind.At("min", "must be at least 1"))
	case a.Max >= 1 && a.Min > a.Max:
		errs = append(errs, kind.At("min", "must be at most max, %d", a.Max))
	}
	if a.Initial < 1 || a.Initial > maxConcurrency {
		errs = append(errs, kind.At("initial", "must be from min to max"))
	}
	if !(a.Tolerance >= 1.05 && a.Tolerance <= 10) {
		errs = append(errs, kind.At("tolerance", "must be from 1.05 to 10"))
	}
	return errors.Join(errs...)
}

// Validate checks the times.
func (q ConcurrencyQueue) Validate() error {
	var errs []error
	if q.Size < 0 || q.Size > 1000 {
		errs = append(errs, kind.At("size", "must be from 0 to 1000"))
	}
	if q.Timeout < time.Millisecond || q.Timeout > time.Minute {
		errs = append(errs, kind.At("timeout", "must be from 1ms to 1m"))
	} else if q.Target < time.Millisecond || q.Target > q.Timeout {
		errs = append(errs, kind.At("target", "must be from 1ms to the timeout, %s", q.Timeout))
	}
	return errors.Join(append(errs, q.keys().validateKey())...)
}
