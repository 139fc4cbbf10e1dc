package discovery

import (
	"context"
	"log/slog"
	"time"
)

// outage turns a row of failed attempts into one log line at its begin and one
// at its end. The metric hears of each attempt.
type outage struct {
	log    *slog.Logger
	report func(error)
	since  time.Time
	text   string
}

func newOutage(env Env, kind, subject string) *outage {
	o := &outage{log: env.Log, report: env.Failed}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	if o.report == nil {
		o.report = func(error) {}
	}
	o.log = o.log.With(kind, subject)
	return o
}

// failed counts an attempt. Another error than the one before is worth another
// line only if loudly, because errors of networks alternate for ever.
func (o *outage) failed(err error, loudly bool) {
	o.report(err)
	if o.since.IsZero() {
		o.since = time.Now()
	} else if !loudly || o.text == err.Error() {
		return
	}
	o.text = err.Error()
	o.log.Warn("discovery fails, the last endpoints stay in use", "error", o.text)
}

// over ends the outage, if there was one.
func (o *outage) over() {
	if o.since.IsZero() {
		return
	}
	o.log.Info("discovery works again", "outage", time.Since(o.since).Round(time.Millisecond))
	o.since, o.text = time.Time{}, ""
}

// pause waits for d or for the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
