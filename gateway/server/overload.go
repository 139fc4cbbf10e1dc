package server

import (
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
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

// How much the collector leaves between its goal and the first step, and by how much,
// of the limit, a goal must change to be worth telling.
const (
	goalMargin = 0.95
	goalStep   = 0.01
)

// spareShare is the part of the memory that requests may keep things in which they can
// do without.
const spareShare = 8

// memoryGoal is what the garbage collector is told, and was told before.
type memoryGoal struct {
	mu     sync.Mutex
	goal   int64 // 0 is none of ours
	before int64
}

// aim sets the goal; 0 is none of ours. The operator's own, GOMEMLIMIT, stays.
func (g *memoryGoal) aim(bytes int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case bytes > 0:
		if before := debug.SetMemoryLimit(bytes); g.goal == 0 {
			g.before = before
		}
	case g.goal > 0:
		debug.SetMemoryLimit(g.before)
	}
	g.goal = bytes
}

// follow keeps the goal below the step of closing, whatever else of the memory is in use.
func (g *memoryGoal) follow(m *overload.Memory, share float64) {
	room, ok := m.Room(share * goalMargin)
	if !ok {
		return
	}
	limit, _ := m.Limit()
	g.mu.Lock()
	far := g.goal > 0 && math.Abs(float64(room)-float64(g.goal)) > goalStep*float64(limit)
	g.mu.Unlock()
	if far {
		g.aim(int64(room))
	}
}

// memorySource follows a limit, and the collector's goal with it.
func (s *Server) memorySource(found *overload.Memory, m *config.OverloadMemory) overload.Source {
	bounds := overload.Bounds{float64(m.Close) / 100, float64(m.Shed) / 100, float64(m.Stop) / 100}
	return overload.Source{
		Name: "memory", Margin: memoryMargin, Bounds: bounds,
		Read: func() (float64, bool) {
			s.memory.follow(found, bounds[0])
			return found.Pressure()
		},
		Most: found.Most, Relieve: debug.FreeOSMemory, // what was garbage must not keep the step
	}
}

// watchPressure follows what a configuration wants watched.
func (s *Server) watchPressure(o *config.Overload) {
	var all []overload.Source
	var found *overload.Memory
	if m := &o.Memory; m.Enabled {
		found = overload.FindMemory(uint64(m.Limit))
	}
	if found == nil {
		s.memory.aim(0)
		s.spare.Bound(0)
	} else {
		limit, from := found.Limit()
		s.log.Info("watching memory", "limit", limit, "from", from)
		s.spare.Bound(int64(limit / spareShare))
		s.memory.aim(int64(float64(limit) * float64(o.Memory.Close) / 100 * goalMargin))
		source := s.memorySource(found, &o.Memory)
		all = append(all, source)
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
	s.pressure.Follow(all)
}

// Overload is what the process does about its own load.
func (s *Server) Overload() overload.Info { return s.pressure.Info() }

// overloadState is for the metrics.
func (s *Server) overloadState() obs.OverloadState {
	i := s.pressure.Info()
	return obs.OverloadState{Step: int(i.Step), Share: i.Share, Pressure: i.Pressure, Refused: i.Refused}
}
