package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Health is an active check of each endpoint: `path`, `tcp` or `grpc`, one of
// them. The first check of an endpoint comes at some time in the first interval.
type Health struct {
	// Path is asked for with GET, over the protocol of the upstream.
	Path string `yaml:"path"`
	// TCP wants a connection to be opened, and nothing more: no TLS either. Default: false.
	TCP bool `yaml:"tcp"`
	// GRPC asks the health service of gRPC, which must answer SERVING. Needs
	// protocol h2c or https. `grpc: {}` asks for the server as a whole.
	GRPC *HealthGRPC `yaml:"grpc"`
	// Port to check in place of the endpoint's own.
	Port int `yaml:"port"`
	// Host is sent as Host of checks. Default: the upstream's `host`, else the address that is checked.
	Host string `yaml:"host"`
	// Interval between two checks of an endpoint, give or take a tenth. Default: 5s.
	Interval time.Duration `yaml:"interval"`
	// Timeout of one check, not longer than the interval. Default: 3s, or the interval if that is shorter.
	Timeout time.Duration `yaml:"timeout"`
	// Healthy is how many successes in a row bring an endpoint back. Default: 2.
	Healthy int `yaml:"healthy"`
	// Unhealthy is how many failures in a row take an endpoint out. Default: 3.
	Unhealthy int `yaml:"unhealthy"`
	// Statuses that count as success of `path`. Default: 200 to 399.
	Statuses []int `yaml:"statuses"`
}

// HealthGRPC says what grpc.health.v1.Health/Check is asked.
type HealthGRPC struct {
	// Service is the full name of the service. Default: empty, the server as a whole.
	Service string `yaml:"service"`
}

// SetDefaults sets the values that the comments of the fields name.
func (h *Health) SetDefaults() {
	*h = Health{Interval: 5 * time.Second, Timeout: 3 * time.Second, Healthy: 2, Unhealthy: 3}
}

// Validate checks that there is one way to check, and the numbers.
func (h *Health) Validate() error {
	var f faults
	h.validateWay(&f)
	if h.Port != 0 {
		f.number("port", h.Port, 1, 65535)
	}
	if h.Host != "" {
		if h.TCP {
			f.at("host", "a check by tcp sends no Host")
		} else if err := checkHostPort(h.Host); err != nil {
			f.at("host", "%w", err)
		}
	}
	f.time("interval", h.Interval, 10*time.Millisecond)
	f.time("timeout", h.Timeout, time.Millisecond)
	f.number("healthy", h.Healthy, 1, 100)
	f.number("unhealthy", h.Unhealthy, 1, 100)
	if len(h.Statuses) > 0 && h.Path == "" {
		f.at("statuses", "are those of path; leave them out")
	}
	for i, status := range h.Statuses {
		f.number("statuses["+strconv.Itoa(i)+"]", status, 100, 599)
	}
	return f.err()
}

func (h *Health) validateWay(f *faults) {
	var ways []string
	if h.Path != "" {
		ways = append(ways, "path")
	}
	if h.TCP {
		ways = append(ways, "tcp")
	}
	if h.GRPC != nil {
		ways = append(ways, "grpc")
	}
	switch {
	case len(ways) == 0:
		f.at("", "\"path\" is required, or tcp: true, or grpc: {}")
	case len(ways) > 1:
		f.at(ways[1], "%s stands beside it; an endpoint is checked in one way", ways[0])
	}
	if !slices.Contains(ways, "path") {
		return
	}
	switch _, err := url.ParseRequestURI(h.Path); {
	case !strings.HasPrefix(h.Path, "/"):
		f.at("path", "%q does not begin with a slash", h.Path)
	case strings.Contains(h.Path, "#"):
		f.at("path", "%q holds a #, which no request has; write %%23 for the character itself", h.Path)
	case err != nil:
		f.at("path", "%q is no path of a request; a %% is written %%25", h.Path)
	}
}
