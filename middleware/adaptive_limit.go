package middleware

import (
	"errors"
	"fmt"
	"math"
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
	kind.Add(Kinds, "adaptive_limit", AdaptiveLimitConfig{Target: 200 * time.Millisecond, Errors: 0.05, Min: Rate{1, time.Second}}, newAdaptiveLimit)
}

// AdaptiveLimitConfig lets only as many requests per second pass as the service answers well. While it does, there is
// no limit. The others get a 503 (`overloaded`) with Retry-After, those of low priority first; that never counts against the upstream.
//
//	adaptive_limit: {target: 200ms, errors: 0.05}
//
// It looks at each second, or at up to five if there are fewer than 20 answers. If 5 % of the answers take
// longer than `target`, the limit becomes what the service has answered in that time, less 5 % to half, so that it can work off what
// waits there. If the share of failures is more than `errors`, a tenth passes. When the service is well again, the limit grows by 30 % a second to
// nine tenths of what was too much, then by 2 %, and is lifted when there is no demand for it.
//
// Latency is that of the service to the head of a good answer. Failures are broken and missing answers, statuses from 500,
// and the gRPC statuses `unknown`, `deadline_exceeded`, `internal` and `unavailable`. What clients or the gateway cause counts
// neither way. All routes that use a named block share its limit, which survives reloads.
type AdaptiveLimitConfig struct {
	// Target is what 95 % of the answers take at most, 1ms to 1m. Default: 200ms.
	Target time.Duration `yaml:"target"`
	// Errors is the share of failures from which the service counts as broken, 0.001 to 1. Default: 0.05.
	Errors float64 `yaml:"errors"`
	// Min is the lowest limit, as `1/s` or `30/m`. Default: 1/s.
	Min Rate `yaml:"min"`
}

// Validate checks the bounds.
func (c AdaptiveLimitConfig) Validate() error {
	var errs []error
	if c.Target < time.Millisecond || c.Target > time.Minute {
		errs = append(errs, kind.At("target", "must be from 1ms to 1m"))
	}
	if !(c.Errors >= 0.001 && c.Errors <= 1) {
		errs = append(errs, kind.At("errors", "must be from 0.001 to 1"))
	}
	if perSecond := c.health().Least; perSecond < 0.1 || perSecond > 1_000_000 {
		errs = append(errs, kind.At("min", "must be from 6/m to 1000000/s"))
	}
	return errors.Join(errs...)
}

func (c AdaptiveLimitConfig) health() concurrency.Health {
	return concurrency.Health{Target: c.Target, Errors: c.Errors, Least: float64(c.Min.Count) / c.Min.Per.Seconds()}
}

// keptAdmission is what all routes with one block share.
type keptAdmission struct {
	*concurrency.Admission
	shown
}

func newAdaptiveLimit(c AdaptiveLimitConfig, env Env) (gateway.Step, error) {
	registry, err := limitsOf(env)
	if err != nil {
		return gateway.Step{}, err
	}
	kept, err := keep.Get(env.Keep, "adaptive_limit/"+env.Key, func() (*keptAdmission, error) {
		return &keptAdmission{Admission: concurrency.NewAdmission(c.health())}, nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	return gateway.Step{
		Wrap: kept.wrap,
		Explain: func(_ *http.Request, x *gateway.Exchange) string {
			i := kept.Info()
			if i.Limit == 0 {
				return "passes: the service is " + i.Condition.String()
			}
			return fmt.Sprintf("lets %.1f requests per second pass: the service is %s; priority %s", i.Limit, i.Condition, x.Priority)
		},
		Start: func() []<-chan struct{} {
			kept.Configure(c.health())
			kept.show(func() func() {
				hide, forget := registry.ShowAdaptive(blockName("adaptive_limit", env.Key), kept.view), env.Process.WatchAdmission(env.Key, kept.state)
				return func() { hide(); forget() }
			})
			return nil
		},
	}, nil
}

func (k *keptAdmission) state() obs.AdmissionState {
	i := k.Info()
	s := obs.AdmissionState{Limit: i.Limit, Condition: int(i.Condition), Refused: byPriority(i.Refused)}
	if i.Limit == 0 {
		s.Limit = math.Inf(1)
	}
	return s
}

func (k *keptAdmission) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		if wait, ok := k.Admit(x.Priority); !ok {
			e := overloaded(nil)
			e.RetryAfter = max(e.RetryAfter, wait+rand.N(time.Second))
			gateway.Fail(w, r, e)
			return
		}
		defer k.ended(w, r, x) // also for an answer that is broken off by a panic
		next.ServeHTTP(w, r)
	})
}

func (k *keptAdmission) ended(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) {
	report := reportOf(w.Header(), r, x)
	k.Done(concurrency.Report{Ended: report.ended, Failed: report.failed, Waited: x.UpstreamWaited})
}
