package middleware

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

const (
	maxLogoutForm = 64 << 10
	// maxHint keeps the address of a logout within what servers and browsers take. The provider
	// asks the person where it gets no hint.
	maxHint = 4 << 10
)

// logout ends the session of a browser, here and at the provider (OpenID Connect RP-Initiated
// Logout 1.0).
func (m *oidcAuth) logout(w http.ResponseWriter, r *http.Request, p place) error {
	switch r.Method {
	case http.MethodPost:
		if m.foreign(r) {
			return m.refuse.csrf
		}
	case http.MethodGet:
		// An image of another site must not log people out; browsers say that they follow a link here.
		if r.Header.Get("Sec-Fetch-Site") != "same-origin" {
			return m.refuse.csrf
		}
	default:
		return allowing(m.refuse.method, "GET, POST")
	}
	now := time.Now()
	var s *oidcSession
	if known, _ := m.session(r, p, now); known != nil {
		s = known.session
		// Who has copied the cookies has them still.
		_ = m.end(r.Context(), "id "+s.id, now, s.until) // the browser has no part in what others know
		m.kept.counts.leftHere.Add(1)
	}
	p.jars.session.Clear(w.Header(), r.Header)
	found(w, http.StatusSeeOther, m.afterLogout(r, p, s))
	return nil
}

// afterLogout is the provider's end of the logout if it has one and can be reached, else where that leads.
func (m *oidcAuth) afterLogout(r *http.Request, p place, s *oidcSession) string {
	e, err := m.kept.provider.endpoints(r.Context())
	if err != nil || e.endSession == "" || s == nil {
		return m.PostLogoutRedirect
	}
	u, err := url.Parse(e.endSession)
	if err != nil {
		return m.PostLogoutRedirect
	}
	back := m.PostLogoutRedirect
	if strings.HasPrefix(back, "/") {
		back = p.origin + back
	}
	query := u.Query()
	query.Set("client_id", m.ClientID)
	query.Set("post_logout_redirect_uri", back)
	if len(s.token) <= maxHint {
		query.Set("id_token_hint", s.token)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// backchannel takes the provider's word that somebody has logged out (OpenID Connect Back-Channel
// Logout 1.0).
func (m *oidcAuth) backchannel(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return allowing(m.refuse.method, http.MethodPost)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutForm)
	if err := r.ParseForm(); err != nil {
		return because(m.refuse.logout, err)
	}
	tokens := r.PostForm["logout_token"]
	if len(tokens) != 1 {
		return because(m.refuse.logout, errors.New("there is not one logout_token"))
	}
	now := time.Now()
	t, err := m.logoutToken(r.Context(), tokens[0], now)
	switch {
	case errors.Is(err, jwks.ErrNoKeys):
		return because(m.refuse.provider, err)
	case err != nil:
		return because(m.refuse.logout, err)
	}
	// While the store is away the logout is at least known here, and a token that is sent again is good.
	if used, _ := m.once(r.Context(), "jti "+t.id, now, now.Add(maxLogoutAge+idTokenLeeway)); used {
		return because(m.refuse.logout, errors.New("logout token: it was used before"))
	}
	what := "sid " + t.sid
	if t.sid == "" {
		what = "sub " + t.sub
	}
	if err := m.end(r.Context(), what, now, now.Add(m.Cookie.MaxAge)); err != nil && m.OnStoreError == onErrorClosed {
		m.again("jti " + t.id)
		return because(m.refuse.store, err)
	}
	m.kept.counts.leftAtProvider.Add(1)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}
