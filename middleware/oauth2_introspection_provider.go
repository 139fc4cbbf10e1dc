package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/obs"
)

const (
	maxIntrospection = 64 << 10
	providerRetry    = 2 * time.Second // what clients are told of when a provider is left alone
)

var errInactive = errors.New("the token is not active")

// introspector asks one authorization server as one client.
type introspector struct {
	endpoint  string
	client    *oauth2Client
	timeout   time.Duration
	transport *http.Transport
	breaker   *gobreaker.CircuitBreaker[map[string]any]
	places    chan struct{} // taken by questions on their way
	log       *slog.Logger

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	shown   shown

	mu      sync.Mutex // guards flights; not used for tokens that are remembered
	flights map[string]*flight

	hits                                    atomic.Uint64
	active, inactive, failed, late, skipped atomic.Uint64
}

// flight is a question whose answer several requests may wait for.
type flight struct {
	done   chan struct{}
	claims map[string]any
	err    error
}

func newIntrospector(c OAuth2IntrospectionConfig, client *oauth2Client, log *slog.Logger) *introspector {
	p := &introspector{
		endpoint: c.Endpoint, client: client, timeout: c.Timeout, places: make(chan struct{}, c.MaxInFlight), log: log,
		transport: introspectionTransport(c), flights: make(map[string]*flight),
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.breaker = newProviderBreaker[map[string]any](c.Endpoint,
		func(err error) bool { return err == nil || errors.Is(err, errInactive) },
		func(error) bool { return p.ctx.Err() != nil },
		func(from, to gobreaker.State) {
			log.Warn("introspection", "endpoint", c.Endpoint, "breaker", to.String(), "was", from.String())
		})
	return p
}

// introspectionTransport looks at the address that the name has led to. It uses no
// proxy of the environment: tokens are not for one.
func introspectionTransport(c OAuth2IntrospectionConfig) *http.Transport {
	u, err := url.Parse(c.Endpoint)
	loopback := err == nil && gateway.IsLoopback(u.Hostname())
	dialer := &net.Dialer{Timeout: c.Timeout, Control: gateway.GuardDial(loopback)}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: c.Timeout, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxResponseHeaderBytes: maxIntrospection, MaxIdleConnsPerHost: c.MaxInFlight, IdleConnTimeout: 30 * time.Second,
	}
}

// ask returns what the server says of a token. Who asks for a token that is being
// asked for already waits for that answer; one that leaves does not take it from the others.
func (p *introspector) ask(ctx context.Context, token string) (map[string]any, error) {
	p.mu.Lock()
	f, ok := p.flights[token]
	if !ok {
		if p.ctx.Err() != nil {
			p.mu.Unlock()
			return nil, p.ctx.Err()
		}
		token = strings.Clone(token)
		f = &flight{done: make(chan struct{})}
		p.flights[token] = f
		p.running.Go(func() { p.fly(f, token) })
	}
	p.mu.Unlock()
	select {
	case <-f.done:
		return f.claims, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly asks within the timeout. Who has no place after half of it gives up: what is left
// would be too short to hold against the server.
func (p *introspector) fly(f *flight, token string) {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	defer cancel()
	defer func() {
		p.mu.Lock()
		delete(p.flights, token)
		p.mu.Unlock()
		close(f.done)
	}()
	patience := time.NewTimer(p.timeout / 2)
	defer patience.Stop()
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	case <-patience.C:
		f.err = errors.New("no place among the questions under way")
		p.skipped.Add(1)
		return
	case <-ctx.Done():
		f.err = ctx.Err()
		return
	}
	f.claims, f.err = p.breaker.Execute(func() (map[string]any, error) { return p.question(ctx, token) })
	p.count(f.err)
}

func (p *introspector) count(err error) {
	switch {
	case err == nil:
		p.active.Add(1)
	case errors.Is(err, errInactive):
		p.inactive.Add(1)
	case broken(err):
		p.skipped.Add(1)
	case errors.Is(err, context.DeadlineExceeded):
		p.late.Add(1)
	default:
		p.failed.Add(1)
	}
	if n := p.failed.Load() + p.late.Load(); err != nil && !errors.Is(err, errInactive) && !broken(err) && n&(n-1) == 0 {
		p.log.Warn("an authorization server cannot be asked", "endpoint", p.endpoint, "error", err, "failures", n)
	}
}

// question is one request, RFC 7662, 2.1. It goes to the transport directly, which
// follows no redirects.
func (p *introspector) question(ctx context.Context, token string) (map[string]any, error) {
	form, head := url.Values{"token": {token}, "token_type_hint": {"access_token"}}, make(http.Header)
	if err := p.client.prove(form, head, time.Now()); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("ask about a token: %w", err)
	}
	r.Header = head
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "pithead")
	res, err := p.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", p.endpoint, err)
	}
	defer func() { _ = res.Body.Close() }() // whatever is left of it is of no use
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("POST %s: status %d, want 200", p.endpoint, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxIntrospection+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("POST %s: %w", p.endpoint, err)
	case len(body) > maxIntrospection:
		return nil, fmt.Errorf("POST %s: the answer is larger than 64KiB", p.endpoint)
	}
	claims, err := jwks.ParseObject(string(body))
	if err != nil {
		return nil, fmt.Errorf("POST %s: the answer %w", p.endpoint, err)
	}
	if claims["active"] != true {
		return nil, errInactive
	}
	return claims, nil
}

// start shows the introspector in the metrics, once.
func (p *introspector) start(metrics *obs.Metrics) {
	p.shown.show(func() func() { return metrics.WatchIntrospector(p.endpoint, p.client.ID, p.state) })
}

func (p *introspector) state() obs.IntrospectorState {
	return obs.IntrospectorState{
		Active: p.active.Load(), Inactive: p.inactive.Load(), Failed: p.failed.Load(), Late: p.late.Load(), Skipped: p.skipped.Load(),
		Hits: p.hits.Load(), Open: p.breaker.State() != gobreaker.StateClosed,
	}
}

// Close ends all questions and returns when they have ended.
func (p *introspector) Close() error {
	_ = p.shown.Close() // never fails
	p.mu.Lock()         // no question begins after this
	p.stop()
	p.mu.Unlock()
	p.running.Wait()
	p.transport.CloseIdleConnections()
	return nil
}
