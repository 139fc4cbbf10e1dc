package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() {
	kind.Add(Kinds, "mirror", MirrorConfig{
		Timeout: 10 * time.Second, MaxBody: 64 * kind.KiB, MaxInFlight: 100,
	}, newMirror)
}

// MirrorConfig sends copies of requests to a further upstream, and throws the
// answers away. The request itself is neither delayed nor changed, whatever
// becomes of its copy. A route may have several mirrors.
//
//	mirror: {to: orders, percent: 10}
//
// What is copied is what goes to the route's own upstream, after all middlewares
// wherever they stand in `use`, and before the first attempt. A copy is sent
// once the body is complete, so a body that the upstream does not read to its
// end, or that is too large, is not copied. Nor are upgrades (WebSockets), event
// streams, and what the gateway answers by itself. gRPC calls are, once the caller
// has sent its last message.
//
// Copies are not among the route's requests in metrics and logs;
// `pithead_mirror_requests_total` tells what became of them: `answered` with any
// status, `failed`, `timeout`, `dropped` beyond `max_in_flight`, `too_large`, or
// `incomplete`, when the upstream had no need of the whole body or the client left.
type MirrorConfig struct {
	// To is the upstream that gets the copies. Required.
	To string `yaml:"to"`
	// Subset is an arm of that upstream. Default: all of its endpoints.
	Subset string `yaml:"subset"`
	// Percent of the requests to copy, drawn at random, 0 to 100. Default: 100.
	Percent *int `yaml:"percent"`
	// Fraction of the requests to copy, for finer shares than percent. Default: none.
	Fraction *MirrorFraction `yaml:"fraction"`
	// Host is what the copies have as Host, with a port or without. A `host` of the
	// upstream comes before it. Default: that of the request.
	Host string `yaml:"host"`
	// Credentials leaves in the copies what proves who the caller is: Authorization,
	// Cookie, DPoP, headers whose name ends in token, api-key, secret or password, and
	// the parameter access_token. Without it they are taken out, because whoever reads
	// the copies could use them. Default: false.
	Credentials bool `yaml:"credentials"`
	// Timeout is how long a copy may take, with its answer. Default: 10s.
	Timeout time.Duration `yaml:"timeout"`
	// MaxBody is the largest body that is copied. `0` copies only requests without a
	// body. Default: 64KiB.
	MaxBody kind.Size `yaml:"max_body"`
	// MaxInFlight is how many copies there may be at a time, those whose body is still
	// coming included. A named block has one limit for all routes that use it. Up to
	// this many times max_body is kept in memory. Default: 100.
	MaxInFlight int `yaml:"max_in_flight"`
}

// MirrorFraction is a share of all requests.
type MirrorFraction struct {
	// Numerator is the upper part of the fraction. Required.
	Numerator *int `yaml:"numerator"`
	// Denominator is the lower part of the fraction. Default: 100.
	Denominator int `yaml:"denominator"`
}

// SetDefaults is called before decoding.
func (f *MirrorFraction) SetDefaults() { f.Denominator = 100 }

// Validate refuses what is no share.
func (f *MirrorFraction) Validate() error {
	switch {
	case f.Denominator < 1:
		return kind.At("denominator", "must be at least 1")
	case f.Numerator == nil:
		return kind.At("", "has no numerator")
	case *f.Numerator < 0 || *f.Numerator > f.Denominator:
		return kind.At("numerator", "%d is not from 0 to the denominator, %d", *f.Numerator, f.Denominator)
	}
	return nil
}

// Validate checks what can be checked without knowing the upstreams.
func (c MirrorConfig) Validate() error {
	var errs []error
	if c.To == "" {
		errs = append(errs, kind.At("", "copies to nowhere; name an upstream under to"))
	}
	switch {
	case c.Percent == nil:
	case c.Fraction != nil:
		errs = append(errs, kind.At("percent", "percent and fraction exclude each other"))
	case *c.Percent < 0 || *c.Percent > 100:
		errs = append(errs, kind.At("percent", "%d is not from 0 to 100", *c.Percent))
	}
	if c.Host != "" {
		if _, _, err := canon.Host(c.Host); err != nil {
			errs = append(errs, kind.At("host", "%q is no host", c.Host))
		}
	}
	if c.Timeout <= 0 {
		errs = append(errs, kind.At("timeout", "must be more than 0"))
	}
	if c.MaxInFlight < 1 {
		errs = append(errs, kind.At("max_in_flight", "must be at least 1; to copy nothing, write percent: 0"))
	}
	return errors.Join(errs...)
}

// share is the part of the requests that is copied.
func (c MirrorConfig) share() (numerator, denominator int) {
	switch {
	case c.Fraction != nil:
		return *c.Fraction.Numerator, c.Fraction.Denominator
	case c.Percent != nil:
		return *c.Percent, 100
	}
	return 1, 1
}

// What becomes of copies.
const (
	mirrorAnswered   = "answered"
	mirrorFailed     = "failed"
	mirrorTimeout    = "timeout"
	mirrorDropped    = "dropped"
	mirrorTooLarge   = "too_large"
	mirrorIncomplete = "incomplete"
)

// mirror is the running middleware. It never changes after newMirror.
type mirror struct {
	to                     gateway.Cluster
	subset, host           string
	numerator, denominator int
	credentials            bool
	timeout                time.Duration
	maxBody                int64
	maxInFlight            int64
	copies                 *mirrorCopies
	metrics                func() *obs.Route
	log                    *slog.Logger
}

func newMirror(c MirrorConfig, env Env) (gateway.Step, error) {
	to, ok := env.Upstream(c.To)
	switch {
	case !ok:
		return gateway.Step{}, kind.At("to", "unknown upstream %q", c.To)
	case c.Subset != "" && !to.HasSubset(c.Subset):
		return gateway.Step{}, kind.At("subset", "upstream %q has no arm %q; define it under upstreams.%s.arms", c.To, c.Subset, c.To)
	}
	copies, err := keep.Get(env.Keep, "mirror/"+env.Key, newMirrorCopies)
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &mirror{
		to: to, subset: c.Subset, host: c.Host, credentials: c.Credentials, timeout: c.Timeout,
		maxBody: int64(c.MaxBody), maxInFlight: int64(c.MaxInFlight), copies: copies, metrics: env.Metrics, log: env.Log,
	}
	m.numerator, m.denominator = c.share()
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *mirror) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !copyable(r) || !m.drawn() {
			next.ServeHTTP(w, r)
			return
		}
		x := gateway.ExchangeOf(r)
		c := &mirrorCopy{m: m, x: x}
		x.OnSend(c.begin)
		defer c.finish() // whoever was to read the rest of the body does so no more
		next.ServeHTTP(w, r)
	})
}

// copyable says whether a copy of r comes to an end. What a client and an
// upstream make of an upgraded connection cannot be copied, and the answers of
// event streams would only be waited for.
func copyable(r *http.Request) bool { return !gateway.IsStream(r) || gateway.IsGRPC(r) }

// drawn says whether a request is among those to copy.
func (m *mirror) drawn() bool {
	return m.numerator == m.denominator || rand.IntN(m.denominator) < m.numerator
}

func (m *mirror) count(result string) { m.metrics().Mirrored(m.to.Name(), result) }

func (m *mirror) explain(r *http.Request, _ *gateway.Exchange) string {
	to := m.to.Name()
	if m.subset != "" {
		to += ", arm " + m.subset
	}
	switch {
	case !copyable(r):
		return "is not copied to " + to + ": it asks for a stream"
	case m.numerator == m.denominator:
		return "is copied to " + to
	}
	return fmt.Sprintf("%d of %d requests are copied to %s", m.numerator, m.denominator, to)
}

// mirrorCopies is what the copies of one block have in common. It outlives
// reloads that leave the block where it is.
type mirrorCopies struct {
	ctx      context.Context // of all copies; ends with the block
	end      context.CancelFunc
	inFlight atomic.Int64
}

func newMirrorCopies() (*mirrorCopies, error) {
	s := &mirrorCopies{}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Close ends the copies that are under way. Nobody waits for what they bring.
func (s *mirrorCopies) Close() error {
	s.end()
	return nil
}

// enter asks for room for one more copy, which leave gives back.
func (s *mirrorCopies) enter(limit int64) bool {
	if s.inFlight.Add(1) > limit || s.ctx.Err() != nil {
		s.leave()
		return false
	}
	return true
}

func (s *mirrorCopies) leave() { s.inFlight.Add(-1) }
