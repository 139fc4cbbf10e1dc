package middleware

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

const (
	knownSessions     = 10_000
	maxKnownSessions  = 32 << 20 // bytes
	knownSessionBytes = 512      // of one beside its texts
)

// knownSession is a session whose cookies were opened and judged once. It is good until the
// session ends, unless a logout has ended it before. It never changes.
type knownSession struct {
	session *oidcSession
	claims  gateway.Claims
	until   time.Time // the end of the session

	over    []endedBy
	subject string
	headers []provenHeader
	refusal *gateway.Error // of the demands on its claims
}

// knownSessionsOf is what blocks with the same settings know of sessions, by the sealed text.
type knownSessionsOf struct {
	seed  maphash.Seed
	cache *slotCache[*knownSession]
}

func newKnownSessions() *knownSessionsOf {
	return &knownSessionsOf{maphash.MakeSeed(), newSlotCache[*knownSession](knownSessions, maxKnownSessions)}
}

func (k *knownSessionsOf) get(text string, now time.Time) *knownSession {
	s, _ := k.cache.get(maphash.String(k.seed, text), text, now)
	return s
}

func (k *knownSessionsOf) put(text string, s *knownSession, now time.Time) {
	size := knownSessionBytes + len(s.session.token) + len(s.session.refresh) + claimBytes(map[string]any(s.claims))
	k.cache.put(maphash.String(k.seed, text), text, s, size, s.until, now)
}

func (k *knownSessionsOf) remove(text string) {
	k.cache.remove(maphash.String(k.seed, text), text)
}

// session is the one that the request belongs to, nil if there is none that is good. was says
// that it was known before.
func (m *oidcAuth) session(r *http.Request, p place, now time.Time) (s *knownSession, was bool) {
	text, ok := p.jars.session.Read(r.Header)
	if !ok {
		return nil, false
	}
	s = m.known.get(text, now)
	if was = s != nil; !was {
		if s = m.open(text, now); s == nil {
			return nil, false
		}
		m.known.put(text, s, now)
	}
	if m.kept.ended.have(s, now) {
		m.known.remove(text)
		return nil, false
	}
	return s, was
}

// open is the session that was sealed as text, nil if it is none or has ended.
func (m *oidcAuth) open(text string, now time.Time) *knownSession {
	plain, err := m.sessions.Open(text)
	if err != nil {
		return nil
	}
	s, err := decodeOIDCSession(plain)
	if err != nil || !now.Before(s.until) || s.login.Add(m.Cookie.MaxAge).Before(now) {
		return nil
	}
	known, err := m.judged(s)
	if err != nil {
		return nil
	}
	return known
}

// judged is a session with what its claims say of the caller.
func (m *oidcAuth) judged(s *oidcSession) (*knownSession, error) {
	claims, err := s.claims()
	if err != nil {
		return nil, err
	}
	k := &knownSession{session: s, claims: claims, until: s.until}
	if end := s.login.Add(m.Cookie.MaxAge); end.Before(k.until) {
		k.until = end
	}
	sub, _ := claims["sub"].(string)
	sid, _ := claims["sid"].(string)
	k.over = m.endings(s.id, sid, sub)
	k.subject, k.headers, k.refusal = m.demand(claims)
	return k, nil
}

// demand is who the caller is by the claims, or why they are not enough.
func (m *oidcAuth) demand(claims map[string]any) (string, []provenHeader, *gateway.Error) {
	subject, _ := claimAt(claims, m.Subject)
	name, _ := subject.(string)
	if name == "" {
		return "", nil, m.refuse.subject
	}
	for _, c := range m.Claims {
		if !c.met(claims) {
			return "", nil, m.refuse.denied
		}
	}
	headers, err := valuesOf(m.headers, claims)
	if err != nil {
		return "", nil, m.refuse.header
	}
	return name, headers, nil
}

// enter says in the exchange who the caller is.
func (s *knownSession) enter(x *gateway.Exchange) *gateway.Error {
	if s.refusal != nil {
		return s.refusal
	}
	x.Subject, x.Claims = s.subject, s.claims
	for _, h := range s.headers {
		x.SetUpstreamHeader(h.name, h.value)
	}
	return nil
}

// fingerprint is the same for blocks that take the same sessions for the same thing, and for
// no others. meaning is what sessions are sealed for.
func (c OIDCConfig) fingerprint(meaning string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %q", meaning, c.Cookie.MaxAge, c.Subject, c.Claims)
	for _, key := range c.Cookie.Keys {
		fmt.Fprintf(&b, " %q", key.Reveal())
	}
	for _, name := range sortedKeys(c.Headers) {
		fmt.Fprintf(&b, " %q %q %q", name, c.Headers[name].Claim, c.Headers[name].As)
	}
	return b.String()
}
