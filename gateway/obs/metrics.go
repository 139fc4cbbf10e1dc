package obs

import (
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Build says which binary this is.
type Build struct {
	Version   string
	Commit    string
	GoVersion string // default: that of the running binary
}

// Metrics are all metrics of a process, in a registry of their own: whatever a
// module adds to the library's default registry is not shown. Of two things that are
// watched under one name, as there may be during a reload, the later one is shown.
type Metrics struct {
	registry  *prometheus.Registry
	upstreams atomic.Pointer[func() []UpstreamState]

	saturation *saturation

	panics     prometheus.Counter
	logDropped prometheus.Counter
	reloads    *prometheus.CounterVec
	reloadOK   prometheus.Gauge
	reloadTime prometheus.Gauge
	generation prometheus.Gauge

	mu        sync.Mutex // guards the maps; not used by requests
	routes    map[string]*Route
	listeners map[string]*Listener
	failures  map[string]uint64 // of discovery, by upstream
	skipped   map[string]int    // instances that discovery leaves out, by upstream

	keys          watchers[issued, KeysState]
	introspectors watchers[client, IntrospectorState]
	logins        watchers[client, LoginState]
	forwardAuths  watchers[client, ForwardAuthState]
	limiters      watchers[string, LimiterState]
	stores        watchers[string, *Store]
	breakers      watchers[string, []BreakerState]
	concurrency   watchers[string, ConcurrencyState]
	admissions    watchers[string, AdmissionState]
	overload      watchers[string, OverloadState]
	caches        watchers[string, CacheState]
}

// NewMetrics makes the metrics of a process.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		registry:   prometheus.NewRegistry(),
		saturation: newSaturation(),
		panics:     newCounter("panics_total", "Panics of handlers that were caught."),
		logDropped: newCounter("access_log_dropped_total", "Lines of the access log that were dropped because its output was too slow or failed."),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pithead_reloads_total", Help: "Loads of the configuration, by result and by what asked for them.",
		}, []string{"result", "trigger"}),
		reloadOK:   newGauge("config_last_reload_successful", "1 if the last load of the configuration succeeded, 0 if it was refused."),
		reloadTime: newGauge("config_last_reload_timestamp_seconds", "When the configuration in use was loaded, as Unix time."),
		generation: newGauge("config_generation", "Generation of the configuration in use; each load that succeeds is a new one."),
		routes:     make(map[string]*Route),
		listeners:  make(map[string]*Listener),
		failures:   make(map[string]uint64),
		skipped:    make(map[string]int),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "pithead_build_info", Help: "Always 1; the labels say which binary this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": cmp.Or(b.GoVersion, runtime.Version())},
	})
	info.Set(1)
	m.registry.MustRegister(m.panics, m.logDropped, m.reloads, m.reloadOK, m.reloadTime, m.generation, info,
		collector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "pithead_" + name, Help: help})
}

func newGauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: "pithead_" + name, Help: help})
}

// Registry is where the metrics are registered.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// maxScrapes bounds the scrapes at the same time: each one holds the whole text
// in memory.
const maxScrapes = 4

// Handler answers scrapes. A metric that cannot be collected is left out and
// counted in promhttp_metric_handler_errors_total; the others are answered.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, EnableOpenMetrics: true,
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// Route is the handle of a route; "" is that of the requests without one. The
// same name gives the same handle until Retain forgets it.
func (m *Metrics) Route(name string) *Route {
	if name == "" {
		name = noRoute
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.routes[name]
	if !ok {
		r = &Route{name: name, saturation: m.saturation}
		m.routes[name] = r
	}
	return r
}

// Retain forgets what was counted for other routes and upstreams than these.
// Call it when a reload is over, also when it was refused. Requests that still
// run on a forgotten route end unseen.
func (m *Metrics) Retain(routes, upstreams []string) {
	keepRoutes, keepUpstreams := set(routes), set(upstreams)
	keepRoutes[noRoute], keepUpstreams[""] = true, true
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.routes, func(name string, _ *Route) bool { return !keepRoutes[name] })
	maps.DeleteFunc(m.failures, func(name string, _ uint64) bool { return !keepUpstreams[name] })
	maps.DeleteFunc(m.skipped, func(name string, _ int) bool { return !keepUpstreams[name] })
	for _, r := range m.routes {
		r.retain(keepUpstreams)
	}
}

func set(names []string) map[string]bool {
	s := make(map[string]bool, len(names)+1)
	for _, name := range names {
		s[name] = true
	}
	return s
}

// Panic counts a panic that was caught.
func (m *Metrics) Panic() { m.panics.Inc() }

// ReloadDone reports that a load of the configuration is over. trigger is what
// asked for it, one of a few fixed words: "start", "file", "signal", "admin".
// generation is the one in use now; err is why the new one was refused, or nil.
func (m *Metrics) ReloadDone(trigger string, generation uint64, err error, at time.Time) {
	m.generation.Set(float64(generation))
	if err != nil {
		m.reloads.WithLabelValues("failure", trigger).Inc()
		m.reloadOK.Set(0)
		return
	}
	m.reloads.WithLabelValues("success", trigger).Inc()
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(at.UnixMilli()) / 1000)
}
