package middleware

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/sealed"
)

func init() {
	kind.Add(Kinds, "oidc", OIDCConfig{
		RedirectPath: "/oauth2/callback", Scopes: []string{scopeOpenID}, PostLogoutRedirect: "/", Subject: "sub",
		Cookie: OIDCCookie{Name: hostPrefix + "pithead", MaxAge: 8 * time.Hour}, OnStoreError: onErrorClosed,
	}, newOIDC)
}

const (
	maxEnded    = 100_000
	maxUsed     = 100_000
	maxRenewals = 10_000
)

// oidcAuth is the running middleware. It never changes after newOIDC.
type oidcAuth struct {
	OIDCConfig
	audience    *jwtIssuer // of which only the audience is used
	headers     []claimHeader
	keys        *jwtKeys
	kept        *oidcKept
	told        *sharedLogins // nil without a store
	known       *knownSessionsOf
	sessions    *sealed.Keyring
	logins      *sealed.Keyring
	safe, plain oidcJars
	csrf        *http.CrossOriginProtection
	refuse      oidcRefusals
	external    string // scheme and host; "" is the request's
}

// oidcKept is what blocks with the same key, provider and client share, and reloads
// leave alone.
type oidcKept struct {
	provider *oidcProvider
	used     *sealed.Memory[struct{}] // states of logins and ids of logout tokens
	ended    *endedSessions
	renewals *sealed.Memory[*oidcRenewal]
	counts   oidcCounts
}

// oidcJars are the cookies of sessions, and of logins that have begun.
type oidcJars struct {
	session sealed.Jar
	login   string // the name, to which a digit is added
}

func newOIDC(c OIDCConfig, env Env) (gateway.Step, error) {
	if err := c.reachable(env); err != nil {
		return gateway.Step{}, err
	}
	m := &oidcAuth{
		OIDCConfig: c, audience: &jwtIssuer{audiences: []string{c.ClientID}}, csrf: http.NewCrossOriginProtection(),
		refuse: newOIDCRefusals(), safe: newOIDCJars(c.Cookie.Name, true), external: c.ExternalURL,
		plain: newOIDCJars(strings.TrimPrefix(c.Cookie.Name, hostPrefix), false),
	}
	meaning := fmt.Sprintf("%q %q %q", c.Issuer, c.ClientID, env.Key)
	var secrets []string
	for _, key := range c.Cookie.Keys {
		secrets = append(secrets, key.Reveal())
	}
	var err error
	if m.sessions, err = sealed.NewKeyring(secrets, "oidc session "+meaning); err != nil {
		return gateway.Step{}, kind.At("cookie.keys", "%w", err)
	}
	if m.logins, err = sealed.NewKeyring(secrets, "oidc login "+meaning); err != nil {
		return gateway.Step{}, kind.At("cookie.keys", "%w", err)
	}
	if m.keys, err = keptKeys(JWTIssuer{Issuer: c.Issuer}, "", env); err != nil {
		return gateway.Step{}, err
	}
	m.kept, err = keep.Get(env.Keep, keptUnder("oidc/", meaning), func() (*oidcKept, error) {
		return newOIDCKept(c.Issuer), nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	if m.told, err = c.shared(meaning, m.kept.ended, env); err != nil {
		return gateway.Step{}, err
	}
	m.known, err = keep.Get(env.Keep, keptUnder("oidc sessions/", c.fingerprint(meaning)), func() (*knownSessionsOf, error) { return newKnownSessions(), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	var names []string
	m.headers, names = newClaimHeaders(c.Headers)
	return gateway.Step{
		Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}, Owns: names, Lacking: m.lacking,
		Start: func() []<-chan struct{} {
			m.keys.start(env.Process)
			m.kept.start(env.Process, c.Issuer, c.ClientID)
			return append(m.told.start(), m.keys.Ready())
		},
	}, nil
}

func newOIDCKept(issuer string) *oidcKept {
	k := &oidcKept{
		provider: newOIDCProvider(issuer), used: sealed.NewMemory[struct{}](maxUsed), renewals: sealed.NewMemory[*oidcRenewal](maxRenewals),
	}
	k.ended = newEndedSessions(&k.counts.leftElsewhere)
	return k
}

func newOIDCJars(name string, secure bool) oidcJars {
	return oidcJars{sealed.Jar{Name: name, Secure: secure}, name + "-login-"}
}

// has says whether a cookie of this name is the gateway's own.
func (j oidcJars) has(name string) bool {
	return j.session.Has(name) || strings.HasPrefix(name, j.login)
}

// place is where a request was made, as the browser knows it.
type place struct {
	origin string // scheme and host
	url    *url.URL
	jars   oidcJars
}

// where is about the request as it came, whatever middlewares before this one have
// made of it. Sessions do not travel in the clear, but to this machine.
func (m *oidcAuth) where(r *http.Request, x *gateway.Exchange) (p place, refusal *gateway.Error) {
	came := r
	if x.Request != nil {
		came = x.Request
	}
	p = place{origin: m.external, url: came.URL, jars: m.safe}
	if p.origin == "" {
		p.origin = x.Scheme + "://" + came.Host
	}
	if host, clear := strings.CutPrefix(p.origin, schemeHTTP+"://"); clear {
		name := (&url.URL{Host: host}).Hostname()
		if !gateway.IsLoopback(name) {
			return p, m.refuse.https
		}
		p.jars = m.plain
	}
	return p, nil
}

func (m *oidcAuth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		p, refusal := m.where(r, x)
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		var err error
		switch m.endpoint(p.url.Path) {
		case "callback":
			err = m.callback(w, r, p)
			m.kept.counts.login(err)
		case "logout":
			err = m.logout(w, r, p)
		case "backchannel":
			err = m.backchannel(w, r)
		default:
			m.pass(w, r, p, next)
			return
		}
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		goesNowhere(x)
	})
}

// endpoint is what a path is for, "" for those of the service.
func (m *oidcAuth) endpoint(path string) string {
	switch {
	case path == m.RedirectPath:
		return "callback"
	case path == m.LogoutPath && path != "":
		return "logout"
	case path == m.BackchannelLogoutPath && path != "":
		return "backchannel"
	}
	return ""
}

// pass lets requests of a session pass.
func (m *oidcAuth) pass(w http.ResponseWriter, r *http.Request, p place, next http.Handler) {
	x := gateway.ExchangeOf(r)
	now := time.Now()
	s, was := m.session(r, p, now)
	if was {
		m.kept.counts.hits.Add(1)
	}
	if s != nil && m.foreign(r) {
		gateway.Fail(w, r, m.refuse.csrf)
		return
	}
	if s != nil && !m.informed() {
		gateway.Fail(w, r, m.refuse.store)
		return
	}
	if s != nil {
		s = m.renewed(w, r, p, s, now)
	}
	if s == nil {
		if err := m.unknown(w, r, p, now); err != nil {
			gateway.Fail(w, r, err)
			return
		}
		goesNowhere(x)
		return
	}
	if refusal := s.enter(x); refusal != nil {
		gateway.Fail(w, r, refusal)
		return
	}
	withhold(r, x, p.jars)
	next.ServeHTTP(w, r)
}

// foreign says whether another site may have the browser send the request. The
// check of the standard library takes GET as safe, which opens a WebSocket too.
func (m *oidcAuth) foreign(r *http.Request) bool {
	if !isUnsafe(r) {
		return false
	}
	probe := *r
	probe.Method = http.MethodPost
	return m.csrf.Check(&probe) != nil
}

// withhold keeps the gateway's own cookies out of the request that goes upstream.
func withhold(r *http.Request, x *gateway.Exchange, jars oidcJars) {
	var others []string
	for _, line := range r.Header["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			name, _, _ := strings.Cut(pair, "=")
			if pair != "" && !jars.has(strings.TrimRight(name, " \t")) {
				others = append(others, pair)
			}
		}
	}
	if len(others) == 0 {
		x.DropUpstreamHeader("Cookie")
		return
	}
	x.SetUpstreamHeader("Cookie", strings.Join(others, "; "))
}

// explain neither asks the provider nor renews anything.
func (m *oidcAuth) explain(r *http.Request, x *gateway.Exchange) string {
	answer := func(e *gateway.Error) string {
		x.Status = e.Status
		return fmt.Sprintf("answers %d (%s): %s", e.Status, e.Reason, e.Msg)
	}
	p, refusal := m.where(r, x)
	if refusal != nil {
		return answer(refusal)
	}
	if at := m.endpoint(p.url.Path); at != "" {
		goesNowhere(x)
		x.Status = http.StatusFound
		return "is the " + at + " of logins, and answers by itself"
	}
	s, _ := m.session(r, p, time.Now())
	switch {
	case s == nil && m.opensPage(r, p):
		goesNowhere(x)
		x.Status = http.StatusFound
		return "answers 302, which leads to the login at " + m.Issuer
	case s == nil:
		return answer(m.refuse.missing)
	case m.foreign(r):
		return answer(m.refuse.csrf)
	case !m.informed():
		return answer(m.refuse.store)
	}
	if refusal := s.enter(x); refusal != nil {
		return answer(refusal)
	}
	withhold(r, x, p.jars)
	return fmt.Sprintf("the caller is %q, logged in until %s", x.Subject, s.session.until.UTC().Format(time.RFC3339))
}
