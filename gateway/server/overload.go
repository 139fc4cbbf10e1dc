package server

import (
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/overload"
)

// How far a pressure must fall below a bound before its step ends. Memory moves
// slowly; waits for processors jump.
const (
	memoryMargin = 0.03
	cpuMargin    = 0.5
)

// overloaded is the answer to a request that is refused because of the state of the
// process. The connection ends with it, and clients do not all come back at once.
func overloaded() *gateway.Error {
	return &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: "overloaded", Msg: "the gateway has too much to do",
		Cause: gateway.CauseGateway, RetryAfter: time.Second + rand.N(4*time.Second), Close: true,
	}
}

// memoryGoal is what the garbage collector is told, and was told before.
type memoryGoal struct {
	set    bool
	before int64
}

// aim sets the goal; 0 is none of ours. The operator's own, GOMEMLIMIT, stays.
func (g *memoryGoal) aim(bytes int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	switch {
	case bytes > 0:
		if before := debug.SetMemoryLimit(bytes); !g.set {
			g.set, g.before = true, before
		}
	case g.set:
		debug.SetMemoryLimit(g.before)
		g.set = false
	}
}

// watchPressure follows what a configuration wants watched.
func (s *Server) watchPressure(o *config.Overload) {
	var all []overload.Source
	goal := int64(0)
	if m := o.Memory; m.Enabled {
		if found := overload.FindMemory(uint64(m.Limit)); found != nil {
			limit, from := found.Limit()
			goal = int64(float64(limit) * float64(m.Close) / 100)
			s.log.Info("watching memory", "limit", limit, "from", from)
			all = append(all, overload.Source{
				Name: "memory", Read: found.Pressure, Margin: memoryMargin,
				Bounds: overload.Bounds{float64(m.Close) / 100, float64(m.Shed) / 100, float64(m.Stop) / 100},
			})
		}
	}
	if c := o.CPU; c != nil {
		cpu := overload.NewCPU()
		all = append(all, overload.Source{
			Name: "cpu", Margin: cpuMargin,
			Bounds: overload.Bounds{c.Close.Seconds(), c.Shed.Seconds(), c.Stop.Seconds()},
			Read: func() (float64, bool) {
				d, ok := cpu.Delay()
				return d.Seconds(), ok
			},
		})
	}
	s.memory.aim(goal)
	s.pressure.Follow(all)
}

// overloadState is for the metrics.
func (s *Server) overloadState() obs.OverloadState {
	i := s.pressure.Info()
	return obs.OverloadState{Step: int(i.Step), Share: i.Share, Pressure: i.Pressure, Refused: i.Refused}
}
