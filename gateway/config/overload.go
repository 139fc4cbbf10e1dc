package config

import (
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

// Overload says what the process gives up when it runs out of memory or processors, in three steps: connections
// end after their answer, so that clients go elsewhere; then a share of the requests, which grows as long as that is not enough, gets
// a 503 (`overloaded`) with Retry-After; then no connections are accepted, and requests whose body is
// still on its way are refused too, calls of gRPC excepted. A step ends when the pressure has been clearly lower for two seconds. The admin listener always answers. Each step is a line of the log and
// `pithead_overload_step`.
type Overload struct {
	// Memory is what the process uses of the memory that it may have.
	Memory OverloadMemory `yaml:"memory"`
	// CPU is how long requests wait for a processor. Default: off.
	CPU *OverloadCPU `yaml:"cpu"`
}

// OverloadMemory compares the memory in use with a limit: that of the control group (version 2 or 1) without the
// page cache, or GOMEMLIMIT. Where there is neither, and no `limit`, nothing is done. A quarter of a control group's limit, 64MiB at
// most, is kept back, because the kernel ends a process that gets there: the percentages are of the rest. Memory is looked at
// every 25 ms, and whenever 2 MiB have come from clients. Unless GOMEMLIMIT is set, the garbage collector is told to keep what
// is in use a twentieth below `close`, so that garbage alone never gets there. Bodies that `retry` keeps take an eighth of the limit
// together at most; requests above that are sent once.
type OverloadMemory struct {
	// Enabled is whether any of it is done. Default: true.
	Enabled bool `yaml:"enabled"`
	// Limit is how much memory the process is to have, at least 64MiB. It is compared with what the process has in memory.
	// Default: the limit of the control group, or GOMEMLIMIT.
	Limit kind.Size `yaml:"limit"`
	// Close is the percentage of the limit from which connections end after their answer. Default: 90.
	Close int `yaml:"close"`
	// Shed is the percentage from which requests are refused. Default: 95.
	Shed int `yaml:"shed"`
	// Stop is the percentage from which no connections are accepted, to 100. Default: 98.
	Stop int `yaml:"stop"`
}

// OverloadCPU looks at how long what could run waits for a processor, of which 99 % of the waits within half a second are shorter.
// Busy processors, a quota that is used up and a neighbour who takes the machine all show there.
type OverloadCPU struct {
	// Close is the wait from which connections end after their answer. Default: 20ms.
	Close time.Duration `yaml:"close"`
	// Shed is the wait from which requests are refused. Default: 50ms.
	Shed time.Duration `yaml:"shed"`
	// Stop is the wait from which no connections are accepted. Default: 1s.
	Stop time.Duration `yaml:"stop"`
}

// SetDefaults sets the values that the comments of the fields name.
func (m *OverloadMemory) SetDefaults() {
	*m = OverloadMemory{Enabled: true, Close: 90, Shed: 95, Stop: 98}
}

// SetDefaults sets the values that the comments of the fields name.
func (c *OverloadCPU) SetDefaults() {
	*c = OverloadCPU{Close: 20 * time.Millisecond, Shed: 50 * time.Millisecond, Stop: time.Second}
}

// leastMemory is less than the process needs for itself.
const leastMemory = 64 * kind.MiB

// Validate wants the steps one after the other.
func (m *OverloadMemory) Validate() error {
	switch {
	case m.Limit != 0 && m.Limit < leastMemory:
		return kind.At("limit", "must be at least %s", leastMemory)
	case m.Close < 1 || m.Stop > 100 || m.Close > m.Shed || m.Shed > m.Stop:
		return kind.At("", "close, shed and stop must be from 1 to 100, none more than the next; they are %d, %d, %d", m.Close, m.Shed, m.Stop)
	}
	return nil
}

// Validate wants the steps one after the other.
func (c *OverloadCPU) Validate() error {
	if c.Close < time.Millisecond || c.Stop > time.Minute || c.Close > c.Shed || c.Shed > c.Stop {
		return kind.At("", "close, shed and stop must be from 1ms to 1m, none more than the next; they are %s, %s, %s", c.Close, c.Shed, c.Stop)
	}
	return nil
}
