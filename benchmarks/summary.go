package main

import (
	"cmp"
	"slices"
	"time"
)

// spread is the median of the rounds with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) spread {
	slices.Sort(values)
	n := len(values)
	if n == 0 {
		return spread{}
	}
	median := values[n/2]
	if n%2 == 0 {
		median = (values[n/2-1] + values[n/2]) / 2
	}
	return spread{median, values[0], values[n-1]}
}

// row is one peer in one case.
type row struct {
	peer           string
	rate           spread // requests a second, closed loop
	cpu            spread // CPU microseconds a request, closed loop
	p50, p99, p999 spread // microseconds, open loop
	memory         spread // MiB
	errors         int
	first          string
}

// table is one case, its rows in the order of their CPU time a request.
type table struct {
	test testCase
	rows []row
	not  map[string]string // peers without a row, and why
}

func summarise(o *runOptions, all results) []table {
	var tables []table
	for _, c := range o.cases {
		t := table{test: c, not: make(map[string]string)}
		for i := range o.peers {
			p := &o.peers[i]
			if why, not := p.not[c.name]; not {
				t.not[p.name] = why
				continue
			}
			t.rows = append(t.rows, rowOf(p.name, all[p.name][c.name]))
		}
		slices.SortStableFunc(t.rows, func(a, b row) int { return cmp.Compare(a.cpu.median, b.cpu.median) })
		tables = append(tables, t)
	}
	return tables
}

func rowOf(peer string, samples []sample) row {
	r := row{peer: peer}
	values := make([][]float64, 6)
	for _, s := range samples {
		requests := float64(max(s.closed.Requests, 1))
		for i, v := range []float64{
			requests / s.closed.Time.Seconds(), micro(s.cpu) / requests,
			micro(s.open.P50), micro(s.open.P99), micro(s.open.P999), float64(s.memory) / (1 << 20),
		} {
			values[i] = append(values[i], v)
		}
		r.errors += s.closed.Errors + s.open.Errors
		r.first = cmp.Or(r.first, s.closed.First, s.open.First)
	}
	for i, to := range []*spread{&r.rate, &r.cpu, &r.p50, &r.p99, &r.p999, &r.memory} {
		*to = spreadOf(values[i])
	}
	return r
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
