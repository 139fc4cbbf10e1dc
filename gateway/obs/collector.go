package obs

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector reads the state of Metrics at each scrape. Because nothing is kept
// in the library's vectors, forgetting a route is deleting one pointer.
type collector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range collectedDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.Lock()
	c.m.forgetListeners()
	routes := slices.Collect(maps.Values(c.m.routes))
	listeners := slices.Collect(maps.Values(c.m.listeners))
	failures, skipped := maps.Clone(c.m.failures), maps.Clone(c.m.skipped)
	c.m.mu.Unlock()

	c.m.saturation.collect(ch, time.Now())
	for _, r := range routes {
		r.collect(ch)
	}
	for _, l := range listeners {
		l.collect(ch)
	}
	c.m.collectUpstreams(ch, failures, skipped)
	c.m.collectKeys(ch)
	c.m.collectLimiters(ch)
	c.m.collectBreakers(ch)
	c.m.collectStores(ch)
	c.m.collectIntrospectors(ch)
	c.m.collectLogins(ch)
	c.m.collectForwardAuths(ch)
	c.m.collectLoad(ch)
	c.m.collectCaches(ch)
}

func counter(ch chan<- prometheus.Metric, desc *prometheus.Desc, n uint64, labels ...string) {
	metric, err := prometheus.NewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	send(ch, desc, metric, err)
}

func gauge(ch chan<- prometheus.Metric, desc *prometheus.Desc, v float64, labels ...string) {
	metric, err := prometheus.NewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	send(ch, desc, metric, err)
}

// truth is 1 for what is so.
func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// send lets a label that is no UTF-8 cost its own metric, not the scrape.
func send(ch chan<- prometheus.Metric, desc *prometheus.Desc, metric prometheus.Metric, err error) {
	if err != nil {
		metric = prometheus.NewInvalidMetric(desc, err)
	}
	ch <- metric
}
