package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "retry", RetryConfig{
		Attempts: 2,
		On:       []RetryCondition{"connect_failure", "reset", "timeout"},
		Codes:    []StatusRange{{502, 504}},
		Methods:  []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"},
		Body:     64 * kind.KiB,
		Backoff:  RetryBackoff{Base: 25 * time.Millisecond, Max: 250 * time.Millisecond},
		Budget:   RetryBudget{Percent: 20, Min: 3, Window: 10 * time.Second},

		LeaveCanary: true,
	}, newRetry)
}

// RetryConfig sends a request again when an attempt fails, to another endpoint if
// there is one. `retry` alone, with its defaults, is a good beginning.
//
//	retry: {attempts: 2, codes: [502-504], per_try_timeout: 2s}
//
// A request may reach the service twice only if its method allows that, and only
// while its body can be sent again. What the client causes is never retried, and
// the route's `timeout` bounds everything together, waits included. A WebSocket
// handshake is sent again only if nothing of it has left.
//
// Beside this, and without it, a request that finds no connection to an endpoint
// is offered to up to two others at once, whatever its method: nothing of it has left.
//
// Of two blocks in `use`, the second one counts.
type RetryConfig struct {
	// Attempts is how often a request is sent again, 0 to 10. 0 leaves only
	// `per_try_timeout` and `hedge`. Default: 2.
	Attempts int `yaml:"attempts"`
	// On lists the failures without an answer: `connect_failure` (also when no
	// other endpoint is left), `reset` (the connection ended before the head of the
	// answer) and `timeout` (the head did not come within `per_try_timeout` or the
	// upstream's `timeouts.response`). Default: all three.
	On []RetryCondition `yaml:"on"`
	// Codes are statuses of answers that are not handed on while there are attempts
	// left: one as `503`, several as `502-504` or `5xx`. Default: 502-504.
	Codes []StatusRange `yaml:"codes"`
	// GRPC are statuses of gRPC calls that are made again: `unavailable`,
	// `resource_exhausted` and so on. Only calls whose answer is a status without a
	// message are, whatever `methods` says. Default: none.
	GRPC []GRPCCode `yaml:"grpc"`
	// PerTryTimeout is how long one attempt may wait for the head of the answer. As
	// with the upstream's `timeouts.response`, time in which the client is to send
	// more does not count; for gRPC it begins when the client has sent everything.
	// After the last attempt the client gets a 504. Default: none but the upstream's.
	PerTryTimeout time.Duration `yaml:"per_try_timeout"`
	// Backoff is the wait before a request is sent again.
	Backoff RetryBackoff `yaml:"backoff"`
	// Methods may reach the service twice. POST and PATCH belong here only if
	// the service recognises a repetition. Default: GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
	Methods []string `yaml:"methods"`
	// Body is how many bytes of a request's body are kept, in memory, to be sent
	// again. Longer bodies pass as if there were no limit, and are sent once. Default: 64KiB.
	Body kind.Size `yaml:"body"`
	// Budget bounds the retries of an upstream.
	Budget RetryBudget `yaml:"budget"`
	// LeaveCanary makes a request of a canary's arm that failed go to the stable arm
	// when it is sent again, which may be another upstream. The log and the metrics
	// then say `stable`, decided by `retry`; what keeps the client at its arm stays
	// as it is. A client that asked for the arm by header or by `force_cookie`, and
	// an arm with headers of its own, are not taken elsewhere. Default: true.
	LeaveCanary bool `yaml:"leave_canary"`
	// Hedge sends a request to a second endpoint when the first one takes long, and
	// uses the answer that comes first. Default: off.
	Hedge *RetryHedge `yaml:"hedge"`
}

// RetryHedge is a second attempt beside one that takes long. The answer that comes
// first is used, unless it is one that `retry` would ask for again and others are
// on their way; the other attempt is ended, which counts against nobody. It is made
// within the budget, at an endpoint that has not had the request, and only for
// requests whose method is one of `methods`, that have no body and ask for no stream.
//
//	retry: {hedge: {after: p95, minimum: 10ms}}
type RetryHedge struct {
	// After is what takes long: a share of the upstream's latest answers, as `p95`
	// (50 to 99.9), or a time. Without at least 20 answers there is no share, and
	// no second attempt. Default: p95.
	After HedgeAfter `yaml:"after"`
	// Minimum is what takes long at least, if `after` is a share. Default: 10ms.
	Minimum time.Duration `yaml:"minimum"`
	// Max is how many attempts there may be beside the first one, each after the same
	// time again, 1 to 3. Default: 1.
	Max int `yaml:"max"`
}

// SetDefaults sets the values that the comments of the fields name.
func (h *RetryHedge) SetDefaults() {
	*h = RetryHedge{After: HedgeAfter{Share: 0.95}, Minimum: 10 * time.Millisecond, Max: 1}
}

// RetryBackoff is the wait before a request is sent again: a random time up to a
// limit that doubles with each attempt. `min`, or what an answer asks for with
// Retry-After if that is more, comes on top; an answer that asks for more time
// than the request has left is handed on (more than 30s, when the request has no
// limit).
type RetryBackoff struct {
	// Min is the least wait. Default: 0s.
	Min time.Duration `yaml:"min"`
	// Base is the limit of the first wait. Default: 25ms.
	Base time.Duration `yaml:"base"`
	// Max is the limit of every wait. Default: 250ms.
	Max time.Duration `yaml:"max"`
}

// RetryBudget keeps retries from becoming the load that a service fails under. All
// routes count into the same numbers of an upstream, which outlive reloads, and
// each holds them against its own limits: a retry is made if less than
// `percent` of the requests with a `retry` that came within the window, or less
// than `min`, have been made within the window or are still on their way.
type RetryBudget struct {
	// Percent of the requests, 0 to 100. Default: 20.
	Percent int `yaml:"percent"`
	// Min is the number of retries within the window that is always allowed. Default: 3.
	Min int `yaml:"min"`
	// Window is 1s to 60s, in whole seconds. Default: 10s.
	Window time.Duration `yaml:"window"`
}

// Validate checks what does not depend on the route.
func (c RetryConfig) Validate() error {
	var errs []error
	if c.Attempts < 0 || c.Attempts > 10 {
		errs = append(errs, kind.At("attempts", "%d is not from 0 to 10", c.Attempts))
	}
	if c.Attempts == 0 && c.PerTryTimeout == 0 && c.Hedge == nil {
		errs = append(errs, kind.At("attempts", "0 does nothing without per_try_timeout or hedge"))
	}
	if c.Attempts > 0 && len(c.On)+len(c.Codes)+len(c.GRPC) == 0 {
		errs = append(errs, kind.At("", "retries nothing; give on, codes or grpc"))
	}
	for i, method := range c.Methods {
		switch {
		case !grammar.IsToken(method) || method != strings.ToUpper(method):
			errs = append(errs, kind.At(fmt.Sprintf("methods[%d]", i), "%q is no method; write for example POST", method))
		case method == http.MethodConnect:
			errs = append(errs, kind.At(fmt.Sprintf("methods[%d]", i), "CONNECT is never passed on"))
		}
	}
	if c.Body > 16*kind.MiB {
		errs = append(errs, kind.At("body", "%s is kept for every request on its way; at most 16MiB", c.Body))
	}
	return errors.Join(errs...)
}

// Validate checks the waits.
func (c RetryBackoff) Validate() error {
	if c.Max < c.Base {
		return kind.At("max", "%s is less than base, %s", c.Max, c.Base)
	}
	return nil
}

// Validate checks the numbers.
func (h RetryHedge) Validate() error {
	var errs []error
	if h.Max < 1 || h.Max > 3 {
		errs = append(errs, kind.At("max", "%d is not from 1 to 3", h.Max))
	}
	if h.After.Time > 0 && h.Minimum > h.After.Time {
		errs = append(errs, kind.At("minimum", "%s is more than after, %s, which is a fixed time", h.Minimum, h.After.Time))
	}
	return errors.Join(errs...)
}

// Validate checks the limits.
func (c RetryBudget) Validate() error {
	var errs []error
	if c.Percent < 0 || c.Percent > 100 {
		errs = append(errs, kind.At("percent", "%d is not from 0 to 100", c.Percent))
	}
	if c.Min < 0 || c.Min > 1_000_000 {
		errs = append(errs, kind.At("min", "%d is not from 0 to 1000000", c.Min))
	}
	if c.Window < time.Second || c.Window > gateway.MaxRetryWindow || c.Window%time.Second != 0 {
		errs = append(errs, kind.At("window", "%s is not 1s to 60s in whole seconds", c.Window))
	}
	if c.Percent == 0 && c.Min == 0 {
		errs = append(errs, kind.At("", "allows no retries; give percent or min"))
	}
	return errors.Join(errs...)
}

// retry is the running middleware. The cluster does the work.
type retry struct {
	policy gateway.Retry
	text   string
}

func newRetry(c RetryConfig, _ Env) (gateway.Step, error) {
	m := &retry{policy: gateway.Retry{
		Attempts: c.Attempts, PerTry: c.PerTryTimeout, Methods: c.Methods, Body: int64(c.Body),
		BackoffMin: c.Backoff.Min, BackoffBase: c.Backoff.Base, BackoffMax: c.Backoff.Max,
		Budget: gateway.RetryBudget{Percent: c.Budget.Percent, Min: c.Budget.Min, Window: c.Budget.Window},
	}}
	m.policy.LeaveCanary = c.LeaveCanary
	if h := c.Hedge; h != nil {
		m.policy.Hedge = &gateway.Hedge{After: h.After.Time, Share: h.After.Share, Least: h.Minimum, Max: h.Max}
	}
	for _, on := range c.On {
		m.policy.On |= retryConditions[on]
	}
	for _, s := range c.Codes {
		m.policy.Statuses = append(m.policy.Statuses, gateway.StatusRange(s))
	}
	for _, code := range c.GRPC {
		m.policy.GRPC = append(m.policy.GRPC, code.number())
	}
	m.text = describeRetry(c)
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *retry) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gateway.ExchangeOf(r).Retry = &m.policy
		next.ServeHTTP(w, r)
	})
}

func (m *retry) explain(r *http.Request, x *gateway.Exchange) string {
	x.Retry = &m.policy
	switch {
	case m.policy.Attempts == 0:
		return m.text
	case r.Header.Get("Upgrade") != "":
		return m.text + "; this handshake only while nothing of it has left"
	case !m.policy.Method(r.Method) && !gateway.IsGRPC(r):
		return m.text + fmt.Sprintf("; %s only while nothing of it has left", r.Method)
	}
	return m.text
}

// describeRetry says in words what c does.
func describeRetry(c RetryConfig) string {
	each := ""
	if c.PerTryTimeout > 0 {
		each = fmt.Sprintf("each attempt within %s", c.PerTryTimeout)
	}
	if c.Hedge != nil {
		hedge := fmt.Sprintf("%d more beside one that takes longer than %s", c.Hedge.Max, c.Hedge.After)
		each = strings.TrimPrefix(each+"; "+hedge, "; ")
	}
	if c.Attempts == 0 {
		return each
	}
	var on []string
	for _, one := range c.On {
		on = append(on, string(one))
	}
	for _, one := range c.Codes {
		on = append(on, one.String())
	}
	for _, one := range c.GRPC {
		on = append(on, "grpc "+string(one))
	}
	parts := []string{fmt.Sprintf("up to %d more attempts on %s", c.Attempts, strings.Join(on, ", "))}
	if each != "" {
		parts = append(parts, each)
	}
	waits := "waits"
	if c.Backoff.Min > 0 {
		waits = fmt.Sprintf("waits %s and", c.Backoff.Min)
	}
	return strings.Join(append(parts,
		fmt.Sprintf("%s up to %s, then to %s", waits, c.Backoff.Base, c.Backoff.Max),
		fmt.Sprintf("budget %d%% of requests or %d within %s", c.Budget.Percent, c.Budget.Min, c.Budget.Window)), "; ")
}
