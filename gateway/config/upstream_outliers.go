package config

import (
	"math"
	"time"
)

// OutlierDetection takes endpoints out of use for a while that do badly with real
// requests, whatever checks say. What clients cause counts for nothing, and
// neither do statuses that any client can cause at will, 501 and 505. Each
// failure counts when the attempt has ended, with the last byte of its answer;
// gRPC calls count by their status.
//
// Without any setting, endpoints that cannot be connected to are ejected after
// five failures in a row, and come back as soon as a connection can be opened:
// that is tried after about a second and then every few seconds. For everything
// else the time is `base_ejection_time`, and at its end `slow_start` applies. An
// endpoint with checks must also pass those.
type OutlierDetection struct {
	// ConnectFailures is how many attempts in a row may find no connection (refused,
	// unreachable, timed out) or no TLS handshake. 0 is no limit. Default: 5.
	ConnectFailures int `yaml:"consecutive_connect_failures"`
	// GatewayErrors is how many attempts in a row may end without a good answer: no
	// connection, a reset, a timeout, an answer that breaks off or is not valid, a
	// status of 502 to 504, UNAVAILABLE of gRPC. Default: no limit.
	GatewayErrors int `yaml:"consecutive_gateway_errors"`
	// Errors is how many attempts in a row may fail in any way: those of
	// `consecutive_gateway_errors`, other statuses of 500 and more, UNKNOWN, INTERNAL
	// and DATA_LOSS of gRPC. Default: no limit.
	Errors int `yaml:"consecutive_5xx"`
	// SuccessRate ejects whose share of good answers is far below that of the
	// others. `success_rate: {}` uses the defaults. Default: off.
	SuccessRate *SuccessRate `yaml:"success_rate"`
	// Latency ejects who is much slower than the others. `latency: {}` uses the
	// defaults. Default: off.
	Latency *LatencyOutlier `yaml:"latency"`
	// Interval is the time between two looks at `success_rate` and `latency`, which
	// judge by the requests of one interval. Default: 10s.
	Interval time.Duration `yaml:"interval"`
	// BaseEjectionTime is how long an endpoint is left alone the first time, give or
	// take a tenth; twice as long the second time, and so on. Each such time in
	// which it is well takes one back. Default: 30s.
	BaseEjectionTime time.Duration `yaml:"base_ejection_time"`
	// MaxEjectionTime is the longest time. Default: 300s.
	MaxEjectionTime time.Duration `yaml:"max_ejection_time"`
	// MaxEjectionPercent of the upstream's endpoints may be ejected at a time, one in
	// any case, but never the last one in use. With `panic_threshold` ejected
	// endpoints count as not healthy. Default: 50.
	MaxEjectionPercent int `yaml:"max_ejection_percent"`
}

// SuccessRate ejects endpoints whose share of good answers is more than so many
// standard deviations below the mean of all, and at most 95 %.
type SuccessRate struct {
	// Stdev is how many standard deviations are too far. Of n endpoints none can be
	// further from the mean than the root of n-1. Default: 1.9.
	Stdev float64 `yaml:"stdev"`
	// MinEndpoints is how many endpoints must have had enough requests. Default: 5.
	MinEndpoints int `yaml:"min_endpoints"`
	// MinRequests is how many requests of an interval are enough. Default: 100.
	MinRequests int `yaml:"min_requests"`
}

// LatencyOutlier ejects endpoints whose median time to the head of an answer is
// more than so many times the median of the others.
type LatencyOutlier struct {
	// Factor is how many times as slow is too slow. Default: 3.
	Factor float64 `yaml:"factor"`
	// Least is by how much it must be slower in any case. Default: 10ms.
	Least time.Duration `yaml:"least"`
	// MinEndpoints is how many endpoints must have had enough requests. Default: 3.
	MinEndpoints int `yaml:"min_endpoints"`
	// MinRequests is how many requests of an interval are enough. Default: 20.
	MinRequests int `yaml:"min_requests"`
}

// SetDefaults sets the values that the comments of the fields name.
func (o *OutlierDetection) SetDefaults() {
	*o = OutlierDetection{
		ConnectFailures: 5, Interval: 10 * time.Second,
		BaseEjectionTime: 30 * time.Second, MaxEjectionTime: 300 * time.Second, MaxEjectionPercent: 50,
	}
}

// SetDefaults sets the values that the comments of the fields name.
func (s *SuccessRate) SetDefaults() { *s = SuccessRate{Stdev: 1.9, MinEndpoints: 5, MinRequests: 100} }

// SetDefaults sets the values that the comments of the fields name.
func (l *LatencyOutlier) SetDefaults() {
	*l = LatencyOutlier{Factor: 3, Least: 10 * time.Millisecond, MinEndpoints: 3, MinRequests: 20}
}

// Validate checks the numbers.
func (o *OutlierDetection) Validate() error {
	var f faults
	f.number("consecutive_connect_failures", o.ConnectFailures, 0, 1_000_000)
	f.number("consecutive_gateway_errors", o.GatewayErrors, 0, 1_000_000)
	f.number("consecutive_5xx", o.Errors, 0, 1_000_000)
	f.time("interval", o.Interval, 100*time.Millisecond)
	f.time("base_ejection_time", o.BaseEjectionTime, 100*time.Millisecond)
	f.time("max_ejection_time", o.MaxEjectionTime, 100*time.Millisecond)
	if o.MaxEjectionTime < o.BaseEjectionTime {
		f.at("max_ejection_time", "%s is less than base_ejection_time, %s", o.MaxEjectionTime, o.BaseEjectionTime)
	}
	f.number("max_ejection_percent", o.MaxEjectionPercent, 1, 100)
	return f.err()
}

// Validate checks the numbers.
func (s *SuccessRate) Validate() error {
	var f faults
	f.number("min_endpoints", s.MinEndpoints, 3, 10_000)
	f.number("min_requests", s.MinRequests, 1, 1_000_000_000)
	// The one that fails always among others that never do is as far from the mean
	// as anybody can be.
	if most := math.Sqrt(float64(max(s.MinEndpoints, 3) - 1)); !(s.Stdev > 0 && s.Stdev < most) {
		f.at("stdev", "%v is not more than 0 and less than %.2f, which is as far as one of %d endpoints can be from the mean", s.Stdev, most, s.MinEndpoints)
	}
	return f.err()
}

// Validate checks the numbers.
func (l *LatencyOutlier) Validate() error {
	var f faults
	if !(l.Factor > 1 && l.Factor <= 1000) {
		f.at("factor", "%v is not more than 1 and at most 1000; 3 is three times as slow", l.Factor)
	}
	f.number("min_endpoints", l.MinEndpoints, 2, 10_000)
	f.number("min_requests", l.MinRequests, 1, 1_000_000_000)
	return f.err()
}
