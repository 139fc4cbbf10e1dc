package middleware

import (
	"errors"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	breakerWindow  = 10 * time.Second
	breakerStep    = time.Second
	breakerPause   = 5 * time.Second
	breakerProbes  = 3
	breakerAtLeast = 10
	breakerInARow  = 5
)

// newProviderBreaker leaves somebody who is asked about callers alone for a while when he has
// failed: five times in a row, or half of ten times or more within ten seconds.
func newProviderBreaker[T any](name string, successful, excluded func(error) bool, changed func(from, to gobreaker.State)) *gobreaker.CircuitBreaker[T] {
	return gobreaker.NewCircuitBreaker[T](gobreaker.Settings{
		Name: name, MaxRequests: breakerProbes, Timeout: breakerPause,
		Interval: breakerWindow, BucketPeriod: breakerStep, // without them old failures would count for ever
		ReadyToTrip: func(n gobreaker.Counts) bool {
			return n.ConsecutiveFailures >= breakerInARow || n.Requests >= breakerAtLeast && n.TotalFailures*2 >= n.Requests
		},
		IsSuccessful: successful, IsExcluded: excluded,
		OnStateChange: func(_ string, from, to gobreaker.State) { changed(from, to) },
	})
}

// broken says whether the breaker let nothing through.
func broken(err error) bool {
	return errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests)
}
