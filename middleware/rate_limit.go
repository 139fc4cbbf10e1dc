package middleware

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "rate_limit", RateLimitConfig{
		Key: []RateLimitKey{{word: keyClient}}, OnMissing: keyClient, IPv4Prefix: 32, IPv6Prefix: 64,
		Cost: 1, Headers: headersStandard, MaxKeys: 100_000,
	}, newRateLimit)
}

// rateLimit is the running middleware. It never changes after newRateLimit.
type rateLimit struct {
	buckets    *rateBuckets
	key        rateKey
	onMissing  string
	cost       int64
	costHeader string
	dryRun     bool
	announce   bool
	headers    rateHeaders
	metrics    func() *obs.Route
}

// rateBuckets are what all routes with one block share, and reloads leave alone.
type rateBuckets struct {
	*limiter.Table
	show   sync.Once
	forget func()
}

// Close implements io.Closer.
func (b *rateBuckets) Close() error {
	b.show.Do(func() {}) // whoever comes now is too late
	if b.forget != nil {
		b.forget()
	}
	return nil
}

func newRateLimit(c RateLimitConfig, env Env) (gateway.Step, error) {
	limits := c.limits()
	buckets, err := keep.Get(env.Keep, "rate_limit/"+env.Key, func() (*rateBuckets, error) {
		return &rateBuckets{Table: limiter.New(limits, c.MaxKeys)}, nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &rateLimit{
		buckets: buckets, key: newRateKey(c, env.Route, buckets.Table), onMissing: c.OnMissing,
		cost: c.Cost, costHeader: http.CanonicalHeaderKey(c.CostHeader), dryRun: c.DryRun,
		announce: c.Announce && !c.DryRun, headers: newRateHeaders(c.Headers, limits), metrics: env.Metrics,
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Start: func() []<-chan struct{} {
		buckets.Configure(limits, c.MaxKeys)
		buckets.show.Do(func() { buckets.forget = env.Process.WatchLimiter(env.Key, buckets.state) })
		return nil
	}}
	if slices.Contains(c.Key, RateLimitKey{word: keySubject}) {
		step.Needs = []gateway.Identity{gateway.Subject}
	}
	return step, nil
}

func (b *rateBuckets) state() obs.LimiterState {
	s := b.Stats()
	return obs.LimiterState{Keys: s.Keys, Crowded: s.Crowded}
}

func (m *rateLimit) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := m.key.of(r, gateway.ExchangeOf(r))
		switch {
		case ok:
		case m.onMissing == missingSkip:
			next.ServeHTTP(w, r)
			return
		case m.onMissing == missingReject:
			gateway.Fail(w, r, errNoKey)
			return
		}
		if d := m.buckets.Take(key, m.cost); !d.OK {
			if !m.dryRun {
				m.metrics().Limited(d.Limit, "refused")
				m.refuse(w, r, key, d)
				return
			}
			m.metrics().Limited(d.Limit, "dry_run")
		}
		if m.costHeader == "" && !m.announce {
			next.ServeHTTP(w, r)
			return
		}
		head := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.answered(h, key) }}
		next.ServeHTTP(head, r)
		head.finish()
	})
}

// errNoKey is for requests without what the limit goes by.
var errNoKey = &gateway.Error{
	Status: http.StatusBadRequest, Reason: "rate_limit_key",
	Msg: "the request does not hold what its rate is limited by", Cause: gateway.CauseClient,
}

// grpcExhausted is RESOURCE_EXHAUSTED. What HTTP's 429 maps to, UNAVAILABLE, would ask
// for a retry.
const grpcExhausted = 8

func (m *rateLimit) refuse(w http.ResponseWriter, r *http.Request, key uint64, d limiter.Decision) {
	head := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.headers.set(h, m.buckets.Table, key) }}
	gateway.Fail(head, r, &gateway.Error{
		Status: http.StatusTooManyRequests, GRPC: grpcExhausted, Reason: "rate_limited", Msg: "too many requests",
		Cause: gateway.CauseClient, RetryAfter: d.Wait,
	})
}

// answered is called with the head of the answer of a request that has passed.
func (m *rateLimit) answered(h http.Header, key uint64) {
	if m.costHeader != "" {
		if values := h[m.costHeader]; len(values) == 1 {
			cost, err := strconv.ParseInt(values[0], 10, 64)
			if err == nil && cost > m.cost {
				m.buckets.Charge(key, cost-m.cost)
			}
		}
	}
	if m.announce {
		m.headers.set(h, m.buckets.Table, key)
	}
}

func (m *rateLimit) explain(r *http.Request, x *gateway.Exchange) string {
	key, ok := m.key.of(r, x)
	by := m.key.String()
	if !ok {
		switch m.onMissing {
		case missingSkip:
			return fmt.Sprintf("passes: the request has no %s", by)
		case missingReject:
			x.Status = errNoKey.Status
			return fmt.Sprintf("answers %d (%s): the request has no %s", errNoKey.Status, errNoKey.Reason, by)
		}
		by += ", of which something is missing, so that the client's address takes its place"
	}
	left := m.headers.text(m.buckets.Table, key)
	d := m.buckets.Peek(key, m.cost)
	switch {
	case d.OK:
		return fmt.Sprintf("passes, by %s; %s", by, left)
	case m.dryRun:
		return fmt.Sprintf("passes, because of dry_run; %s is used up for %s, by %s; %s", d.Limit, d.Wait.Round(time.Millisecond), by, left)
	}
	x.Status = http.StatusTooManyRequests
	return fmt.Sprintf("answers 429 (rate_limited): %s is used up for %s, by %s; %s", d.Limit, d.Wait.Round(time.Millisecond), by, left)
}
