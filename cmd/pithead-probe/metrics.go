//go:build linux

package main

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pithead/pithead/bpf"
	"github.com/pithead/pithead/gateway/anatomy"
)

// nativeSchema has eight buckets to an octave, as the kernel's histograms do.
const nativeSchema = 3

// durations are the histograms, by their name in snapshots.
var durations = map[string]struct{ name, help string }{
	"connect":    {"connect_seconds", "From SYN to an established connection to an upstream."},
	"accept":     {"accept_wait_seconds", "From an established connection until the process accepted it."},
	"queue":      {"queue_wait_seconds", "How long bytes of a message lay in the receive queue before the process read them."},
	"srtt":       {"round_trip_seconds", "Smoothed round trip time of the connection at the end of a request."},
	"rtt_min":    {"least_round_trip_seconds", "Least round trip time of the connection in the last minutes. Smoothed ones hold some of the service's time, because its acknowledgements travel with its answers."},
	"ttfb_first": {"first_byte_seconds", "From the first byte of a request to the first of its response."},
	"ttfb_last":  {"first_byte_after_request_seconds", "From the last byte of a request to the first of its response."},
	"total":      {"total_seconds", "From the first byte of a request to the last of its response."},
	"drain":      {"drain_seconds", "From the last byte of a response written until the client acknowledged all of it."},
}

var counters = []struct {
	name, help string
	of         func(*bpf.Counters) uint64
}{
	{"requests_total", "Requests whose response has begun.", func(c *bpf.Counters) uint64 { return c.Requests }},
	{"unanswered_requests_total", "Requests whose connection ended without a response.", func(c *bpf.Counters) uint64 { return c.Unanswered }},
	{"connections_total", "Connections that were used.", func(c *bpf.Counters) uint64 { return c.Connections }},
	{"retransmits_total", "Segments sent again.", func(c *bpf.Counters) uint64 { return c.Retransmits }},
	{"resets_total", "Connections reset by the peer.", func(c *bpf.Counters) uint64 { return c.Resets }},
	{"connects_refused_total", "Connections that an upstream refused.", func(c *bpf.Counters) uint64 { return c.Refused }},
	{"connects_failed_total", "Connections to an upstream that failed otherwise.", func(c *bpf.Counters) uint64 { return c.Unreached }},
	{"responses_cut_total", "Responses that went on after they were taken for finished; their total is too short.", func(c *bpf.Counters) uint64 { return c.Cut }},
}

// collector gives Prometheus what a view has.
type collector struct {
	view     *view
	counters []*prometheus.Desc
	plain    map[string]*prometheus.Desc // without a status
	status   map[string]*prometheus.Desc
	tier     *prometheus.Desc
	broken   *prometheus.Desc
}

var rowLabels = []string{"side", "route", "arm", "endpoint"}

func newCollector(v *view) *collector {
	c := &collector{view: v, plain: map[string]*prometheus.Desc{}, status: map[string]*prometheus.Desc{}}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("pithead_probe_"+name, help, labels, nil)
	}
	for _, one := range counters {
		c.counters = append(c.counters, desc(one.name, one.help, rowLabels...))
	}
	for metric, one := range durations {
		switch metric {
		case "connect", "accept", "queue", "srtt", "rtt_min":
			c.plain[metric] = desc(one.name, one.help, rowLabels...)
		default:
			c.status[metric] = desc(one.name, one.help, append(slices.Clip(rowLabels), "status")...)
		}
	}
	c.tier = desc("tier_active", "Whether a part of what can be measured is: 1 or 0.", "tier")
	c.broken = desc("broken", "The kernel could not be read.")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, tier := range c.view.source.Tiers() {
		active := 0.0
		if tier.Active {
			active = 1
		}
		ch <- prometheus.MustNewConstMetric(c.tier, prometheus.GaugeValue, active, tier.Name)
	}
	s, err := c.view.snapshot()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.broken, err)
		return
	}
	known := c.view.names.all(context.Background())
	for _, row := range merged(s.Rows, known) {
		c.row(ch, row)
	}
}

// namedRow is a row under its name. Two numbers may have one name, as an endpoint
// that left and came back, but Prometheus takes each name once.
type namedRow struct {
	labels   []string
	counters bpf.Counters
	cells    map[[2]string]*bpf.Histogram
}

func merged(rows []bpf.Row, known map[uint32]anatomy.Named) map[[4]string]*namedRow {
	all := map[[4]string]*namedRow{}
	for _, row := range rows {
		name := known[row.Label]
		key := [4]string{row.Side.String(), name.Route, name.Arm, name.Endpoint}
		one := all[key]
		if one == nil {
			one = &namedRow{labels: key[:], cells: map[[2]string]*bpf.Histogram{}}
			all[key] = one
		}
		one.counters.Add(&row.Counters)
		for i := range row.Cells {
			cell := [2]string{row.Cells[i].Metric, row.Cells[i].Class}
			if one.cells[cell] == nil {
				one.cells[cell] = &bpf.Histogram{}
			}
			one.cells[cell].Add(&row.Cells[i].Histogram)
		}
	}
	return all
}

func (c *collector) row(ch chan<- prometheus.Metric, row *namedRow) {
	for i, one := range counters {
		ch <- prometheus.MustNewConstMetric(c.counters[i], prometheus.CounterValue, float64(one.of(&row.counters)), row.labels...)
	}
	for key, h := range row.cells {
		desc, labels := c.plain[key[0]], row.labels
		if desc == nil {
			desc, labels = c.status[key[0]], append(slices.Clip(labels), key[1])
		}
		ch <- histogram(desc, h, labels)
	}
}

// both is a histogram with native and classic buckets.
type both struct {
	prometheus.Metric

	classic []*dto.Bucket
}

// Write implements prometheus.Metric.
func (b both) Write(m *dto.Metric) error {
	if err := b.Metric.Write(m); err != nil {
		return err
	}
	m.Histogram.Bucket = b.classic
	return nil
}

// The classic buckets are octaves, whose edges the kernel's histograms share: from
// 16 us to 69 s.
const (
	firstOctave = 14
	lastOctave  = 36
)

func histogram(desc *prometheus.Desc, h *bpf.Histogram, labels []string) prometheus.Metric {
	native := map[int]int64{}
	var classic []*dto.Bucket
	var n uint64
	edge := time.Duration(1 << firstOctave)
	for i, count := range h.Counts {
		n += count
		if count > 0 {
			native[nativeIndex(bpf.Middle(i))] += int64(count)
		}
		if bpf.Edge(i) == edge && edge <= 1<<lastOctave {
			bound, sofar := edge.Seconds(), n
			classic = append(classic, &dto.Bucket{UpperBound: &bound, CumulativeCount: &sofar})
			edge *= 2
		}
	}
	metric, err := prometheus.NewConstNativeHistogram(desc, n, h.Sum.Seconds(), native, nil, 0, nativeSchema,
		prometheus.DefNativeHistogramZeroThreshold, time.Time{}, labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return both{metric, classic}
}

// nativeIndex is the native bucket of d: number i ends at 2^(i/8) seconds. The
// kernel's eight buckets of an octave are equally wide, these are not, so a duration
// may be one bucket off.
func nativeIndex(d time.Duration) int {
	return int(math.Ceil(math.Log2(d.Seconds()) * (1 << nativeSchema)))
}
