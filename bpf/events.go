//go:build linux

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// Outlier is one request that took longer than Options.Outlier.
type Outlier struct {
	At          time.Duration `json:"at_ns"`   // CLOCK_MONOTONIC, when it was finished
	Request     uint64        `json:"request"` // as tagged; 0 if it was not
	Cookie      uint64        `json:"cookie"`  // of the socket
	Label       uint32        `json:"label"`
	Name        string        `json:"name,omitempty"` // of the label
	Side        string        `json:"side"`
	Class       string        `json:"class"`
	Accept      time.Duration `json:"accept_ns"`
	Queue       time.Duration `json:"queue_ns"`
	TTFB        time.Duration `json:"ttfb_ns"`
	Total       time.Duration `json:"total_ns"`
	Drain       time.Duration `json:"drain_ns"`
	SRTT        time.Duration `json:"srtt_ns"`
	Retransmits uint32        `json:"retransmits"` // of the connection so far
}

const eventSize = 80

// decodeOutlier reads an event of kernel/maps.h.
func decodeOutlier(b []byte) (Outlier, error) {
	if len(b) < eventSize {
		return Outlier{}, fmt.Errorf("event of %d bytes", len(b))
	}
	le := binary.LittleEndian
	span := func(at int) time.Duration { return max(time.Duration(le.Uint64(b[at:])), 0) }
	return Outlier{
		At: span(0), Request: le.Uint64(b[8:]), Cookie: le.Uint64(b[16:]),
		Queue: span(24), Accept: span(32), TTFB: span(40), Total: span(48), Drain: span(56),
		Label: le.Uint32(b[64:]), SRTT: time.Duration(le.Uint32(b[68:])) * time.Microsecond,
		Retransmits: le.Uint32(b[72:]), Side: Side(b[76] & 1).String(), Class: Classes[int(b[77])%len(Classes)],
	}, nil
}

// Outliers are those since the last call. The kernel keeps the last 3000 or so; more
// are lost, and only here: histograms count them.
func (p *Probe) Outliers() (all []Outlier, err error) {
	if p.events == nil {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events.SetDeadline(time.Unix(1, 0))
	for {
		record, err := p.events.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all, nil
		}
		if err != nil {
			return all, fmt.Errorf("read outliers: %w", err)
		}
		one, err := decodeOutlier(record.RawSample)
		if err != nil {
			return all, err
		}
		all = append(all, one)
	}
}
