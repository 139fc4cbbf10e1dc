package middleware

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// FaultConfig does wrong on purpose, so that people see what becomes of their clients when
// a service is slow or fails. A request may be delayed, answered with an error, have its
// connection reset, or its bodies slowed down.
//
//	fault: {delay: {min: 100ms, max: 400ms, percent: 10}, abort: {status: 503, percent: 1}}
//
// Each fault is drawn for itself, by the ID of the request: the same ID has the same fate at
// every gateway, and a request with a lower percentage among those with a higher one. A
// request may have several; a delay comes before an abort or a reset. Aborts and
// resets happen before anything is sent upstream. They are the gateway's, so that no endpoint, circuit breaker or
// retry has anything to do with them; the log has the reason `fault_injected`. To test a
// breaker or retries, have the service itself fail.
//
// What `only` and the percentages say counts where the block stands in `use`: put it after a `canary` to know the arm.
// `pithead_faults_injected_total` counts faults. Delays and slow bodies end with the client.
type FaultConfig struct {
	// Delay keeps requests waiting. Default: none.
	Delay *FaultDelay `yaml:"delay"`
	// Abort answers with an error. Default: none.
	Abort *FaultAbort `yaml:"abort"`
	// Reset breaks the connection off without an answer: an RST in HTTP/1.1, a reset stream in HTTP/2. Default: none.
	Reset *FaultReset `yaml:"reset"`
	// Bandwidth slows bodies down. Default: none.
	Bandwidth *FaultBandwidth `yaml:"bandwidth"`
	// Only are the requests that faults are for. Default: all.
	Only *FaultOnly `yaml:"only"`
	// Headers lets some callers ask for faults in their requests. Default: nobody.
	Headers *FaultHeaders `yaml:"headers"`
	// MaxActive is how many requests may be delayed or slowed down at a time; further ones are spared. A named block
	// has one limit for all routes that use it. Default: 1000.
	MaxActive int `yaml:"max_active"`
}

// FaultDelay is how long requests wait: `fixed`, or from `min` to `max`.
type FaultDelay struct {
	// Fixed is the time. Default: none.
	Fixed time.Duration `yaml:"fixed"`
	// Min is the least time. Default: 0s.
	Min time.Duration `yaml:"min"`
	// Max is the longest time. Default: none.
	Max time.Duration `yaml:"max"`
	// Percent of the requests, 0 to 100, with fractions such as 0.1. Default: 100.
	Percent float64 `yaml:"percent"`
}

// FaultAbort is an error answer.
type FaultAbort struct {
	// Status of the answer, 400 to 599. Default: 503.
	Status int `yaml:"status"`
	// GRPC is the status for gRPC calls. Default: the one that `status` maps to.
	GRPC GRPCCode `yaml:"grpc"`
	// Percent of the requests, 0 to 100. Default: 100.
	Percent float64 `yaml:"percent"`
}

// FaultReset is a connection that breaks.
type FaultReset struct {
	// Percent of the requests, 0 to 100. Default: 100.
	Percent float64 `yaml:"percent"`
}

// FaultBandwidth is how many bytes of a body pass in a second.
type FaultBandwidth struct {
	// Upload is for the body of the request. Default: 0B, which is no limit.
	Upload kind.Size `yaml:"upload"`
	// Download is for the body of the answer. Default: 0B, which is no limit.
	Download kind.Size `yaml:"download"`
	// Percent of the requests, 0 to 100. Default: 100.
	Percent float64 `yaml:"percent"`
}

// FaultOnly narrows faults down.
type FaultOnly struct {
	// Arms of the canary before this block. Default: all.
	Arms []string `yaml:"arms"`
	// Upstreams that requests are about to go to. Default: all.
	Upstreams []string `yaml:"upstreams"`
}

// FaultHeaders is who may ask for faults. Those requests say `x-fault-delay: 200ms`,
// `x-fault-abort: 503`, `x-fault-reset: 1` or `x-fault-bandwidth: 64KiB`, which is for both ways,
// and get that fault whatever the percentages are. Nobody's headers of these names go upstream.
type FaultHeaders struct {
	// AllowFrom are the networks and addresses of the callers. Required.
	AllowFrom []netip.Prefix `yaml:"allow_from"`
	// MaxDelay is the longest delay that a header may ask for. Default: 10s.
	MaxDelay time.Duration `yaml:"max_delay"`
}

// SetDefaults is called before decoding.
func (d *FaultDelay) SetDefaults() { d.Percent = 100 }

// SetDefaults is called before decoding.
func (a *FaultAbort) SetDefaults() { a.Status, a.Percent = 503, 100 }

// SetDefaults is called before decoding.
func (r *FaultReset) SetDefaults() { r.Percent = 100 }

// SetDefaults is called before decoding.
func (b *FaultBandwidth) SetDefaults() { b.Percent = 100 }

// SetDefaults is called before decoding.
func (h *FaultHeaders) SetDefaults() { h.MaxDelay = 10 * time.Second }

const (
	maxFaultDelay = 10 * time.Minute
	minFaultRate  = 100 * kind.Size(1)
)

// Validate refuses what does nothing.
func (c FaultConfig) Validate() error {
	var errs []error
	if c.Delay == nil && c.Abort == nil && c.Reset == nil && c.Bandwidth == nil && c.Headers == nil {
		errs = append(errs, kind.At("", "does nothing; give delay, abort, reset, bandwidth or headers"))
	}
	if c.MaxActive < 1 {
		errs = append(errs, kind.At("max_active", "must be at least 1"))
	}
	return errors.Join(errs...)
}

func checkPercent(p float64) error {
	if p < 0 || p > 100 || math.IsNaN(p) {
		return kind.At("percent", "%v is not from 0 to 100", p)
	}
	return nil
}

// Validate checks the times.
func (d FaultDelay) Validate() error {
	errs := []error{checkPercent(d.Percent)}
	switch {
	case d.Fixed != 0 && (d.Min != 0 || d.Max != 0):
		errs = append(errs, kind.At("fixed", "fixed and min, max exclude each other"))
	case d.Fixed == 0 && d.Max == 0:
		errs = append(errs, kind.At("", "tells no time; give fixed, or min and max"))
	case d.Fixed < 0 || d.Fixed > maxFaultDelay:
		errs = append(errs, kind.At("fixed", "%s is not from 0s to %s", d.Fixed, maxFaultDelay))
	case d.Min < 0 || d.Max < d.Min || d.Max > maxFaultDelay:
		errs = append(errs, kind.At("max", "%s is not from min, %s, to %s", d.Max, d.Min, maxFaultDelay))
	}
	return errors.Join(errs...)
}

// Validate checks that it is an error.
func (a FaultAbort) Validate() error {
	err := checkPercent(a.Percent)
	if a.Status < 400 || a.Status > 599 {
		err = errors.Join(err, kind.At("status", "%d is not from 400 to 599", a.Status))
	}
	return err
}

// Validate checks the share.
func (r FaultReset) Validate() error { return checkPercent(r.Percent) }

// Validate checks that bytes do pass.
func (b FaultBandwidth) Validate() error {
	errs := []error{checkPercent(b.Percent)}
	if b.Upload == 0 && b.Download == 0 {
		errs = append(errs, kind.At("", "limits nothing; give upload or download"))
	}
	for i, rate := range [...]kind.Size{b.Upload, b.Download} {
		if rate != 0 && rate < minFaultRate {
			errs = append(errs, kind.At([...]string{"upload", "download"}[i], "%s is less than %s a second", rate, minFaultRate))
		}
	}
	return errors.Join(errs...)
}

// Validate checks that it narrows down.
func (o FaultOnly) Validate() error {
	if len(o.Arms) == 0 && len(o.Upstreams) == 0 {
		return kind.At("", "names nothing; give arms or upstreams, or leave it out")
	}
	return nil
}

// Validate checks that somebody may.
func (h FaultHeaders) Validate() error {
	switch {
	case len(h.AllowFrom) == 0:
		return kind.At("", "allows nobody; list networks under allow_from")
	case h.MaxDelay < 0 || h.MaxDelay > maxFaultDelay:
		return kind.At("max_delay", "%s is not from 0s to %s", h.MaxDelay, maxFaultDelay)
	}
	return nil
}

// describe says in words what c does.
func (c FaultConfig) describe() (all []string) {
	if d := c.Delay; d != nil {
		text := d.Fixed.String()
		if d.Fixed == 0 {
			text = fmt.Sprintf("%s to %s", d.Min, d.Max)
		}
		all = append(all, fmt.Sprintf("delays %g%% for %s", d.Percent, text))
	}
	if c.Abort != nil {
		all = append(all, fmt.Sprintf("answers %d to %g%%", c.Abort.Status, c.Abort.Percent))
	}
	if c.Reset != nil {
		all = append(all, fmt.Sprintf("resets %g%%", c.Reset.Percent))
	}
	if c.Bandwidth != nil {
		all = append(all, fmt.Sprintf("slows %g%% down", c.Bandwidth.Percent))
	}
	if c.Headers != nil {
		all = append(all, "heeds x-fault headers of some callers")
	}
	return all
}
