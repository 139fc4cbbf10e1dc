package middleware

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	maxOpaqueToken = 8 << 10
	nbfLeeway      = 30 * time.Second
)

// introspection is the running middleware. It never changes after newIntrospection.
type introspection struct {
	credential        credential
	optional, forward bool
	audience          *jwtIssuer // of which only the audience is used
	issuer, subject   string
	demands           *jwtAuth // of which only the scopes and claims are used
	headers           []claimHeader
	ttl, negative     time.Duration
	provider          *introspector
	verdicts          *verdicts
	refuse            introspectionRefusals
}

// introspectionRefusals are those of jwt under names of their own, and what only an
// authorization server can bring about.
type introspectionRefusals struct {
	jwtRefusals
	inactive, unavailable, broken *gateway.Error
}

func newIntrospectionRefusals(realm string, scopes []string) introspectionRefusals {
	r := introspectionRefusals{jwtRefusals: newJWTRefusals(realm, scopes)}
	for _, e := range []*gateway.Error{
		r.missing, r.ambiguous, r.csrf, r.large, r.typ, r.issuer, r.claims, r.expired, r.early, r.aud, r.subject, r.header, r.scope, r.denied,
	} {
		e.Reason = "introspection_" + strings.TrimPrefix(e.Reason, "jwt_")
	}
	inactive := *r.expired
	inactive.Reason, inactive.Msg = "introspection_inactive", "the token is not active"
	inactive.Challenge = strings.ReplaceAll(inactive.Challenge, r.expired.Msg, inactive.Msg)
	r.inactive = &inactive
	r.unavailable = &gateway.Error{
		Status: http.StatusServiceUnavailable, Reason: "introspection_unavailable", Msg: "tokens cannot be verified at the moment",
		Cause: gateway.CauseGateway, RetryAfter: providerRetry,
	}
	broken := *r.unavailable
	broken.Reason, broken.RetryAfter = "introspection_breaker", breakerPause
	r.broken = &broken
	return r
}

func newIntrospection(c OAuth2IntrospectionConfig, env Env) (gateway.Step, error) {
	client, digest, err := newOAuth2Client(c.Client, c.Endpoint)
	if err != nil {
		return gateway.Step{}, kind.At("client.key.file", "%w", err)
	}
	key := fmt.Sprintf("%s %t %s %d", digest, c.Insecure, c.Timeout, c.MaxInFlight)
	provider, err := keep.Get(env.Keep, keptUnder("introspector/", key), func() (*introspector, error) {
		return newIntrospector(c, client, env.Log), nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	known, err := keep.Get(env.Keep, keptUnder("introspection/", c.meaning(key)), func() (*verdicts, error) { return newVerdicts(c.Cache.Size), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := c.with(provider, known)
	_, names := newClaimHeaders(c.Headers)
	return gateway.Step{
		Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}, Optional: c.Optional, Owns: names,
		Start: func() []<-chan struct{} {
			provider.start(env.Process)
			return nil
		},
	}, nil
}

// with is the middleware on what it shares with others.
func (c OAuth2IntrospectionConfig) with(provider *introspector, known *verdicts) *introspection {
	m := &introspection{
		credential: newCredential(JWTConfig{}), optional: c.Optional, forward: c.Forward,
		audience: &jwtIssuer{audiences: c.Audience, anyAudience: c.Audience[0] == anyAudience},
		issuer:   c.Issuer, subject: c.Subject, ttl: c.Cache.TTL, negative: c.Cache.Negative,
		provider: provider, verdicts: known, refuse: newIntrospectionRefusals(c.Realm, c.Scopes),
	}
	m.demands = &jwtAuth{scopes: c.Scopes, claims: c.Claims, refuse: m.refuse.jwtRefusals}
	m.headers, _ = newClaimHeaders(c.Headers)
	return m
}

// keptUnder is a key of keep that shows no secret.
func keptUnder(prefix, meaning string) string {
	sum := sha256.Sum256([]byte(meaning))
	return prefix + hex.EncodeToString(sum[:])
}

func (m *introspection) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		token, refusal := m.find(r)
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		if token != "" {
			v := m.verdicts.get(token, time.Now())
			if v != nil {
				m.provider.hits.Add(1)
			} else {
				v = m.ask(r.Context(), token)
			}
			if v.refusal != nil {
				gateway.Fail(w, r, v.refusal)
				return
			}
			v.enter(x)
			if !m.forward {
				m.credential.withhold(r, x)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// find is the token of a request, "" if it may do without. What cannot be a token
// is no question worth.
func (m *introspection) find(r *http.Request) (string, *gateway.Error) {
	token, refusal := m.credential.find(r, &m.refuse.jwtRefusals)
	switch {
	case refusal != nil:
		return "", refusal
	case token == "" && !m.optional:
		return "", m.refuse.missing
	case len(token) > maxOpaqueToken:
		return "", m.refuse.large
	case token != "" && !token68(token):
		return "", m.refuse.ambiguous // perhaps several of them
	}
	return token, nil
}

// enter says in the exchange who the caller is.
func (v *verdict) enter(x *gateway.Exchange) {
	x.Subject = v.subject
	for _, h := range v.headers {
		x.SetUpstreamHeader(h.name, h.value)
	}
}

// ask has the server asked, and remembers what follows from its answer. That it did
// not answer is remembered by the breaker only.
func (m *introspection) ask(ctx context.Context, token string) *verdict {
	claims, err := m.provider.ask(ctx, token)
	now := time.Now()
	switch {
	case errors.Is(err, errInactive):
		v := &verdict{refusal: m.refuse.inactive, until: now.Add(m.negative)}
		m.verdicts.put(token, v, now)
		return v
	case broken(err):
		return &verdict{refusal: m.refuse.broken}
	case err != nil && ctx.Err() != nil:
		return &verdict{refusal: &gateway.Error{
			Status: gateway.StatusClientClosed, Reason: "client_gone", Msg: "the client left", Cause: gateway.CauseClient, Err: ctx.Err(),
		}}
	case err != nil:
		refusal := *m.refuse.unavailable
		refusal.Err = err
		return &verdict{refusal: &refusal}
	}
	v := m.judge(claims, now)
	if v.refusal != nil {
		v.until = now.Add(m.negative)
	}
	m.verdicts.put(token, v, now)
	return v
}

// judge looks at the answer for a token that is active.
func (m *introspection) judge(claims map[string]any, now time.Time) *verdict {
	v := &verdict{until: now.Add(m.ttl)}
	if v.refusal = m.times(claims, v, now); v.refusal != nil {
		return v
	}
	sub, _ := claimAt(claims, m.subject)
	v.subject, _ = sub.(string)
	switch {
	case !bearerToken(claims):
		v.refusal = m.refuse.typ
	case m.issuer != "" && claims["iss"] != m.issuer:
		v.refusal = m.refuse.issuer
	case !m.audience.audience(claims):
		v.refusal = m.refuse.aud
	case v.subject == "":
		v.refusal = m.refuse.subject
	default:
		v.refusal = m.demands.demands(claims)
	}
	if v.refusal != nil {
		return v
	}
	var err error
	if v.headers, err = valuesOf(m.headers, claims); err != nil {
		v.refusal = m.refuse.header
	}
	return v
}

// times checks exp and nbf, and has the verdict hold no longer than the token.
func (m *introspection) times(claims map[string]any, v *verdict, now time.Time) *gateway.Error {
	exp, hasExp, expOK := date(claims, "exp")
	nbf, hasNbf, nbfOK := date(claims, "nbf")
	switch {
	case hasExp && !expOK, hasNbf && !nbfOK:
		return m.refuse.claims
	case hasExp && exp <= unix(now):
		return m.refuse.expired
	case hasNbf && nbf > unix(now.Add(nbfLeeway)):
		return m.refuse.early
	}
	if hasExp {
		if left := time.Duration((exp - unix(now)) * float64(time.Second)); left > 0 && left < v.until.Sub(now) {
			v.until = now.Add(left)
		}
	}
	return nil
}

// bearerToken says whether the token is one to be shown as it is. One that is bound
// to a key of the client (RFC 9449) proves nothing without it, and a refresh token is for the
// server only.
func bearerToken(claims map[string]any) bool {
	typ, there := claims["token_type"]
	text, _ := typ.(string)
	return (!there || strings.EqualFold(text, bearer) || strings.EqualFold(text, "access_token")) &&
		claims["token_use"] != "refresh_token" && claims["typ"] != "Refresh"
}

// explain asks nobody: a dry run knows what is remembered.
func (m *introspection) explain(r *http.Request, x *gateway.Exchange) string {
	token, refusal := m.find(r)
	if refusal == nil && token == "" {
		return "passes without a token, as nobody"
	}
	v := &verdict{refusal: refusal}
	if refusal == nil {
		if v = m.verdicts.get(token, time.Now()); v == nil {
			return "asks " + m.provider.endpoint + " about the token, which a dry run does not"
		}
	}
	if v.refusal != nil {
		x.Status = v.refusal.Status
		return fmt.Sprintf("answers %d (%s): %s", v.refusal.Status, v.refusal.Reason, v.refusal.Msg)
	}
	v.enter(x)
	return fmt.Sprintf("the caller is %q, as %s has said", v.subject, m.provider.endpoint)
}
