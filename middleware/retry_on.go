package middleware

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// RetryCondition is a failure without an answer.
type RetryCondition string

var retryConditions = map[RetryCondition]gateway.RetryOn{
	"connect_failure": gateway.RetryConnectFailure, "reset": gateway.RetryReset, "timeout": gateway.RetryTimeout,
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *RetryCondition) UnmarshalText(text []byte) error {
	if _, ok := retryConditions[RetryCondition(text)]; !ok {
		return fmt.Errorf("%q is no failure; write connect_failure, reset or timeout, and statuses under codes or grpc", text)
	}
	*c = RetryCondition(text)
	return nil
}

// GRPCCode is a status of a gRPC call that is a failure.
type GRPCCode string

// grpcCodes are the names by number, as the documentation of gRPC has them.
var grpcCodes = []GRPCCode{
	"ok", "cancelled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
	"internal", "unavailable", "data_loss", "unauthenticated",
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *GRPCCode) UnmarshalText(text []byte) error {
	if !slices.Contains(grpcCodes[1:], GRPCCode(text)) {
		return fmt.Errorf("%q is no failure of gRPC; write for example unavailable or resource_exhausted", text)
	}
	*c = GRPCCode(text)
	return nil
}

func (c GRPCCode) number() int { return slices.Index(grpcCodes, c) }

// HedgeAfter is when there is a second attempt: after a time, or after what a share
// of the upstream's latest answers took.
type HedgeAfter struct {
	Share float64       // 0 when it is a time
	Time  time.Duration // 0 when it is a share
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *HedgeAfter) UnmarshalText(text []byte) error {
	if percent, ok := strings.CutPrefix(string(text), "p"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || !(n >= 50 && n <= 99.9) {
			return fmt.Errorf("%q is no share of answers; write p50 to p99.9, for example p95", text)
		}
		*a = HedgeAfter{Share: n / 100}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d < time.Millisecond || d > time.Minute {
		return fmt.Errorf("%q is neither a share of answers, as p95, nor a time of 1ms to 1m", text)
	}
	*a = HedgeAfter{Time: d}
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (a HedgeAfter) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

func (a HedgeAfter) String() string {
	if a.Time > 0 {
		return a.Time.String()
	}
	return "p" + strconv.FormatFloat(a.Share*100, 'f', -1, 64)
}
