package obs

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Listener counts the connections of one listener.
type Listener struct {
	name    string
	open    atomic.Int64
	opened  atomic.Uint64
	refused table[string, atomic.Uint64]
	retired atomic.Bool
}

// Listener is the handle of a listener. The same name gives the same handle, so
// that the counters go on when a listener is bound again.
func (m *Metrics) Listener(name string) *Listener {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.listeners[name]
	if !ok {
		l = &Listener{name: name}
		m.listeners[name] = l
	}
	l.retired.Store(false)
	return l
}

// Opened counts a connection that was accepted.
func (l *Listener) Opened() {
	l.opened.Add(1)
	l.open.Add(1)
}

// Closed counts the end of a connection that was accepted.
func (l *Listener) Closed() { l.open.Add(-1) }

// Refused counts a connection that was closed for what it is or does. reason is one of a few
// fixed words, such as "too_many".
func (l *Listener) Refused(reason string) { l.refused.get(reason).Add(1) }

// Retire says that the listener accepts nothing more. It is forgotten when its
// last connection has been closed.
func (l *Listener) Retire() { l.retired.Store(true) }

// forgetListeners needs m.mu.
func (m *Metrics) forgetListeners() {
	for name, l := range m.listeners {
		if l.retired.Load() && l.open.Load() == 0 {
			delete(m.listeners, name)
		}
	}
}

func (l *Listener) collect(ch chan<- prometheus.Metric) {
	gauge(ch, connectionsDesc, float64(l.open.Load()), l.name)
	counter(ch, connectionsOpenedDesc, l.opened.Load(), l.name)
	for _, e := range l.refused.all() {
		counter(ch, connectionsRefusedDesc, e.value.Load(), l.name, e.key)
	}
}
