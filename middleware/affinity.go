package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "affinity", AffinityConfig{}, newAffinity)
}

// AffinityConfig keeps a client at one endpoint, for services that remember
// something between two requests. The upstream's policy chooses the endpoint of the
// first request, and the answer gives the client a token for it, in a cookie or a
// header. Requests with the token go to that endpoint as long as it is healthy and
// has room, whatever becomes of weights, zones and other endpoints. Then the
// policy chooses again, and the answer has a new token.
//
//	affinity: {cookie: route, lifetime: 12h}
//
// Behind a canary the token is for an endpoint of one arm; the canary's own `cookie`
// keeps the client at the arm. Answers that set a cookie forbid caches to keep it.
// The handshake of a WebSocket goes where a token says, and gives none.
type AffinityConfig struct {
	// Cookie names the cookie with the token. One of cookie and header is required.
	Cookie string `yaml:"cookie"`
	// Header names the header with the token, for clients that send back in their
	// requests what they found there in an answer.
	Header string `yaml:"header"`
	// Lifetime ends a session after that long, at least 1s. Default: without end.
	Lifetime time.Duration `yaml:"lifetime"`
	// Idle ends a session after that long without a request, at least 1s. With it
	// every answer has a new token. Default: never.
	Idle time.Duration `yaml:"idle"`
	// Permanent lets browsers keep the cookie for the lifetime, instead of
	// forgetting it when they are closed. Needs a cookie and a lifetime. Default: false.
	Permanent bool `yaml:"permanent"`
	// Secret makes tokens that nobody else can read or write. At least 32 bytes, the
	// same on all replicas. Default: none; clients can then work out the addresses of
	// endpoints by trying, and choose among them.
	Secret gateway.Secret `yaml:"secret"`
}

// Validate checks everything but the route.
func (c AffinityConfig) Validate() error {
	var errs []error
	switch {
	case (c.Cookie == "") == (c.Header == ""):
		errs = append(errs, kind.At("", "give a cookie or a header, one of them"))
	case c.Cookie != "":
		errs = append(errs, validateName("cookie", c.Cookie))
	default:
		errs = append(errs, validateName("header", c.Header), readable("header", c.Header))
	}
	for _, one := range []struct {
		path string
		time time.Duration
	}{{"lifetime", c.Lifetime}, {"idle", c.Idle}} {
		if one.time != 0 && (one.time < time.Second || one.time > maxSession) {
			errs = append(errs, kind.At(one.path, "%s is not 1s to %s", one.time, maxSession))
		}
	}
	if c.Permanent && (c.Cookie == "" || c.Lifetime == 0) {
		errs = append(errs, kind.At("permanent", "needs a cookie and a lifetime"))
	}
	if c.Secret != "" && len(c.Secret.Reveal()) < minCookieSecret {
		errs = append(errs, kind.At("secret", "must have at least %d bytes", minCookieSecret))
	}
	return errors.Join(errs...)
}

// maxSession is a year; a longer time is a typo.
const maxSession = 365 * 24 * time.Hour

// affinity is the running middleware.
type affinity struct {
	cookie, header string // one of them; the header in canonical form
	lifetime, idle time.Duration
	permanent      bool
	seal           sessionSeal
}

func newAffinity(c AffinityConfig, env Env) (gateway.Step, error) {
	if env.To == nil {
		return gateway.Step{}, kind.At("", "affinity needs a route with an upstream (`to:`)")
	}
	m := &affinity{
		cookie: c.Cookie, header: http.CanonicalHeaderKey(c.Header), lifetime: c.Lifetime, idle: c.Idle,
		permanent: c.Permanent, seal: newSessionSeal(c.Secret),
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *affinity) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		s := m.read(r.Header, time.Now())
		x.Session = s.endpoint
		hw := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.answer(h, x, s, time.Now()) }}
		next.ServeHTTP(hw, r)
		hw.finish()
	})
}

// read is the session that a request belongs to; the zero value if it has none, or
// one that is over. A token that is sent twice counts as absent.
func (m *affinity) read(h http.Header, now time.Time) session {
	token, ok := "", false
	if m.cookie != "" {
		token, ok = onlyCookie(h, m.cookie)
	} else if values := h[m.header]; len(values) == 1 {
		token, ok = values[0], true
	}
	if !ok {
		return session{}
	}
	s, ok := m.seal.open(token)
	if !ok || m.lifetime > 0 && now.Sub(s.start()) >= m.lifetime || m.idle > 0 && now.Sub(s.last()) >= m.idle {
		return session{}
	}
	return s
}

// answer gives the client a token if the one that it has will not do: for the
// endpoint that has answered, which is another one than before when that was not well.
func (m *affinity) answer(h http.Header, x *gateway.Exchange, s session, now time.Time) {
	if x.Err != nil || x.Endpoint == nil || x.UpstreamHeaders.IsZero() {
		return // nobody has answered
	}
	seconds := uint32(now.Unix()) // until 2106
	if s.endpoint != x.Endpoint.ID {
		s = session{endpoint: x.Endpoint.ID, began: seconds}
	} else if m.idle == 0 || s.seen == seconds {
		return
	}
	s.seen = seconds
	token := m.seal.close(s)
	if m.header != "" {
		h[m.header] = []string{token}
		return
	}
	cookie := http.Cookie{ //nolint:gosec // a browser would not send a Secure one back without HTTPS
		Name: m.cookie, Value: token, Path: "/", HttpOnly: true, Secure: x.Scheme == schemeHTTPS, SameSite: http.SameSiteLaxMode,
	}
	if m.permanent {
		cookie.MaxAge = max(1, int(m.lifetime/time.Second)-int(seconds-s.began))
	}
	h.Add("Set-Cookie", cookie.String())
	h.Add("Cache-Control", noCacheSetCookie)
}

func (m *affinity) explain(r *http.Request, x *gateway.Exchange) string {
	s := m.read(r.Header, time.Now())
	x.Session = s.endpoint
	where := "cookie " + m.cookie
	if m.header != "" {
		where = "header " + m.header
	}
	if s.endpoint == 0 {
		return "has no session; the answer begins one, by " + where
	}
	return fmt.Sprintf("has a session by %s, begun %s: goes to its endpoint if that is well", where, s.start().UTC().Format(time.RFC3339))
}
