package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/obs"
)

// authService is what blocks that ask the same service in the same way share, and reloads
// leave alone: whether it is to be asked, and what has become of the questions.
type authService struct {
	shown
	breaker *gobreaker.CircuitBreaker[*authVerdict]

	hits, allowed, denied, failed, late, skipped atomic.Uint64
}

// errAuthNonsense says that the service is there, but its answer to this request is none. Who
// knows a request that makes it fail must not have it left alone for all others.
var errAuthNonsense = errors.New("the answer cannot be used")

func newAuthService(c ForwardAuthConfig, env Env) *authService {
	return &authService{breaker: newProviderBreaker[*authVerdict](c.To, func(err error) bool { return err == nil || errors.Is(err, errAuthNonsense) },
		func(err error) bool { return gateway.AsError(err).Cause == gateway.CauseClient },
		func(from, to gobreaker.State) {
			env.Log.Warn("forward_auth", "upstream", c.To, "path", c.Path, "breaker", to.String(), "was", from.String())
		})}
}

// meaning is the same for blocks that ask alike.
func (c ForwardAuthConfig) meaning() string {
	return fmt.Sprintf("%q %q %q %q %s", c.To, c.Path, c.Method, c.Host, c.Timeout)
}

// meaningOfAnswers is the same for blocks whose answers say the same.
func (c ForwardAuthConfig) meaningOfAnswers() string {
	return fmt.Sprintf("%s %q %q %q %+v", c.meaning(), canonicalNames(c.RequestHeaders), c.ResponseHeaders, c.SubjectHeader, *c.Cache)
}

// decide is what the service says of a request, from memory if it is there.
func (m *forwardAuth) decide(r *http.Request, x *gateway.Exchange, body []byte) (*authVerdict, error) {
	if m.answers == nil {
		return m.ask(r, x, body)
	}
	key := m.cacheKey(r, x)
	if v := m.answers.get(key, time.Now()); v != nil {
		m.service.hits.Add(1)
		return v, nil
	}
	v, err := m.ask(r, x, body)
	if err == nil {
		now := time.Now()
		m.answers.put(key, v, now.Add(m.remembered(v)), now)
	}
	return v, err
}

// ask asks the service, unless it has failed too often. An error is one that the client is
// told of.
func (m *forwardAuth) ask(r *http.Request, x *gateway.Exchange, body []byte) (*authVerdict, error) {
	v, err := m.service.breaker.Execute(func() (*authVerdict, error) { return m.question(r, x, body) })
	if broken(err) {
		refusal := m.unavailable("forward_auth_open", err)
		refusal.RetryAfter = providerRetry
		err = refusal
		m.service.skipped.Add(1)
		return nil, err
	}
	m.service.count(v, err)
	return v, err
}

func (s *authService) count(v *authVerdict, err error) {
	switch {
	case err == nil && v.passes():
		s.allowed.Add(1)
	case err == nil:
		s.denied.Add(1)
	case gateway.AsError(err).Cause == gateway.CauseClient: // the client has left: no word on the service
	case errors.Is(err, context.DeadlineExceeded):
		s.late.Add(1)
	default:
		s.failed.Add(1)
	}
}

// start shows the service in the metrics, once.
func (s *authService) start(metrics *obs.Metrics, c *ForwardAuthConfig) {
	s.show(func() func() {
		return metrics.WatchForwardAuth(c.To, c.Path, func() obs.ForwardAuthState {
			return obs.ForwardAuthState{
				Requests: map[string]uint64{
					"allowed": s.allowed.Load(), "denied": s.denied.Load(), "failed": s.failed.Load(), "timeout": s.late.Load(), "skipped": s.skipped.Load(),
				},
				Hits: s.hits.Load(), Open: s.breaker.State() != gobreaker.StateClosed,
			}
		})
	})
}
