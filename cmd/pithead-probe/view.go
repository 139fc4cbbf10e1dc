//go:build linux

package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/pithead/pithead/bpf"
	"github.com/pithead/pithead/gateway/anatomy"
)

// maxOutliers is how many are remembered.
const maxOutliers = 1000

// source is a bpf.Probe, or what a test has instead.
type source interface {
	Snapshot() (*bpf.Snapshot, error)
	Outliers() ([]bpf.Outlier, error)
	Tiers() []bpf.Tier
}

// view is what has been measured, with names.
type view struct {
	source source
	names  *names

	mu       sync.Mutex
	outliers []bpf.Outlier
	lost     error // what the last reading of the kernel ended with
}

func newView(s source, n *names) *view { return &view{source: s, names: n} }

// answer is the JSON of /snapshot.
type answer struct {
	At    time.Time  `json:"at"`
	Tiers []bpf.Tier `json:"tiers"`
	Names string     `json:"names_error,omitempty"` // why names of labels may be old
	Rows  []jsonRow  `json:"rows"`
}

type jsonRow struct {
	anatomy.Named

	Side      string         `json:"side"`
	Counters  bpf.Counters   `json:"counters"`
	Durations []jsonDuration `json:"durations"`
}

type jsonDuration struct {
	Metric string        `json:"metric"`
	Status string        `json:"status,omitempty"`
	Count  uint64        `json:"count"`
	Sum    time.Duration `json:"sum_ns"`
	P50    time.Duration `json:"p50_ns"`
	P90    time.Duration `json:"p90_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"` // the middle of the highest bucket
	// Buckets are those that are not empty: upper edges in nanoseconds, and counts.
	Buckets [][2]uint64 `json:"buckets"`
}

func durationOf(metric, status string, h *bpf.Histogram) jsonDuration {
	d := jsonDuration{
		Metric: metric, Status: status, Count: h.Count(), Sum: h.Sum,
		P50: h.Quantile(0.5), P90: h.Quantile(0.9), P99: h.Quantile(0.99), Max: h.Quantile(1),
	}
	for i, n := range h.Counts {
		if n > 0 {
			d.Buckets = append(d.Buckets, [2]uint64{uint64(bpf.Edge(i)), n})
		}
	}
	return d
}

// histogram is what durationOf was made from.
func (d *jsonDuration) histogram() *bpf.Histogram {
	h := &bpf.Histogram{Sum: d.Sum}
	for _, b := range d.Buckets {
		i := sort.Search(bpf.Buckets-1, func(i int) bool { return uint64(bpf.Edge(i)) >= b[0] })
		h.Counts[i] += b[1]
	}
	return h
}

func (v *view) snapshot() (*bpf.Snapshot, error) {
	s, err := v.source.Snapshot()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lost = err
	return s, err
}

func (v *view) failure() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lost
}

func (v *view) answer(ctx context.Context) (*answer, error) {
	s, err := v.snapshot()
	if err != nil {
		return nil, err
	}
	known := v.names.all(ctx)
	a := &answer{At: s.At, Tiers: v.source.Tiers(), Rows: []jsonRow{}}
	if err := v.names.failure(); err != nil {
		a.Names = err.Error()
	}
	for _, row := range s.Rows {
		one := jsonRow{Named: known[row.Label], Side: row.Side.String(), Counters: row.Counters, Durations: []jsonDuration{}}
		one.Label = row.Label
		for i := range row.Cells {
			c := &row.Cells[i]
			one.Durations = append(one.Durations, durationOf(c.Metric, c.Class, &c.Histogram))
		}
		a.Rows = append(a.Rows, one)
	}
	return a, nil
}

// collect takes outliers out of the kernel, which remembers few.
func (v *view) collect() error {
	fresh, err := v.source.Outliers()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.outliers = append(v.outliers, fresh...)
	if n := len(v.outliers); n > maxOutliers {
		v.outliers = slices.Delete(v.outliers, 0, n-maxOutliers)
	}
	return err
}

// recent are the last outliers, the youngest last.
func (v *view) recent(ctx context.Context) []bpf.Outlier {
	known := v.names.all(ctx)
	v.mu.Lock()
	defer v.mu.Unlock()
	all := make([]bpf.Outlier, len(v.outliers)) // not nil, which JSON would call null
	copy(all, v.outliers)
	for i := range all {
		all[i].Name = known[all[i].Label].Route
	}
	return all
}

// once measures for a while and writes what came of it.
func once(ctx context.Context, v *view, span time.Duration, out io.Writer) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	a, err := v.answer(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(a)
}
