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
	plainMetrics  = [...]string{"connect", "accept", "queue", "srtt", "rtt_min"}
	statusMetrics = [...]string{ttfbBoth, ttfbFirst, ttfbLast, "total", "drain"}
	// Classes are the classes of status; the first stands for everything that is not
	// plaintext HTTP/1.
	Classes = [...]string{"unknown", "2xx", "3xx", "4xx", "5xx"}
)

// A request in one piece has its first byte and its last at once: the kernel counts
// it once, as ttfbBoth, and nobody outside this package sees that name.
const (
	ttfbBoth  = "ttfb"
	ttfbFirst = "ttfb_first"
	ttfbLast  = "ttfb_last"
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

// Subtract takes away those of other, which must be an earlier state of c.
func (c *Counters) Subtract(other *Counters) {
	c.Requests -= other.Requests
	c.Unanswered -= other.Unanswered
	c.Connections -= other.Connections
	c.Retransmits -= other.Retransmits
	c.Resets -= other.Resets
	c.Refused -= other.Refused
	c.Unreached -= other.Unreached
	c.Cut -= other.Cut
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
	used := p.spec.Variables[kernelVarUsed]
	marks := make([]byte, p.maps[used.SectionName].ValueSize())
	if err := p.maps[used.SectionName].Lookup(uint32(0), marks); err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	for i := range uint32(p.options.Labels) * sides {
		if marks[used.Offset+i] == 0 {
			continue
		}
		row, err := p.row(i)
		if err != nil {
			return nil, err
		}
		s.Rows = append(s.Rows, *row)
	}
	return s, nil
}

func (p *Probe) row(i uint32) (*Row, error) {
	if err := p.maps[kernelMapRows].Lookup(i, &p.room); err != nil {
		return nil, fmt.Errorf("read histograms: %w", err)
	}
	var n [7]uint64
	for _, cpu := range p.room {
		for j, v := range cpu.N {
			n[j] += v
		}
	}
	row := &Row{Label: i / sides, Side: Side(i % sides), Counters: Counters{0, n[0], n[1], n[2], n[3], n[4], n[5], n[6]}}
	for j := range cellsPerRow {
		h := p.histogram(i*cellsPerRow+j, j)
		if h == nil {
			continue
		}
		switch metric, class := metricOf(j); metric {
		case ttfbBoth:
			row.Counters.Requests += h.Count()
			row.add(ttfbFirst, class, h)
			row.add(ttfbLast, class, h)
		case ttfbFirst:
			row.Counters.Requests += h.Count()
			row.add(metric, class, h)
		default:
			row.add(metric, class, h)
		}
	}
	return row, nil
}

func (r *Row) add(metric, class string, h *Histogram) {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Metric == metric && c.Class == class {
			c.Histogram.Add(h)
			return
		}
	}
	r.Cells = append(r.Cells, Cell{Metric: metric, Class: class, Histogram: *h})
}

// histogram adds what is new in the kernel's, which p.room holds; it is nil if there
// has never been anything.
func (p *Probe) histogram(at, of uint32) *Histogram {
	var now [Buckets]uint32
	var sum uint64
	var any uint32
	for i := range p.room {
		h := &p.room[i].Cell[of]
		sum += h.Sum
		for j := range now {
			now[j] += h.Bucket[j]
			any |= h.Bucket[j]
		}
	}
	c := p.cells[at]
	if c == nil {
		if any == 0 {
			return nil
		}
		c = &cell{}
		p.cells[at] = c
	}
	c.advance(&now, sum)
	return &c.total
}

func (c *cell) advance(now *[Buckets]uint32, sum uint64) {
	for i, v := range now {
		c.total.Counts[i] += uint64(v - c.last[i]) // right even if v has run over
	}
	c.last = *now
	c.total.Sum = time.Duration(sum)
}
