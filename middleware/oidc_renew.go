package middleware

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/pithead/pithead/gateway/jwks"
)

const (
	renewAhead   = time.Minute      // before the access token runs out
	leastRenewal = 30 * time.Second // between two of a session
	anyRenewal   = time.Hour        // when the provider does not say how long an access token lasts
	renewalKept  = 5 * time.Minute  // for requests that the browser has sent before it had the new cookies
	renewalPause = 30 * time.Second // after the provider could not be asked
)

// oidcRenewal is one use of a refresh token. What it has come to is valid when done is
// closed.
type oidcRenewal struct {
	done    chan struct{}
	session *oidcSession // nil if it has failed
	ended   bool         // the provider does not want the session to go on
}

// schedule says when the provider is to confirm the session: before its access token runs out.
func (s *oidcSession) schedule(t *oauth2.Token, now time.Time) {
	s.renew = time.Time{}
	if s.refresh == "" {
		return
	}
	life := anyRenewal
	if !t.Expiry.IsZero() {
		life = t.Expiry.Sub(now)
	}
	s.renew = now.Add(max(life-min(renewAhead, life/4), leastRenewal))
}

// renewed is the session when the provider has confirmed it, if it is time for that. One
// request asks, and the others go on with the session as it is. Refresh tokens are
// often good for one use, so that requests with the old cookies, which may come for a
// while, get what the first one got.
func (m *oidcAuth) renewed(w http.ResponseWriter, r *http.Request, p place, known *knownSession, now time.Time) *knownSession {
	s := known.session
	if s.renew.IsZero() || now.Before(s.renew) {
		return known
	}
	sum := sha256.Sum256([]byte(s.refresh))
	key := string(sum[:])
	mine := &oidcRenewal{done: make(chan struct{})}
	it, was := m.kept.renewals.GetOrPut(key, mine, now, now.Add(renewalKept))
	if !was {
		m.ask(context.WithoutCancel(r.Context()), it, s)
		m.kept.counts.refresh(it)
		if it.session == nil && !it.ended {
			end := time.Now()
			m.kept.renewals.Put(key, it, end, end.Add(renewalPause))
		}
	}
	select {
	case <-it.done:
	default:
		return known
	}
	switch {
	case it.ended:
		p.jars.session.Clear(w.Header(), r.Header)
		return nil
	case it.session == nil || it.session.id != s.id:
		return known
	}
	return m.adopt(w, r, p, it.session, known, now)
}

// adopt gives the browser the cookies of a renewed session. They are for it alone, even in
// an answer that a cache may keep (RFC 9111, 7.3).
func (m *oidcAuth) adopt(w http.ResponseWriter, r *http.Request, p place, s *oidcSession, before *knownSession, now time.Time) *knownSession {
	fresh, err := m.judged(s)
	if err != nil {
		return before
	}
	text := m.sessions.Seal(s.encode())
	if err := p.jars.session.Write(w.Header(), r.Header, text, s.until.Sub(now)); err != nil {
		return before
	}
	m.kept.counts.sizes.Observe(len(text))
	w.Header().Add("Cache-Control", `no-cache="Set-Cookie"`)
	return fresh
}

// ask uses the refresh token. The request may go away meanwhile: the answer comes once.
func (m *oidcAuth) ask(ctx context.Context, it *oidcRenewal, s *oidcSession) {
	defer close(it.done)
	ctx, cancel := context.WithTimeout(ctx, providerTimeout)
	defer cancel()
	t, err := m.refresh(ctx, s.refresh)
	if err != nil {
		it.ended = !errors.Is(err, errProviderAway)
		return
	}
	now := time.Now()
	raw, _ := t.Extra("id_token").(string)
	if err := m.renewedToken(ctx, raw, s, now); err != nil {
		it.ended = !errors.Is(err, jwks.ErrNoKeys)
		return
	}
	next := *s
	if raw != "" {
		next.token = raw
	}
	if t.RefreshToken != "" && len(t.RefreshToken) <= jwks.MaxToken {
		next.refresh = t.RefreshToken
	}
	next.schedule(t, now)
	it.session = &next
}
