//go:build linux

package bpf

import (
	"fmt"
	"time"
)

// Side is who the gateway is on a connection.
type Side uint8

// The two sides.
const (
	Server   Side = iota // towards clients
	Upstream             // towards upstreams
	sides    = 2
)

// String is the side's name in metrics.
func (s Side) String() string {
	if s == Upstream {
		return "upstream"
	}
	return "server"
}

// Metrics of a row, in the order of kernel/maps.h.
var (
	plainMetrics  = [...]string{"connect", "accept", "queue", "srtt"}
	statusMetrics = [...]string{"ttfb_first", "ttfb_last", "total", "drain"}
	// Classes are the classes of status; the first stands for everything that is not
	// plaintext HTTP/1.
	Classes = [...]string{"unknown", "2xx", "3xx", "4xx", "5xx"}
)

const cellsPerRow = uint32(len(plainMetrics) + len(statusMetrics)*len(Classes))

// metricOf is what cell i of a row measures, and of which class; a metric that
// knows no status has no class.
func metricOf(i uint32) (metric, class string) {
	if i < uint32(len(plainMetrics)) {
		return plainMetrics[i], ""
	}
	i -= uint32(len(plainMetrics))
	return statusMetrics[i%uint32(len(statusMetrics))], Classes[i/uint32(len(statusMetrics))]
}

// Counters count what happened on the connections of a row.
type Counters struct {
	Requests    uint64 `json:"requests"`    // whose response has begun
	Unanswered  uint64 `json:"unanswered"`  // whose connection ended without one
	Connections uint64 `json:"connections"` // established
	Retransmits uint64 `json:"retransmits"` // segments sent again
	Resets      uint64 `json:"resets"`      // received from the peer
	Refused     uint64 `json:"refused"`     // connections that the peer refused
	Unreached   uint64 `json:"unreached"`   // connections that failed otherwise
	Cut         uint64 `json:"cut"`         // responses that went on after they were taken for finished
}

// Add adds those of other.
func (c *Counters) Add(other *Counters) {
	c.Requests += other.Requests
	c.Unanswered += other.Unanswered
	c.Connections += other.Connections
	c.Retransmits += other.Retransmits
	c.Resets += other.Resets
	c.Refused += other.Refused
	c.Unreached += other.Unreached
	c.Cut += other.Cut
}

// Row is what is known of one label and side.
type Row struct {
	Label    uint32
	Side     Side
	Counters Counters
	Cells    []Cell // those that are not empty
}

// Cell is one histogram of a row.
type Cell struct {
	Metric    string
	Class     string // empty for metrics that know no status
	Histogram Histogram
}

// Snapshot is everything that has been measured since the probe was started.
type Snapshot struct {
	At   time.Time
	Rows []Row // those in which something happened
}

// Find is the histogram of a metric over all labels and classes of a side.
func (s *Snapshot) Find(side Side, metric string) *Histogram {
	all := &Histogram{}
	for _, row := range s.Rows {
		for i := range row.Cells {
			if row.Side == side && row.Cells[i].Metric == metric {
				all.Add(&row.Cells[i].Histogram)
			}
		}
	}
	return all
}

// cell remembers what the kernel said last: its counts have 32 bits and run over.
type cell struct {
	last  [Buckets]uint32
	total Histogram
}

// Snapshot reads all maps. Before that it finishes responses on idle connections.
func (p *Probe) Snapshot() (*Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sweeper != nil {
		if err := p.walk(p.sweeper); err != nil {
			return nil, refused(kernelProgSweep, err)
		}
	}
	s := &Snapshot{At: time.Now()}
	for i := range uint32(p.options.Labels) * sides {
		row, err := p.row(i)
		if err != nil {
			return nil, err
		}
		if row != nil {
			s.Rows = append(s.Rows, *row)
		}
	}
	return s, nil
}

// row is nil if nothing has happened in it.
func (p *Probe) row(i uint32) (*Row, error) {
	per := make([]kernelCounters, len(p.room))
	if err := p.maps[kernelMapCounts].Lookup(i, &per); err != nil {
		return nil, fmt.Errorf("read counters: %w", err)
	}
	var n [8]uint64
	var any uint64
	for _, cpu := range per {
		for j, v := range cpu.N {
			n[j] += v
			any |= v
		}
	}
	if any == 0 {
		return nil, nil //nolint:nilnil // an empty row is neither an error nor worth a value
	}
	row := &Row{Label: i / sides, Side: Side(i % sides), Counters: Counters{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}}
	for j := range cellsPerRow {
		h, err := p.histogram(i*cellsPerRow + j)
		if err != nil {
			return nil, err
		}
		if h != nil {
			metric, class := metricOf(j)
			row.Cells = append(row.Cells, Cell{Metric: metric, Class: class, Histogram: *h})
		}
	}
	return row, nil
}

// histogram adds what is new in the kernel's; it is nil if there has never been
// anything.
func (p *Probe) histogram(at uint32) (*Histogram, error) {
	if err := p.maps[kernelMapHists].Lookup(at, &p.room); err != nil {
		return nil, fmt.Errorf("read histograms: %w", err)
	}
	var now [Buckets]uint32
	var sum uint64
	var any uint32
	for i := range p.room {
		sum += p.room[i].Sum
		for j := range now {
			now[j] += p.room[i].Bucket[j]
			any |= p.room[i].Bucket[j]
		}
	}
	c := p.cells[at]
	if c == nil {
		if any == 0 {
			return nil, nil //nolint:nilnil // as for rows
		}
		c = &cell{}
		p.cells[at] = c
	}
	c.advance(&now, sum)
	return &c.total, nil
}

func (c *cell) advance(now *[Buckets]uint32, sum uint64) {
	for i, v := range now {
		c.total.Counts[i] += uint64(v - c.last[i]) // right even if v has run over
	}
	c.last = *now
	c.total.Sum = time.Duration(sum)
}
