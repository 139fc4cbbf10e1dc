package upstream

import (
	"net/http"
	"time"
)

// observeHead tells the endpoint's stats how long it took for the head of its
// answer. The time in which the client was to send more is not the endpoint's,
// and an answer that came before the client had sent everything tells nothing.
// An error is a failure even if it came fast. A stream begins when there is
// something to tell, so its head says nothing of load; gRPC calls are not known
// to be streams before they end, and most are none.
func (a *attempt) observeHead(now time.Time, status int, stream bool) {
	if status >= http.StatusInternalServerError {
		a.ep.Stats.Latency.Fail(now)
	} else if waited, ok := a.watch.waited(now); ok {
		a.ep.Stats.Latency.Observe(now, waited)
		a.ep.Stats.Conduct.Took.Add(waited)
		if !stream || a.grpc {
			a.x.UpstreamWaited = waited
		}
	}
}

// waited is how long the endpoint has been the one to move at now; ok is false
// when it is the client's turn.
func (w *watchdog) waited(now time.Time) (d time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since == paused {
		return 0, false
	}
	return now.Sub(w.start) - w.since, true
}
