package overload

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Step is what the process does about its own load. Each one includes those before.
type Step uint8

// The steps.
const (
	Normal Step = iota
	Close       // connections end after their answer
	Shed        // a share of the requests is refused
	Stop        // no connections are accepted
)

var stepNames = [...]string{"normal", "close", "shed", "stop"}

// String is the word for the log.
func (s Step) String() string { return stepNames[s] }

// Bounds are the pressures at which the steps begin, in ascending order.
type Bounds [3]float64

// Source tells the pressure of one resource.
type Source struct {
	Name   string
	Read   func() (pressure float64, ok bool) // ok is false while nothing can be told
	Bounds Bounds
	Margin float64 // share of a bound by which the pressure must fall below it before the step ends

	// Most is at least the pressure, for a fraction of what Read costs. A source that has it
	// can run out within one round, and is looked at between them too. May be nil.
	Most func() (pressure float64, ok bool)
	// Relieve brings the pressure down for the moment, at a price. It is asked from the
	// bound of Shed on, every few seconds. May be nil.
	Relieve func()
}

// reached is the step that a pressure calls for.
func (s *Source) reached(pressure float64) Step {
	step := Normal
	for i, bound := range s.Bounds {
		if pressure >= bound {
			step = Step(i + 1)
		}
	}
	return step
}

// How a manager moves.
const (
	every      = 500 * time.Millisecond
	glances    = 20       // in a round
	calmRounds = 4        // in a row before a step ends
	shareUp    = 1.0 / 4  // that is refused more in each round with too much pressure
	shareDown  = 1.0 / 16 // and less in each round without
	shares     = 256      // in which the share is counted
	freeEvery  = 5 * time.Second
	intakeStep = 2 << 20 // bytes, after which somebody looks
)

// Manager follows the sources. Requests ask it by one atomic load.
//
// A step begins at once, that of memory within 25 ms: clients can fill what is left in
// less than a round. It ends when the pressure has been lower by the margin for
// two seconds. How many requests are refused grows by a quarter of all in each half
// second in which Shed is called for, and goes back more slowly, so that they come
// back a few at a time.
type Manager struct {
	state   atomic.Uint32 // the step, then the share of requests to refuse
	refused atomic.Uint64
	intake  atomic.Int64 // bytes since somebody has looked

	sources atomic.Pointer[[]Source]
	log     *slog.Logger

	mu       sync.Mutex
	pressure map[string]float64
	calm     int // rounds in a row
	freed    time.Time
}

// New makes a manager that does nothing until it has sources and runs.
func New(log *slog.Logger) *Manager {
	m := &Manager{log: log, pressure: make(map[string]float64)}
	m.Follow(nil)
	return m
}

// Follow changes the sources.
func (m *Manager) Follow(all []Source) { m.sources.Store(&all) }

// Run looks at the sources until ctx ends. After that there is no step: a process that
// drains gets no more load than it has.
func (m *Manager) Run(ctx context.Context) {
	defer m.state.Store(0)
	tick := time.NewTicker(every / glances)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
			if n%glances != 0 {
				m.glance()
				continue
			}
			for _, relieve := range m.look(time.Now()) {
				relieve() // not under the lock: whoever asks how things are must not wait for it
			}
		case <-ctx.Done():
			return
		}
	}
}

// Step is what is to be done now.
func (m *Manager) Step() Step { return Step(m.state.Load() >> 16) }

// Closes says whether answers end their connections. A nil Manager never wants it.
func (m *Manager) Closes() bool { return m != nil && m.state.Load() != 0 }

// Stops says whether no connection is to be accepted. A nil Manager never wants it.
func (m *Manager) Stops() bool { return m != nil && m.Step() == Stop }

// Refuses says whether a request is one of those to be refused, and counts it.
func (m *Manager) Refuses() bool {
	share := m.state.Load() & 0xffff
	if share == 0 || rand.Uint32N(shares) >= share {
		return false
	}
	m.refused.Add(1)
	return true
}

// Takes is told what comes in from clients. Time alone is no measure: a crowd fills what
// is left in a few milliseconds, in which nobody may have a processor to look at a clock.
// A nil Manager does not mind.
func (m *Manager) Takes(bytes int) {
	if m == nil {
		return
	}
	if n := m.intake.Add(int64(bytes)); n >= intakeStep && m.intake.CompareAndSwap(n, 0) {
		m.glance()
	}
}

// look is one round. It returns what is to be done about the pressure.
func (m *Manager) look(now time.Time) (relieve []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.Step()
	wanted, held, worst := Normal, Normal, ""
	clear(m.pressure)
	free := now.Sub(m.freed) >= freeEvery
	for _, s := range *m.sources.Load() {
		p, ok := s.Read()
		if !ok {
			continue
		}
		m.pressure[s.Name] = p
		if step := s.reached(p); step > wanted {
			wanted, worst = step, s.Name
		}
		held = max(held, s.reached(p/(1-s.Margin)))
		if free && s.Relieve != nil && p >= s.Bounds[Shed-1] {
			m.freed, relieve = now, append(relieve, s.Relieve)
		}
	}
	step := m.next(before, wanted, held)
	m.become(step, wanted, worst)
	return relieve
}

// glance is for sources that do not wait for a round. It only ever goes up.
func (m *Manager) glance() {
	for _, s := range *m.sources.Load() {
		before := m.Step()
		if s.Most == nil || before == Stop {
			continue
		}
		if p, ok := s.Most(); !ok || s.reached(p) <= before {
			continue
		}
		p, ok := s.Read()
		if step := s.reached(p); ok && step > before {
			m.mu.Lock()
			m.pressure[s.Name], m.calm = p, 0
			m.become(step, step, s.Name)
			m.mu.Unlock()
		}
	}
}

// become needs m.mu.
func (m *Manager) become(step, wanted Step, worst string) {
	before := m.Step()
	m.state.Store(uint32(step)<<16 | m.share(step, wanted))
	if step != before {
		m.say(before, step, worst)
	}
}

// next goes up at once, and down one step at a time when it has been calm.
func (m *Manager) next(now, wanted, held Step) Step {
	if wanted >= now || held >= now {
		m.calm = 0
		return max(wanted, now)
	}
	if m.calm++; m.calm < calmRounds {
		return now
	}
	m.calm = 0
	return now - 1
}

// share is how many of the requests are refused.
func (m *Manager) share(step, wanted Step) uint32 {
	share := float64(m.state.Load()&0xffff) / shares
	switch {
	case step < Shed:
		return 0
	case wanted >= Stop:
		share = 1
	case wanted >= Shed:
		share = min(share+shareUp, 1)
	default:
		share = max(share-shareDown, 0)
	}
	return uint32(share * shares)
}

func (m *Manager) say(before, step Step, worst string) {
	var pressures []any
	for name, p := range m.pressure {
		pressures = append(pressures, slog.Float64(name, p))
	}
	if step > before {
		m.log.Warn("overload", "step", step, "by", worst, slog.Group("pressure", pressures...))
		return
	}
	m.log.Info("overload eases", "step", step, slog.Group("pressure", pressures...))
}

// Info is what a manager looks like at the moment.
type Info struct {
	Step     Step
	Share    float64            // of the requests that are refused
	Pressure map[string]float64 // of the sources that can tell
	Refused  uint64
	Bounds   map[string]Bounds // of all sources
}

// Info is the present state.
func (m *Manager) Info() Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := Info{
		Step: m.Step(), Share: float64(m.state.Load()&0xffff) / shares, Pressure: maps.Clone(m.pressure), Refused: m.refused.Load(),
		Bounds: make(map[string]Bounds),
	}
	for _, s := range *m.sources.Load() {
		i.Bounds[s.Name] = s.Bounds
	}
	return i
}
