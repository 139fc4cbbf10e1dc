//go:build linux

package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/pithead/pithead/bpf"
	"github.com/pithead/pithead/gateway/anatomy"
)

// The parts that the time of a request falls into, in the order in which a line of
// top has them. Together they are the time from its first byte until the client has
// all of the answer.
const (
	inQueue = iota
	inGateway
	inConnect
	inNetwork
	inService
	inBody
	inDrain
	phases
)

// phaseNames begin with the letters that bars are made of.
var phaseNames = [phases]string{"queue", "gateway", "connect", "network", "service", "body", "drain"}

// interval is what happened between two snapshots.
type interval struct {
	At      time.Time     `json:"at"`
	Span    time.Duration `json:"span_ns"`
	Names   string        `json:"names_error,omitempty"`
	Missing []string      `json:"missing,omitempty"` // what is not measured
	Lines   []*line       `json:"lines"`
}

// line is what happened on one route.
type line struct {
	Route    string  `json:"route"`
	Arm      string  `json:"arm,omitempty"`
	Endpoint string  `json:"endpoint,omitempty"`
	Rate     float64 `json:"requests_per_second"`
	Errors   float64 `json:"errors"` // share of the requests that were answered 5xx, or not at all

	Requests    uint64 `json:"requests"`
	Connections uint64 `json:"connections"`
	Retransmits uint64 `json:"retransmits"`
	Resets      uint64 `json:"resets"`
	Refused     uint64 `json:"refused"`

	Total  quantiles     `json:"total"`
	Accept quantiles     `json:"accept"`
	Phases [phases]phase `json:"phases"`
	Most   string        `json:"most"` // the phase that has most of the time

	spent time.Duration // all requests together
	sides [2]tally
}

type quantiles struct {
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
}

type phase struct {
	quantiles

	Name  string        `json:"name"`
	Mean  time.Duration `json:"mean_ns"` // of a request
	Share float64       `json:"share"`
}

// tally is what happened on one side of a route.
type tally struct {
	counters bpf.Counters
	failed   uint64
	metrics  map[string]*bpf.Histogram
}

func (t *tally) of(metric string) *bpf.Histogram {
	if h := t.metrics[metric]; h != nil {
		return h
	}
	return &bpf.Histogram{}
}

var groupings = []string{"route", "arm", "endpoint"}

// between is what happened from one snapshot to the next.
func between(before, now *answer, by string) *interval {
	i := &interval{At: now.At, Span: now.At.Sub(before.At), Names: now.Names, Lines: []*line{}}
	for _, tier := range now.Tiers {
		if !tier.Active && tier.Name != "writes by tracepoint" {
			i.Missing = append(i.Missing, tier.Name+": "+tier.Reason)
		}
	}
	old := map[rowKey]*jsonRow{}
	for j := range before.Rows {
		old[keyOf(&before.Rows[j])] = &before.Rows[j]
	}
	lines := map[anatomy.Named]*line{}
	for j := range now.Rows {
		row := &now.Rows[j]
		key := anatomy.Named{Route: row.Route}
		if by != "route" {
			key.Arm = row.Arm
		}
		if by == "endpoint" {
			key.Endpoint = row.Endpoint
		}
		one := lines[key]
		if one == nil {
			one = &line{Route: key.Route, Arm: key.Arm, Endpoint: key.Endpoint}
			lines[key] = one
		}
		one.add(row, old[keyOf(row)])
	}
	for _, one := range lines {
		if one.settle(i.Span) {
			i.Lines = append(i.Lines, one)
		}
	}
	return i
}

type rowKey struct {
	label uint32
	side  string
}

func keyOf(r *jsonRow) rowKey { return rowKey{r.Label, r.Side} }

// add counts what is new in a row.
func (l *line) add(row, old *jsonRow) {
	if old == nil || old.Counters.Requests > row.Counters.Requests { // or the probe was restarted
		old = &jsonRow{}
	}
	t := &l.sides[bpf.Server]
	if row.Side == bpf.Upstream.String() {
		t = &l.sides[bpf.Upstream]
	}
	if t.metrics == nil {
		t.metrics = map[string]*bpf.Histogram{}
	}
	fresh := row.Counters
	fresh.Subtract(&old.Counters)
	t.counters.Add(&fresh)
	t.failed += fresh.Unanswered
	last := map[[2]string]*jsonDuration{}
	for i := range old.Durations {
		last[[2]string{old.Durations[i].Metric, old.Durations[i].Status}] = &old.Durations[i]
	}
	for i := range row.Durations {
		d := &row.Durations[i]
		h := d.histogram()
		if before := last[[2]string{d.Metric, d.Status}]; before != nil {
			h.Subtract(before.histogram())
		}
		if t.metrics[d.Metric] == nil {
			t.metrics[d.Metric] = &bpf.Histogram{}
		}
		t.metrics[d.Metric].Add(h)
		if d.Metric == "ttfb_first" && d.Status == "5xx" {
			t.failed += h.Count()
		}
	}
}

// settle computes a line from what was counted on its two sides. It is false if
// nothing has happened.
func (l *line) settle(span time.Duration) bool {
	server, upstream := &l.sides[bpf.Server], &l.sides[bpf.Upstream]
	outer := server
	if server.counters.Requests+server.counters.Unanswered == 0 {
		outer = upstream // an endpoint's own line, or a client that has no port to listen on
	}
	all := outer.counters
	l.Requests = all.Requests
	l.Connections = all.Connections
	l.Rate = float64(l.Requests) / max(span.Seconds(), 1e-9)
	if n := l.Requests + all.Unanswered; n > 0 {
		l.Errors = float64(outer.failed) / float64(n)
	}
	l.Retransmits = server.counters.Retransmits + upstream.counters.Retransmits
	l.Resets = server.counters.Resets + upstream.counters.Resets
	l.Refused = upstream.counters.Refused + upstream.counters.Unreached
	l.Total, l.Accept = both99(outer.of("total")), both99(server.of("accept"))
	l.divide(outer, server, upstream)
	return l.Requests+all.Unanswered+l.Connections+l.Retransmits+l.Resets+l.Refused > 0
}

// divide gives the time to the phases. What the kernel does not measure is what
// remains of the rest, and that is known as a sum only.
func (l *line) divide(outer, server, upstream *tally) {
	var spent [phases]time.Duration
	roundTrip, answer := upstream.of("rtt_min"), upstream.of("ttfb_last")
	spent[inQueue] = server.of("queue").Sum + upstream.of("queue").Sum
	spent[inConnect] = upstream.of("connect").Sum
	spent[inNetwork] = min(roundTrip.Sum, answer.Sum)
	spent[inService] = answer.Sum - spent[inNetwork]
	spent[inBody] = max(upstream.of("total").Sum-answer.Sum, 0)
	spent[inDrain] = slowDrain(server.of("drain"))
	whole := outer.of("total").Sum
	spent[inGateway] = max(whole-spent[inQueue]-spent[inConnect]-upstream.of("total").Sum, 0)
	most := inQueue
	for i, d := range spent {
		l.spent += d
		if d > spent[most] {
			most = i
		}
	}
	for i, d := range spent {
		l.Phases[i].Name = phaseNames[i]
		if l.Requests > 0 {
			l.Phases[i].Mean = d / time.Duration(l.Requests)
		}
		if l.spent > 0 {
			l.Phases[i].Share = float64(d) / float64(l.spent)
		}
	}
	if l.spent > 0 {
		l.Most = phaseNames[most]
	}
	l.Phases[inQueue].quantiles = both99(server.of("queue"))
	l.Phases[inConnect].quantiles = both99(upstream.of("connect"))
	l.Phases[inNetwork].quantiles = both99(roundTrip)
	l.Phases[inDrain].quantiles = both99(server.of("drain"))
	service, way := both99(answer), roundTrip.Mean()
	l.Phases[inService].quantiles = quantiles{max(service.P50-way, 0), max(service.P99-way, 0)}
}

// delayedAck is for how long a client's kernel may keep an acknowledgement back that
// nothing waits for (RFC 9293 section 3.8.6.3; Linux takes 40 ms).
const delayedAck = 50 * time.Millisecond

// slowDrain is the time in drains that no delayed acknowledgement explains.
func slowDrain(h *bpf.Histogram) (all time.Duration) {
	for i, n := range h.Counts {
		if d := bpf.Middle(i); d > delayedAck {
			all += time.Duration(n) * d
		}
	}
	return all
}

func both99(h *bpf.Histogram) quantiles { return quantiles{h.Quantile(0.5), h.Quantile(0.99)} }

// orders are what lines can be sorted by; the key that chooses one is its first letter.
var orders = []struct {
	name string
	less func(a, b *line) int
}{
	{"time", func(a, b *line) int { return cmp.Compare(b.spent, a.spent) }},
	{"requests", func(a, b *line) int { return cmp.Compare(b.Requests, a.Requests) }},
	{"p99", func(a, b *line) int { return cmp.Compare(b.Total.P99, a.Total.P99) }},
	{"errors", func(a, b *line) int { return cmp.Compare(b.Errors, a.Errors) }},
	{"name", func(_, _ *line) int { return 0 }},
}

func orderNames() (all []string) {
	for _, o := range orders {
		all = append(all, o.name)
	}
	return all
}

func (i *interval) order(by string) {
	for _, o := range orders {
		if o.name != by {
			continue
		}
		slices.SortFunc(i.Lines, func(a, b *line) int {
			return cmp.Or(o.less(a, b), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Arm, b.Arm), cmp.Compare(a.Endpoint, b.Endpoint))
		})
	}
}
