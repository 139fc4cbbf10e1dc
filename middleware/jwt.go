package middleware

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "jwt", JWTConfig{
		Forward: true, Types: []string{"JWT", "at+jwt"}, Leeway: 30 * time.Second, MaxLifetime: 24 * time.Hour,
		Subject: "sub", Cache: 10_000, Realm: "pithead",
	}, newJWT)
}

// jwtAuth is the running middleware. It never changes after newJWT.
type jwtAuth struct {
	credential          credential
	optional, forward   bool
	types               []string // in lower case
	leeway, maxLifetime time.Duration
	subject             string
	several             bool // issuers
	scopes              []string
	claims              []JWTClaim
	headers             []claimHeader
	issuers             map[string]*jwtIssuer
	cache               *jwtCache
	refuse              jwtRefusals
}

// jwtIssuer is one issuer at work.
type jwtIssuer struct {
	name        string
	audiences   []string
	anyAudience bool
	algorithms  []string // nil: all that its keys are for
	keys        *jwtKeys
}

func newJWT(c JWTConfig, env Env) (gateway.Step, error) {
	m := &jwtAuth{
		credential: newCredential(c), optional: c.Optional, forward: c.Forward, leeway: c.Leeway, maxLifetime: c.MaxLifetime,
		subject: c.Subject, several: len(c.Issuers) > 1, scopes: c.Scopes, claims: c.Claims,
		issuers: make(map[string]*jwtIssuer), refuse: newJWTRefusals(c.Realm, c.Scopes),
	}
	for _, name := range c.Types {
		m.types = append(m.types, strings.ToLower(name))
	}
	var errs []error
	for i, one := range c.all() {
		at := ""
		if len(c.Issuers) > 0 {
			at = fmt.Sprintf("issuers[%d].", i)
		}
		keys, err := keptKeys(one, at, env)
		errs = append(errs, err)
		m.issuers[one.Issuer] = &jwtIssuer{
			name: one.Issuer, audiences: one.Audience, anyAudience: slices.Contains(one.Audience, anyAudience),
			algorithms: one.Algorithms, keys: keys,
		}
	}
	if err := errors.Join(errs...); err != nil {
		return gateway.Step{}, err
	}
	var names []string
	m.headers, names = newClaimHeaders(c.Headers)
	var err error
	m.cache, err = keep.Get(env.Keep, "jwt/"+c.fingerprint(), func() (*jwtCache, error) { return newJWTCache(c.Cache), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	start := func() (ready []<-chan struct{}) {
		for _, i := range m.issuers {
			i.keys.start(env.Process)
			ready = append(ready, i.keys.Ready())
		}
		return ready
	}
	lacking := func() (what []string) {
		for _, i := range m.issuers {
			what = append(what, i.keys.lacking()...)
		}
		return what
	}
	return gateway.Step{
		Wrap: m.wrap, Explain: m.explain, Start: start, Lacking: lacking, Proves: []gateway.Identity{gateway.Subject}, Optional: c.Optional, Owns: names,
	}, nil
}

// fingerprint is the same for blocks that take the same tokens for the same thing,
// and for no others (CVE-2026-33496).
func (c JWTConfig) fingerprint() string {
	h := sha256.New()
	for _, one := range c.all() {
		fmt.Fprintf(h, "%x %x\n", sha256.Sum256([]byte(one.Secret.Reveal())), sha256.Sum256([]byte(one.JWKS.Inline)))
		fmt.Fprintf(h, "%s %s %t\n", one.JWKS.Refresh, one.JWKS.Stale, one.JWKS.Insecure)
	}
	for _, name := range sortedKeys(c.Headers) {
		fmt.Fprintf(h, "%q %q\n", name, c.Headers[name].As)
	}
	text, _ := json.Marshal(c) // texts, numbers and lists of them: cannot fail
	h.Write(text)
	return hex.EncodeToString(h.Sum(nil))
}

func (m *jwtAuth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		token, refusal := m.credential.find(r, &m.refuse)
		if refusal == nil && token == "" && !m.optional {
			refusal = m.refuse.missing
		}
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		if token != "" {
			id, refusal := m.identify(token, time.Now())
			if refusal != nil {
				gateway.Fail(w, r, refusal)
				return
			}
			id.enter(x)
			if !m.forward {
				m.credential.withhold(r, x)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// enter says in the exchange who the caller is.
func (id *jwtIdentity) enter(x *gateway.Exchange) {
	x.Subject, x.Claims = id.subject, id.claims
	for _, h := range id.headers {
		x.SetUpstreamHeader(h.name, h.value)
	}
}

// identify is what a token proves, from memory if it is there.
func (m *jwtAuth) identify(token string, now time.Time) (*jwtIdentity, *gateway.Error) {
	if known := m.cache.get(token, now); known != nil {
		return &known.jwtIdentity, nil
	}
	t, claims, issuer, refusal := m.read(token)
	if refusal != nil {
		return nil, refusal
	}
	set, err := issuer.keys.Set(now)
	if err == nil {
		err = set.Verify(t)
	}
	if err != nil {
		if errors.Is(err, jwks.ErrUnknownKey) {
			issuer.keys.Want()
		}
		return nil, m.refuse.of(err)
	}
	id, refusal := m.judge(claims, issuer, now)
	if refusal != nil {
		return nil, refusal
	}
	m.cache.put(token, issuer.keys.Cache, set, id, now)
	return &id, nil
}

// read takes a token apart and finds out whose it says it is.
func (m *jwtAuth) read(token string) (t *jwks.Token, claims map[string]any, i *jwtIssuer, refusal *gateway.Error) {
	t, err := jwks.ParseToken(token)
	if err != nil {
		if !errors.Is(err, jwks.ErrTooLarge) && !token68(token) {
			return nil, nil, nil, m.refuse.ambiguous
		}
		return nil, nil, nil, m.refuse.of(err)
	}
	if !m.typed(t.Type) {
		return nil, nil, nil, m.refuse.typ
	}
	if claims, err = jwks.ParseObject(t.Payload); err != nil {
		return nil, nil, nil, m.refuse.malformed
	}
	name, _ := claims["iss"].(string)
	i, ok := m.issuers[name]
	switch {
	case !ok || name == "":
		return nil, nil, nil, m.refuse.issuer
	case i.algorithms != nil && !slices.Contains(i.algorithms, t.Algorithm):
		return nil, nil, nil, m.refuse.algorithm
	}
	return t, claims, i, nil
}

// typed says whether tokens may have this typ (RFC 8725, 3.11): those that were made
// for something else, such as a logout, are none that let in.
func (m *jwtAuth) typed(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return typ == "" || slices.ContainsFunc(m.types, func(t string) bool { return strings.EqualFold(t, typ) })
}

// judge looks at the claims of a token whose signature is right.
func (m *jwtAuth) judge(claims map[string]any, i *jwtIssuer, now time.Time) (id jwtIdentity, refusal *gateway.Error) {
	if id.validity, refusal = m.times(claims, now); refusal != nil {
		return id, refusal
	}
	if !i.audience(claims) {
		return id, m.refuse.aud
	}
	sub, _ := claimAt(claims, m.subject)
	if id.subject, _ = sub.(string); id.subject == "" {
		return id, m.refuse.subject
	}
	if m.several {
		id.subject = i.name + "#" + id.subject
	}
	if refusal = m.demands(claims); refusal != nil {
		return id, refusal
	}
	id.claims = claims
	var err error
	if id.headers, err = valuesOf(m.headers, claims); err != nil {
		return id, m.refuse.header
	}
	return id, nil
}

// explain takes a token as good when there are no keys to verify it with: a dry run
// fetches none.
func (m *jwtAuth) explain(r *http.Request, x *gateway.Exchange) string {
	answer := func(e *gateway.Error) string {
		x.Status = e.Status
		return fmt.Sprintf("answers %d (%s): %s", e.Status, e.Reason, e.Msg)
	}
	token, refusal := m.credential.find(r, &m.refuse)
	switch {
	case refusal != nil:
		return answer(refusal)
	case token == "" && m.optional:
		return "passes without a token, as nobody"
	case token == "":
		return answer(m.refuse.missing)
	}
	t, claims, issuer, refusal := m.read(token)
	if refusal != nil {
		return answer(refusal)
	}
	now, verified := time.Now(), "verified with the keys of "+issuer.name
	if set, err := issuer.keys.Set(now); err != nil {
		verified = "the signature is not verified, because the keys of " + issuer.name + " are not at hand"
	} else if err := set.Verify(t); err != nil {
		return answer(m.refuse.of(err))
	}
	id, refusal := m.judge(claims, issuer, now)
	if refusal != nil {
		return answer(refusal)
	}
	id.enter(x)
	return fmt.Sprintf("the caller is %q; %s", id.subject, verified)
}
