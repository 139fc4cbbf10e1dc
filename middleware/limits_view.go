package middleware

import (
	"fmt"
	"time"

	"github.com/pithead/pithead/gateway/concurrency"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limitview"
)

// limitsOf is where the limits of the process are shown.
func limitsOf(env Env) (*limitview.Registry, error) {
	registry, err := keep.Get(env.Keep, limitview.Kept, func() (*limitview.Registry, error) { return limitview.NewRegistry(), nil })
	if err != nil {
		return nil, kind.At("", "%w", err)
	}
	return registry, nil
}

// view is what operators see of a limit of requests at a time.
func (k *keptLimiter) view() limitview.Concurrency {
	i := k.Info()
	v := limitview.Concurrency{
		Limit: i.Limit, Min: i.Settings.Max, Max: i.Settings.Max, Active: i.Active, Waiting: i.Waiting, Queue: i.Settings.Queue.Size,
		Baseline: limitview.In(i.Baseline), Latency: limitview.In(i.Latency), Refused: byPriority(i.Refused),
	}
	if a := i.Settings.Adaptive; a != nil {
		v.Adaptive, v.Min, v.Max = true, a.Min, a.Max
	}
	return v
}

// view is what operators see of a limit that follows the health of a service.
func (k *keptAdmission) view() limitview.Adaptive {
	i := k.Info()
	return limitview.Adaptive{
		State: i.Condition.String(), Why: whyAdmission(i), Limit: i.Limit, P95: limitview.In(i.P95), Target: limitview.In(i.Health.Target),
		Errors: i.Failed, MaxErrors: i.Health.Errors, Refused: byPriority(i.Refused),
	}
}

func whyAdmission(i concurrency.AdmissionInfo) string {
	slow := fmt.Sprintf("95 %% of the answers took up to %s", i.P95.Round(100*time.Microsecond))
	switch {
	case i.Condition == concurrency.Broken && i.Failed > i.Health.Errors:
		return fmt.Sprintf("%.1f %% of the answers failed, more than %.1f %%", 100*i.Failed, 100*i.Health.Errors)
	case i.Condition == concurrency.Broken:
		return "too many answers failed; a tenth of the requests finds out whether they still do"
	case i.Condition == concurrency.Degraded && i.P95 > i.Health.Target:
		return fmt.Sprintf("%s, more than %s", slow, i.Health.Target)
	case i.Condition == concurrency.Degraded:
		return slow + ", which is near to the target; the limit stays"
	case i.Condition == concurrency.Recovering:
		return slow + "; the limit grows"
	case i.P95 == 0:
		return "nothing is known of the service yet"
	}
	return slow + "; everything passes"
}
