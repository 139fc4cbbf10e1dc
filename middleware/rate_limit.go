package middleware

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/limiter/shared"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "rate_limit", RateLimitConfig{
		Key: []RateLimitKey{{word: keyClient}}, OnMissing: keyClient, IPv4Prefix: 32, IPv6Prefix: 64,
		Cost: 1, Headers: headersStandard, MaxKeys: 100_000, OnStoreError: shared.OnErrorLocal,
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

func newRateLimit(c RateLimitConfig, env Env) (gateway.Step, error) {
	limits := c.limits()
	registry, err := limitsOf(env)
	if err != nil {
		return gateway.Step{}, err
	}
	buckets, err := newRateBuckets(c, limits, env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &rateLimit{
		buckets: buckets, key: newRateKey(c, env.Route), onMissing: c.OnMissing,
		cost: c.Cost, costHeader: http.CanonicalHeaderKey(c.CostHeader), dryRun: c.DryRun,
		announce: c.Announce && !c.DryRun, headers: newRateHeaders(c.Headers, limits), metrics: env.Metrics,
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Start: func() []<-chan struct{} {
		return buckets.start(&rateFacts{config: c, limits: limits, key: m.key}, env, registry)
	}}
	if slices.ContainsFunc(c.Key, RateLimitKey.proven) {
		step.Needs = []gateway.Identity{gateway.Subject}
	}
	return step, nil
}

func (m *rateLimit) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, ok := m.key.append(make([]byte, 0, keyRoom), r, gateway.ExchangeOf(r))
		switch {
		case ok:
		case m.onMissing == missingSkip:
			next.ServeHTTP(w, r)
			return
		case m.onMissing == missingReject:
			gateway.Fail(w, r, errNoKey)
			return
		}
		key := m.buckets.hash(id)
		if d := m.buckets.take(key, id, m.cost); !d.OK {
			if !m.dryRun {
				m.metrics().Limited(cmp.Or(d.Limit, noLimit), "refused")
				m.refuse(w, r, key, d)
				return
			}
			m.metrics().Limited(cmp.Or(d.Limit, noLimit), "dry_run")
		}
		if m.costHeader == "" && !m.announce {
			next.ServeHTTP(w, r)
			return
		}
		m.follow(w, r, next, key, bytes.Clone(id))
	})
}

// follow looks at the answer.
func (m *rateLimit) follow(w http.ResponseWriter, r *http.Request, next http.Handler, key uint64, id []byte) {
	head := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.answered(h, key, id) }}
	next.ServeHTTP(head, r)
	head.finish()
}

const (
	keyRoom = 256     // longer keys cost an allocation
	noLimit = "store" // the limit of those who are refused because Redis is away
)

// errNoKey is for requests without what the limit goes by.
var errNoKey = &gateway.Error{
	Status: http.StatusBadRequest, Reason: "rate_limit_key",
	Msg: "the request does not hold what its rate is limited by", Cause: gateway.CauseClient,
}

// grpcExhausted is RESOURCE_EXHAUSTED. What HTTP's 429 maps to, UNAVAILABLE, would ask
// for a retry.
const grpcExhausted = 8

func (m *rateLimit) refuse(w http.ResponseWriter, r *http.Request, key uint64, d limiter.Decision) {
	if d.Limit == "" {
		gateway.Fail(w, r, &gateway.Error{
			Status: http.StatusTooManyRequests, GRPC: grpcExhausted, Reason: "rate_limit_store", Msg: "too many requests",
			Cause: gateway.CauseGateway, RetryAfter: d.Wait,
		})
		return
	}
	head := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.headers.set(h, m.buckets, key) }}
	gateway.Fail(head, r, &gateway.Error{
		Status: http.StatusTooManyRequests, GRPC: grpcExhausted, Reason: "rate_limited", Msg: "too many requests",
		Cause: gateway.CauseClient, RetryAfter: d.Wait,
	})
}

// answered is called with the head of the answer of a request that has passed.
func (m *rateLimit) answered(h http.Header, key uint64, id []byte) {
	if m.costHeader != "" {
		if values := h[m.costHeader]; len(values) == 1 {
			cost, err := strconv.ParseInt(values[0], 10, 64)
			if err == nil && cost > m.cost {
				m.buckets.charge(key, id, cost-m.cost)
			}
		}
	}
	if m.announce {
		m.headers.set(h, m.buckets, key)
	}
}

func (m *rateLimit) explain(r *http.Request, x *gateway.Exchange) string {
	id, ok := m.key.append(nil, r, x)
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
	if m.buckets.shared != nil {
		return fmt.Sprintf("goes by %s; what is left of the limits, %s knows", by, m.buckets.store.Name())
	}
	key := m.buckets.hash(id)
	left := m.headers.text(m.buckets.levels(key, nil))
	d := m.buckets.table.Peek(key, m.cost)
	switch {
	case d.OK:
		return fmt.Sprintf("passes, by %s; %s", by, left)
	case m.dryRun:
		return fmt.Sprintf("passes, because of dry_run; %s is used up for %s, by %s; %s", d.Limit, d.Wait.Round(time.Millisecond), by, left)
	}
	x.Status = http.StatusTooManyRequests
	return fmt.Sprintf("answers 429 (rate_limited): %s is used up for %s, by %s; %s", d.Limit, d.Wait.Round(time.Millisecond), by, left)
}
