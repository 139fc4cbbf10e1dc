package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Anatomy says of which requests it is found out where their time went. Requests
// that fail and those that take long are always looked into.
type Anatomy struct {
	// Sample is the share of requests that count in pithead_request_phase_seconds and
	// whose line in the access log has phases; about them the kernel is asked, and
	// pithead-probe if it runs. In percent: `1%`, `0.1%`, `100%`. Default: 1%.
	Sample Share `yaml:"sample"`
	// Slow is from when on a request counts in pithead_slow_requests_total and its line
	// in the access log says whose fault it was. 0s is never. Default: 1s.
	Slow time.Duration `yaml:"slow"`
	// ServerTiming says which clients are told the phases, in the field Server-Timing:
	// `off`, `trusted` for those of `trusted_proxies`, `all`. How long a service takes
	// can tell strangers what it does. Default: off.
	ServerTiming string `yaml:"server_timing"`
}

// SetDefaults sets the values that the comments of the fields name.
func (a *Anatomy) SetDefaults() { *a = Anatomy{Sample: 0.01, Slow: time.Second, ServerTiming: "off"} }

// Validate checks the words.
func (a *Anatomy) Validate() error {
	var f faults
	f.time("slow", a.Slow, 0)
	f.oneOf("server_timing", a.ServerTiming, "off", "trusted", "all")
	return f.err()
}

// Share is a part of a whole, written in percent.
type Share float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Share) UnmarshalText(text []byte) error {
	digits, ok := strings.CutSuffix(string(text), "%")
	n, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(n >= 0 && n <= 100) {
		return fmt.Errorf("%q is no share; write a percentage from 0%% to 100%%, such as 1%%", text)
	}
	*s = Share(n / 100)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Share) MarshalText() ([]byte, error) {
	return []byte(strconv.FormatFloat(float64(s)*100, 'f', -1, 64) + "%"), nil
}
