package middleware

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/breaker"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "circuit_breaker", CircuitBreakerConfig{
		FailureRatio: 0.5, Minimum: 20, Window: 10 * time.Second, Slow: 2 * time.Second,
		Codes: []StatusRange{{500, 500}, {502, 504}},
		GRPC:  []GRPCCode{"unknown", "deadline_exceeded", "internal", "unavailable"},
		Open:  10 * time.Second, MaxOpen: 2 * time.Minute, Probes: 3, ProbeTimeout: 10 * time.Second, Recovery: 10 * time.Second,
		Per: "upstream",
	}, newCircuitBreaker)
}

// circuitBreaker is the running middleware, and the policy that clusters carry
// out attempt by attempt. It never changes after newCircuitBreaker.
type circuitBreaker struct {
	group    *breaker.Group
	per      breaker.Per
	last     atomic.Pointer[knownBreaker] // most routes have but one
	codes    []StatusRange
	grpc     []int
	slow     time.Duration
	fallback http.RoundTripper // nil: none
	notGRPC  bool              // the fallback means nothing to gRPC
	bridge   bool              // what a cache has stored comes first
	config   CircuitBreakerConfig
}

// knownBreaker spares a search.
type knownBreaker struct {
	key     breaker.Key
	breaker *breaker.Breaker
}

var _ gateway.Circuit = (*circuitBreaker)(nil)

func newCircuitBreaker(c CircuitBreakerConfig, env Env) (gateway.Step, error) {
	if env.To == nil {
		return gateway.Step{}, kind.At("", "circuit_breaker needs a route with an upstream (`to:`)")
	}
	registry, err := keep.Get(env.Keep, breaker.Kept, func() (*breaker.Registry, error) { return breaker.NewRegistry(), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	group, err := keep.Get(env.Keep, "circuit_breaker/"+env.Key, func() (*breaker.Group, error) {
		return breaker.NewGroup(blockName("circuit_breaker", env.Key), c.settings(), env.Log), nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &circuitBreaker{group: group, per: breakerScopes[c.Per], codes: c.Codes, slow: c.Slow, config: c}
	for _, code := range c.GRPC {
		m.grpc = append(m.grpc, code.number())
	}
	if c.Fallback != nil {
		if err := m.fallBack(c.Fallback, env); err != nil {
			return gateway.Step{}, err
		}
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Start: func() []<-chan struct{} {
		group.Configure(c.settings(), m.per)
		if registry.Add(group) {
			group.OnClose(env.Process.WatchBreakers(group.Name(), func() []obs.BreakerState { return breakerStates(group) }))
		}
		return nil
	}}
	if m.bridge {
		step.Behind = "cache"
	}
	return step, nil
}

// of is the breaker for x at ep of an upstream.
func (m *circuitBreaker) of(x *gateway.Exchange, upstream string, ep *gateway.Endpoint) *breaker.Breaker {
	k := m.key(x, upstream, ep)
	last := m.last.Load()
	if last != nil && last.key == k {
		return last.breaker
	}
	b := m.group.Get(k)
	if last == nil && m.per != breaker.PerEndpoint { // those may be forgotten
		m.last.Store(&knownBreaker{k, b})
	}
	return b
}

func (m *circuitBreaker) key(x *gateway.Exchange, upstream string, ep *gateway.Endpoint) breaker.Key {
	k := breaker.Key{Per: m.per, Of: upstream}
	switch {
	case m.per == breaker.PerRoute:
		k.Of = x.Route
	case m.per == breaker.PerArm:
		k.Part = x.Arm
	case m.per == breaker.PerEndpoint && ep != nil:
		k.Part = ep.Addr
	}
	return k
}

func (m *circuitBreaker) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gateway.ExchangeOf(r).Circuit = m
		next.ServeHTTP(w, r)
	})
}

// Passes implements gateway.Circuit.
func (m *circuitBreaker) Passes(x *gateway.Exchange, upstream string, ep *gateway.Endpoint) bool {
	return m.of(x, upstream, ep).Passes()
}

// PerEndpoint implements gateway.Circuit.
func (m *circuitBreaker) PerEndpoint() bool { return m.per == breaker.PerEndpoint }

// Admit implements gateway.Circuit.
func (m *circuitBreaker) Admit(x *gateway.Exchange, upstream string, ep *gateway.Endpoint) (gateway.Admission, bool) {
	return m.of(x, upstream, ep).Admit()
}

// Refused implements gateway.Circuit. With a breaker for each endpoint it is for
// when all of them are open; which one closes first is not worth the search.
func (m *circuitBreaker) Refused(x *gateway.Exchange, upstream string) *gateway.Error {
	after := time.Second
	if m.per != breaker.PerEndpoint {
		after = m.of(x, upstream, nil).RetryAfter()
	}
	return &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: "circuit_open", Msg: "the service has failed and is given time to recover",
		Cause: gateway.CauseUpstream, RetryAfter: after, Bridge: m.bridge,
	}
}

// Instead implements gateway.Circuit. Where a cache has an answer, the refusal is
// what makes it give that one.
func (m *circuitBreaker) Instead(x *gateway.Exchange) http.RoundTripper {
	if m.bridge && x.Stored || m.notGRPC && x.Request != nil && gateway.IsGRPC(x.Request) {
		return nil
	}
	return m.fallback
}

// FailedStatus implements gateway.Circuit.
func (m *circuitBreaker) FailedStatus(code int) bool {
	return slices.ContainsFunc(m.codes, func(s StatusRange) bool { return s.From <= code && code <= s.To })
}

// grpcDeadline is DEADLINE_EXCEEDED.
const grpcDeadline = 4

// FailedGRPC implements gateway.Circuit. A caller that gives a service no time gets
// DEADLINE_EXCEEDED from it, which is the caller's doing: it counts only if the
// service has had the time after which an answer is slow.
func (m *circuitBreaker) FailedGRPC(code int, took time.Duration, own bool) bool {
	if code == grpcDeadline && own && took < m.slow {
		return false
	}
	return slices.Contains(m.grpc, code)
}

func (m *circuitBreaker) explain(_ *http.Request, x *gateway.Exchange) string {
	x.Circuit = m
	text := []string{m.config.describe()}
	for _, s := range m.group.List() {
		if m.per == breaker.PerEndpoint || s.Info.State == breaker.Closed || s.Key != m.key(x, x.Upstream, nil) {
			continue
		}
		text = append(text, fmt.Sprintf("now %s (%s)", s.Info.State, cmp.Or(s.Info.Why, "forced")))
	}
	return strings.Join(text, "; ")
}

// breakerStates is the state of a group for the metrics.
func breakerStates(g *breaker.Group) (all []obs.BreakerState) {
	for _, s := range g.List() {
		state := obs.BreakerState{
			Name: s.Name, State: int(s.Info.State),
			Transitions: make(map[string]uint64, breaker.States),
			Refused:     s.Info.TotalRefused, Failures: s.Info.TotalFailures, Slow: s.Info.TotalSlow,
		}
		switch s.Key.Per {
		case breaker.PerUpstream:
			state.Upstream = s.Key.Of
		case breaker.PerArm:
			state.Upstream, state.Arm = s.Key.Of, s.Key.Part
		case breaker.PerEndpoint:
			state.Upstream, state.Endpoint = s.Key.Of, s.Key.Part
		case breaker.PerRoute: // the name says it
		}
		for to, n := range s.Info.Changes {
			state.Transitions[breaker.State(to).String()] = n
		}
		all = append(all, state)
	}
	return all
}
