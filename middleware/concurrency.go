package middleware

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/concurrency"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "concurrency", ConcurrencyConfig{Queue: ConcurrencyQueue{
		Size: 100, Timeout: time.Second, Target: 50 * time.Millisecond, Key: []RateLimitKey{{word: keyClient}},
	}}, newConcurrency)
}

// concurrencyLimit is the running middleware.
type concurrencyLimit struct {
	kept *keptLimiter
	key  rateKey
}

// keptLimiter is what all routes with one block share, and reloads leave alone.
type keptLimiter struct {
	*concurrency.Limiter
	shown
	seed maphash.Seed
}

func newConcurrency(c ConcurrencyConfig, env Env) (gateway.Step, error) {
	registry, err := limitsOf(env)
	if err != nil {
		return gateway.Step{}, err
	}
	kept, err := keep.Get(env.Keep, "concurrency/"+env.Key, func() (*keptLimiter, error) {
		return &keptLimiter{Limiter: concurrency.New(c.settings()), seed: maphash.MakeSeed()}, nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &concurrencyLimit{kept: kept, key: newRateKey(c.Queue.keys(), env.Route)}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, Start: func() []<-chan struct{} {
		kept.Configure(c.settings())
		kept.show(func() func() {
			hide := registry.ShowConcurrency(blockName("concurrency", env.Key), kept.view)
			forget := env.Process.WatchConcurrency(env.Key, func() obs.ConcurrencyState {
				i := kept.Info()
				return obs.ConcurrencyState{Limit: i.Limit, Active: i.Active, Waiting: i.Waiting, Baseline: i.Baseline, Refused: byPriority(i.Refused)}
			})
			return func() { hide(); forget() }
		})
		return nil
	}}, nil
}

func byPriority(counts [3]uint64) map[string]uint64 {
	named := make(map[string]uint64, len(counts))
	for i, n := range counts {
		named[gateway.Priority(i-1).String()] = n
	}
	return named
}

func (m *concurrencyLimit) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		if !m.kept.Try() {
			if err := m.kept.Wait(r.Context(), m.hash(r, x), x.Priority); err != nil {
				gateway.Fail(w, r, refusedWaiting(r.Context(), err))
				return
			}
		}
		defer m.done(w, r, x) // also for an answer that is broken off by a panic
		next.ServeHTTP(w, r)
	})
}

func (m *concurrencyLimit) done(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) {
	var s concurrency.Sample
	if report := reportOf(w.Header(), r, x); report.full {
		s.Failed = true
	} else if report.ended && !report.failed {
		s.Waited = x.UpstreamWaited
	}
	m.kept.Done(s)
}

// hash stands for the key in the queue. Nobody can choose a key that shares the turns of another one.
func (m *concurrencyLimit) hash(r *http.Request, x *gateway.Exchange) uint64 {
	key, _ := m.key.append(make([]byte, 0, keyRoom), r, x)
	return maphash.Bytes(m.kept.seed, key)
}

// refusedWaiting is the answer for a request that was not let in.
func refusedWaiting(ctx context.Context, err error) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e // the time of the route is over
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &gateway.Error{Status: http.StatusGatewayTimeout, Reason: "timeout", Msg: "the request took too long", Cause: gateway.CauseGateway, Err: err}
	case ctx.Err() != nil:
		return &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: err}
	}
	return overloaded(err)
}

// overloaded is the answer for a request that is given up so that others can be served.
// Those who come back do not all come at once.
func overloaded(err error) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: "overloaded", Msg: "the service has too much to do",
		Cause: gateway.CauseGateway, Err: err, RetryAfter: time.Second + rand.N(2*time.Second),
	}
}

func (m *concurrencyLimit) explain(_ *http.Request, x *gateway.Exchange) string {
	i := m.kept.Info()
	text := fmt.Sprintf("%d of %d at a time, %d waiting, priority %s", i.Active, i.Limit, i.Waiting, x.Priority)
	if i.Baseline > 0 {
		text += fmt.Sprintf("; the service takes %s when it has little to do", i.Baseline.Round(100*time.Microsecond))
	}
	return text
}
