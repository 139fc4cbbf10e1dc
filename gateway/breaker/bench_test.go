package breaker

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway"
)

// The benchmarks run with 1 and with 16 goroutines.
var goroutines = []int{1, 16}

func parallel(b *testing.B, each func(i int)) {
	b.Helper()
	for _, n := range goroutines {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			run(b, n, each)
		})
	}
}

// run shares the work between so many goroutines.
func run(b *testing.B, n int, each func(i int)) {
	b.Helper()
	done := make(chan struct{})
	b.ResetTimer()
	for range n {
		go func() {
			for i := range (b.N + n - 1) / n {
				each(i)
			}
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
}

// BenchmarkClosed is an attempt that succeeds.
func BenchmarkClosed(b *testing.B) {
	br := New(usual(), nil)
	parallel(b, func(int) { decide(br, gateway.OutcomeGood) })
}

// BenchmarkFailing is a service of which three in ten attempts fail, not enough to trip.
func BenchmarkFailing(b *testing.B) {
	br := New(usual(), nil)
	parallel(b, func(i int) {
		o := gateway.OutcomeGood
		if i%10 >= 7 {
			o = gateway.OutcomeBad
		}
		decide(br, o)
	})
}

// BenchmarkOpen is an attempt that is refused.
func BenchmarkOpen(b *testing.B) {
	s := usual()
	s.Open, s.MaxOpen = time.Hour, time.Hour
	br := New(s, nil)
	for range 20 {
		decide(br, gateway.OutcomeBad)
	}
	parallel(b, func(int) { decide(br, gateway.OutcomeGood) })
}

// BenchmarkGroup is BenchmarkClosed with the search for the breaker of an endpoint.
func BenchmarkGroup(b *testing.B) {
	g := NewGroup("bench", usual(), slog.New(slog.DiscardHandler))
	for i := range 100 {
		g.Get(Key{PerEndpoint, "orders", fmt.Sprintf("10.0.0.%d:9000", i)})
	}
	k := Key{PerEndpoint, "orders", "10.0.0.50:9000"}
	parallel(b, func(int) {
		if !g.Get(k).Passes() {
			return
		}
		if a, ok := g.Get(k).Admit(); ok {
			a.Answered(false)
			a.Ended(gateway.OutcomeGood, time.Millisecond)
		}
	})
}

// BenchmarkGobreaker is gobreaker by itself, with the same window.
func BenchmarkGobreaker(b *testing.B) {
	cb := gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Interval: 10 * time.Second, BucketPeriod: time.Second,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.Requests >= 20 && float64(c.TotalFailures) >= 0.5*float64(c.Requests)
		},
	})
	failed := errors.New("failed")
	for _, share := range []struct {
		name string
		of10 int
	}{{"closed", 0}, {"failing", 3}} {
		b.Run(share.name, func(b *testing.B) {
			parallel(b, func(i int) {
				done, err := cb.Allow()
				if err != nil {
					b.Error(err)
					return
				}
				if i%10 >= 10-share.of10 {
					done(failed)
					return
				}
				done(nil)
			})
		})
	}
}
