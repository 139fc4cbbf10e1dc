package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// loadOptions say what the clients do. A rate of 0 is the closed loop: each
// client asks again as soon as it has its answer.
type loadOptions struct {
	test testCase
	addr string
	rate int
	warm time.Duration
	time time.Duration
}

// loadResult is what the clients saw in the measured time.
type loadResult struct {
	Requests int           `json:"requests"`
	Errors   int           `json:"errors"`
	First    string        `json:"first_error,omitempty"`
	Time     time.Duration `json:"time"`
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	P999     time.Duration `json:"p999"`
	Most     time.Duration `json:"most"`
}

// client sends one request at a time.
type client interface {
	do(ctx context.Context) error
	close()
}

// runLoad tells its parent by a line on out when the measured time begins, and
// by a loadResult when it has ended, so that the parent can read the counters of
// the proxy in these moments.
func runLoad(ctx context.Context, o loadOptions, out io.Writer) error {
	clients, err := newClients(ctx, o)
	if err != nil {
		return err
	}
	say := func(line string) func() error {
		return func() error {
			_, err := fmt.Fprintln(out, line)
			return err
		}
	}
	result, err := runClients(ctx, o, clients, say("begin"), say("end"))
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(result)
}

// runClients lets all clients run, and closes them. It calls begin and end in the moments
// in which the measured time begins and ends.
func runClients(ctx context.Context, o loadOptions, clients []client, begin, end func() error) (loadResult, error) {
	l := &load{options: o, start: time.Now()}
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer func() {
		cancel()
		all.Wait()
		for _, c := range clients {
			c.close()
		}
	}()
	shares := make([]share, len(clients))
	for i, c := range clients {
		all.Go(func() { l.run(ctx, c, &shares[i], i, len(clients)) })
	}
	if err := sleep(ctx, o.warm); err != nil {
		return loadResult{}, err
	}
	started := time.Now()
	l.measured.Store(true)
	if err := begin(); err != nil {
		return loadResult{}, err
	}
	if err := sleep(ctx, o.time); err != nil {
		return loadResult{}, err
	}
	l.measured.Store(false)
	took := time.Since(started)
	if err := end(); err != nil {
		return loadResult{}, err
	}
	cancel()
	all.Wait()
	return sum(shares, took), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// load is the state that all clients share.
type load struct {
	options  loadOptions
	start    time.Time
	measured atomic.Bool
}

// share is what one client saw.
type share struct {
	times  histogram
	errors int
	first  error
}

func sum(shares []share, took time.Duration) loadResult {
	r, all := loadResult{Time: took}, new(histogram)
	for i := range shares {
		all.merge(&shares[i].times)
		r.Errors += shares[i].errors
		if err := shares[i].first; err != nil && r.First == "" {
			r.First = err.Error()
		}
	}
	r.Requests = int(all.total)
	r.P50, r.P99, r.P999, r.Most = all.quantile(0.5), all.quantile(0.99), all.quantile(0.999), all.most
	return r
}

// run is one client. In the open loop its requests have due times, and their
// time is counted from there: one that waits for a slow answer before it counts
// as slow itself, or else the slowest moments would be those least measured.
func (l *load) run(ctx context.Context, c client, s *share, number, of int) {
	var period time.Duration
	due := l.start
	if l.options.rate > 0 {
		period = time.Duration(of) * time.Second / time.Duration(l.options.rate)
		due = due.Add(period * time.Duration(number) / time.Duration(of))
	}
	for ctx.Err() == nil {
		if period == 0 {
			due = time.Now()
		} else if sleep(ctx, time.Until(due)) != nil {
			return
		}
		err := c.do(ctx)
		took := time.Since(due)
		due = due.Add(period)
		switch {
		case !l.measured.Load():
		case err == nil:
			s.times.record(took)
		case !errors.Is(err, context.Canceled):
			s.errors++
			if s.first == nil {
				s.first = err
			}
		}
		if err != nil && sleep(ctx, time.Millisecond) != nil {
			return
		}
	}
}

func newClients(ctx context.Context, o loadOptions) ([]client, error) {
	if o.test.h2 {
		return newH2Clients(ctx, o)
	}
	clients := make([]client, o.test.conns)
	for i := range clients {
		clients[i] = &h1Client{addr: o.addr, test: o.test, request: requestBytes(o.addr, &o.test)}
	}
	return clients, nil
}
