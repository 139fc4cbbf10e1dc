package middleware

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/sealed"
)

const (
	loginLife = 10 * time.Minute
	maxBack   = 2 << 10
	// loginSlots is how many logins of a browser can be under way: one for each of some pages
	// that it opens together. A further one takes the place of another.
	loginSlots = 8
)

// opensPage says whether a person opens a page with this request. Only they are sent to the
// provider: for anything else its login form would be the answer to something that has not
// asked for one.
func (m *oidcAuth) opensPage(r *http.Request, p place) bool {
	for _, prefix := range m.API {
		if strings.HasPrefix(p.url.Path, prefix) {
			return false
		}
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method == http.MethodGet && strings.Contains(strings.ToLower(r.Header.Get("Accept")), "text/html") &&
		(mode == "" || mode == "navigate") && r.Header.Get("X-Requested-With") == "" && !gateway.IsStream(r)
}

// unknown answers whoever has no session.
func (m *oidcAuth) unknown(w http.ResponseWriter, r *http.Request, p place, now time.Time) error {
	if !m.opensPage(r, p) {
		return m.refuse.missing
	}
	e, err := m.kept.provider.endpoints(r.Context())
	if err != nil {
		return because(m.refuse.provider, err)
	}
	l := &oidcLogin{
		until: now.Add(loginLife), state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier(),
		back: backTo(p.url), caller: p.origin + m.RedirectPath,
	}
	h := w.Header()
	jar := p.jars.loginJar(l.state)
	if err := jar.Write(h, r.Header, m.logins.Seal(l.encode()), loginLife); err != nil {
		return fmt.Errorf("cookie of the login: %w", err)
	}
	to := m.config(e, l.caller).AuthCodeURL(l.state, oauth2.S256ChallengeOption(l.verifier), oauth2.SetAuthURLParam("nonce", l.nonce))
	m.kept.counts.begun.Add(1)
	found(w, http.StatusFound, to)
	return nil
}

// loginJar is where the login with this state is kept.
func (j oidcJars) loginJar(state string) sealed.Jar {
	jar := j.session
	slot := byte('0')
	if state != "" {
		slot += state[0] % loginSlots
	}
	jar.Name = j.login + string(slot)
	return jar
}

// backTo is where the browser goes after the login: to the page that it has asked for.
func backTo(u *url.URL) string {
	if back := u.RequestURI(); len(back) <= maxBack && localPath(back) {
		return back
	}
	return "/"
}

// found sends a browser elsewhere, with an answer that is for it alone.
func found(w http.ResponseWriter, status int, to string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // there is a code in the address of the callback
	h["Location"] = []string{to}
	w.WriteHeader(status)
}

// callback takes the provider's answer to a login.
func (m *oidcAuth) callback(w http.ResponseWriter, r *http.Request, p place) error {
	if r.Method != http.MethodGet {
		return allowing(m.refuse.method, http.MethodGet)
	}
	now := time.Now()
	answer, err := loginAnswer(p.url)
	if err != nil {
		return because(m.refuse.state, err)
	}
	jar := p.jars.loginJar(answer.state)
	l, err := m.begun(r, jar, answer.state, p, now)
	if err != nil {
		return because(m.refuse.state, err)
	}
	switch used, err := m.once(r.Context(), "state "+l.state, now, l.until); {
	case used:
		return because(m.refuse.state, errors.New("the login has been completed before"))
	case err != nil && m.OnStoreError == onErrorClosed:
		m.again("state " + l.state)
		return because(m.refuse.store, err)
	}
	s, err := m.complete(r.Context(), answer, l, now)
	if err != nil {
		return err
	}
	h := w.Header()
	text := m.sessions.Seal(s.encode())
	if err := p.jars.session.Write(h, r.Header, text, m.Cookie.MaxAge); err != nil {
		clear(h)
		return because(m.refuse.large, err)
	}
	m.kept.counts.sizes.Observe(len(text))
	jar.Clear(h, r.Header)
	found(w, http.StatusFound, l.back)
	return nil
}

func allowing(e *gateway.Error, methods string) *gateway.Error {
	told := *e
	told.Allow = methods
	return &told
}

// loginResult is what the provider says in the address of the callback.
type loginResult struct{ code, state, issuer, failure string }

func loginAnswer(u *url.URL) (a loginResult, err error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return a, err
	}
	for name, into := range map[string]*string{"code": &a.code, "state": &a.state, "iss": &a.issuer, "error": &a.failure} {
		switch values := query[name]; len(values) {
		case 0:
		case 1:
			*into = values[0]
		default:
			return a, fmt.Errorf("%s is there %d times", name, len(values))
		}
	}
	if a.state == "" || (a.code == "") == (a.failure == "") {
		return a, errors.New("it has no state, or not one of code and error")
	}
	return a, nil
}

// begun is the login that this browser has begun with this state.
func (m *oidcAuth) begun(r *http.Request, jar sealed.Jar, state string, p place, now time.Time) (*oidcLogin, error) {
	text, ok := jar.Read(r.Header)
	if !ok {
		return nil, errors.New("the browser has no such login")
	}
	plain, err := m.logins.Open(text)
	if err != nil {
		return nil, err
	}
	l, err := decodeOIDCLogin(plain)
	switch {
	case err != nil:
		return nil, err
	case subtle.ConstantTimeCompare([]byte(l.state), []byte(state)) != 1:
		return nil, errors.New("the login of the browser is another one")
	case !now.Before(l.until):
		return nil, errors.New("the login was begun too long ago")
	case l.caller != p.origin+m.RedirectPath:
		return nil, errors.New("the login was begun at another host")
	}
	return l, nil
}

// complete makes a session of what the provider says.
func (m *oidcAuth) complete(ctx context.Context, a loginResult, l *oidcLogin, now time.Time) (*oidcSession, error) {
	e, err := m.kept.provider.endpoints(ctx)
	if err != nil {
		return nil, because(m.refuse.provider, err)
	}
	switch {
	// RFC 9207: an answer of another provider must not have its code sent to this one.
	case a.issuer != "" && a.issuer != m.Issuer, a.issuer == "" && e.namesItself:
		return nil, because(m.refuse.token, fmt.Errorf("the answer is that of %.200q", a.issuer))
	case a.failure != "":
		return nil, because(m.refuse.refused, fmt.Errorf("error %.100q", a.failure))
	}
	t, err := m.exchange(ctx, e, a.code, l)
	if err != nil {
		return nil, m.refuse.ofProvider(err, m.refuse.code)
	}
	raw, _ := t.Extra("id_token").(string)
	claims, err := m.idToken(ctx, raw, l.nonce, time.Now())
	switch {
	case errors.Is(err, jwks.ErrNoKeys):
		return nil, because(m.refuse.provider, err)
	case err != nil:
		return nil, because(m.refuse.token, err)
	case len(t.RefreshToken) > jwks.MaxToken:
		return nil, because(m.refuse.large, errors.New("the refresh token"))
	}
	if sub, _ := claimAt(claims, m.Subject); sub == nil {
		return nil, m.refuse.subject
	}
	s := &oidcSession{id: rand.Text(), login: now, until: now.Add(m.Cookie.MaxAge), token: raw, refresh: t.RefreshToken}
	s.schedule(t, now)
	return s, nil
}
