package upstream

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
)

// errHedged ends an attempt whose answer nobody waits for any more. It is nobody's
// failure.
var errHedged = &gateway.Error{Status: gateway.StatusClientClosed, Reason: "hedged", Msg: "another attempt was faster", Cause: gateway.CauseGateway}

// race are the attempts of one round that run beside each other. Each has an
// exchange of its own, so that the goroutine that serves the request is the only
// one that writes to the request's.
type race struct {
	r       *rounds
	ends    chan *leg // has room for all
	legs    []*leg
	pending int

	mu   sync.Mutex
	over bool // nobody takes from ends any more
}

// leg is one of those attempts.
type leg struct {
	x      *gateway.Exchange
	ep     *gateway.Endpoint
	begun  time.Time
	cancel context.CancelCauseFunc
	hedge  bool // it was begun beside another one
	ended  bool // and is not in the way of the others

	resp   *http.Response
	err    error
	unsent bool
}

// hedges says whether the request may have a second attempt beside the first one:
// it may reach the service twice at the same time, so it must be safe to repeat
// and have nothing that two would have to read.
func (r *rounds) hedges() bool {
	return r.p.Hedge != nil && r.safe && r.body == nil && !gateway.IsStream(r.req)
}

// hedged is a round with further attempts beside the first one if that takes
// long. The first answer that nobody would ask for again is taken.
func (r *rounds) hedged(ep *gateway.Endpoint, again bool) (resp *http.Response, unsent bool, err error) {
	policy := r.p.Hedge
	race := &race{r: r, ends: make(chan *leg, 1+2*policy.Max+maxFailovers)}
	race.launch(ep, false, again)
	var late <-chan time.Time // never, while nobody knows what is long
	if d := r.hedgeAfter(); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		late = timer.C
		for left := policy.Max; left > 0 && race.pending > 0; {
			select {
			case l := <-race.ends:
				if race.done(l) {
					return race.take(l)
				}
			case <-late:
				if left--; !race.hedge() {
					left = 0
				}
				timer.Reset(d)
			}
		}
	}
	for {
		if l := <-race.ends; race.done(l) {
			return race.take(l)
		}
	}
}

// hedgeAfter is how long an attempt may take until there is another one beside it.
func (r *rounds) hedgeAfter() time.Duration {
	h := r.p.Hedge
	if h.After > 0 {
		return h.After
	}
	if d := r.c.opts.Stats.hedges.quantile(r.c.opts.Stats, h.Share); d > 0 {
		return max(d, h.Least)
	}
	return 0
}

// launch begins an attempt at ep, where a place is taken.
func (race *race) launch(ep *gateway.Endpoint, hedge, again bool) {
	r := race.r
	req := r.next()
	ctx, cancel := context.WithCancelCause(req.Context())
	l := &leg{x: r.x.Beside(), ep: ep, begun: time.Now(), cancel: cancel, hedge: hedge}
	if r.x.UpstreamStart.IsZero() {
		r.x.UpstreamStart = l.begun
	}
	r.x.Attempts++
	r.passed = append(r.passed, ep)
	race.legs = append(race.legs, l)
	race.pending++
	c := r.c
	go func() {
		l.resp, l.unsent, l.err = c.try(l.x, ep, req.WithContext(ctx), hedge || again) //nolint:bodyclose // whoever takes the leg does
		race.mu.Lock()
		defer race.mu.Unlock()
		if !race.over {
			race.ends <- l
		} else if l.resp != nil {
			_ = l.resp.Body.Close() // the race is over
		}
	}()
}

// hedge begins another attempt, if there are an endpoint and a budget for it.
func (race *race) hedge() bool {
	r := race.r
	if !r.c.opts.Stats.retries.allow(r.p.Budget) {
		r.c.opts.Stats.hedges.counts[hedgeBudget].Add(1)
		return false
	}
	ep := r.c.another(r.x, r.passed)
	if ep == nil {
		r.c.opts.Stats.hedges.counts[hedgeNowhere].Add(1)
		return false
	}
	race.launch(ep, true, false)
	return true
}

// done says whether l is what the round ends with. If not, others are still on
// their way, or one has been sent in its place.
func (race *race) done(l *leg) bool {
	r := race.r
	l.ended = true
	race.pending--
	if l.err == nil && r.wants(l.resp, nil, false) == wishNone {
		return true
	}
	if l.unsent && len(race.legs) <= r.p.Hedge.Max+maxFailovers && !isRefusal(l.err) {
		if ep := r.c.another(r.x, r.passed); ep != nil {
			race.launch(ep, l.hedge, false)
			return false
		}
	}
	if race.pending == 0 {
		return true
	}
	if l.resp != nil {
		discard(l.resp)
	}
	return false
}

// take ends the race with l, and the others with it.
func (race *race) take(l *leg) (*http.Response, bool, error) {
	r := race.r
	race.mu.Lock()
	race.over = true
	race.mu.Unlock()
	counts := &r.c.opts.Stats.hedges.counts
	for _, other := range race.legs {
		if other.hedge {
			if other == l && l.err == nil {
				counts[hedgeWon].Add(1)
			} else {
				counts[hedgeLost].Add(1)
			}
		}
		if other == l || other.ended {
			continue
		}
		other.cancel(errHedged)
		if !other.hedge {
			// That it took so long at least must be known, or the slow ones would look
			// fast for never coming to an end.
			other.ep.Stats.Conduct.Took.Add(time.Since(other.begun))
		}
	}
	for len(race.ends) > 0 { // they came in the same moment
		if late := <-race.ends; late.resp != nil {
			discard(late.resp)
		}
	}
	r.x.Endpoint, r.x.UpstreamHeaders, r.x.UpstreamEnd = l.ep, l.x.UpstreamHeaders, l.x.UpstreamEnd
	r.x.Anatomy.Follow(&l.x.Anatomy)
	r.x.UpstreamWaited = l.x.UpstreamWaited
	if l.resp != nil {
		if b, ok := l.resp.Body.(*answerBody); ok {
			b.a.x = r.x // which nobody else looks at between the head and the first read
		}
	}
	return l.resp, l.unsent, l.err
}
