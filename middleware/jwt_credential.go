package middleware

import (
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
)

const (
	authorization = "Authorization"
	bearer        = "bearer"
)

// credential is where tokens may be in a request.
type credential struct {
	header string // canonical
	cookie string // "" reads none
	csrf   *http.CrossOriginProtection
}

// newCredential reads what the settings say of it.
func newCredential(c JWTConfig) credential {
	k := credential{header: http.CanonicalHeaderKey(c.Header), cookie: c.Cookie}
	if k.header == "" {
		k.header = authorization
	}
	if c.CookieCSRF == csrfOrigin {
		k.csrf = http.NewCrossOriginProtection()
	}
	return k
}

// find is the one token of a request, "" if it has none. Of two, an upstream might
// believe the one that was not looked at.
func (k *credential) find(r *http.Request, refuse *jwtRefusals) (string, *gateway.Error) {
	values := r.Header[k.header]
	token, inCookie := "", false
	switch len(values) {
	case 0:
	case 1:
		var ok bool
		if token, ok = k.bare(values[0]); !ok {
			return "", refuse.ambiguous
		}
	default:
		return "", refuse.ambiguous
	}
	if k.cookie != "" {
		value, count := cookies(r.Header, k.cookie)
		if count > 1 || count == 1 && token != "" {
			return "", refuse.ambiguous
		}
		if inCookie = count == 1 && value != ""; inCookie {
			token = value
		}
	}
	if inCookie && !k.safe(r) {
		return "", refuse.csrf
	}
	return token, nil
}

// bare takes the scheme away, which is written in any case and followed by one
// space (RFC 6750, 2.1). A scheme other than Bearer is no token, and no mistake.
func (k *credential) bare(value string) (token string, ok bool) {
	scheme, rest, spaced := strings.Cut(value, " ")
	switch {
	case strings.EqualFold(scheme, bearer):
		return rest, spaced && rest != ""
	case k.header != authorization:
		return value, true
	case !grammar.IsToken(scheme):
		return "", value == ""
	}
	// Two credentials in one line, or in two that somebody has joined.
	return "", !strings.Contains(strings.ToLower(strings.ReplaceAll(rest, "\t", " ")), ", "+bearer+" ") &&
		!strings.Contains(strings.ToLower(rest), ","+bearer+" ")
}

// token68 says whether s has only the characters of a credential, RFC 9110, 11.2.
// What has others may be several of them.
func token68(s string) bool {
	for i := range len(s) {
		if !inToken68[s[i]] {
			return false
		}
	}
	return s != ""
}

var inToken68 = func() (t [256]bool) {
	for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~+/=") {
		t[c] = true
	}
	return t
}()

// cookies is the value of a cookie, and how often it is there.
func cookies(h http.Header, name string) (value string, count int) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			key, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(key, " \t") == name {
				value, count = v, count+1
			}
		}
	}
	return value, count
}

// safe says whether a browser may have been made by another site to send r.
func (k *credential) safe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return true
	}
	return k.csrf != nil && k.csrf.Check(r) == nil
}

// withhold keeps the token out of the request that goes upstream.
func (k *credential) withhold(r *http.Request, x *gateway.Exchange) {
	x.DropUpstreamHeader(k.header)
	if k.cookie == "" {
		return
	}
	if _, count := cookies(r.Header, k.cookie); count == 0 {
		return
	}
	var others []string
	for pair := range strings.SplitSeq(strings.Join(r.Header["Cookie"], ";"), ";") {
		pair = strings.Trim(pair, " \t")
		if key, _, _ := strings.Cut(pair, "="); strings.TrimRight(key, " \t") != k.cookie {
			others = append(others, pair)
		}
	}
	if len(others) == 0 {
		x.DropUpstreamHeader("Cookie")
		return
	}
	x.SetUpstreamHeader("Cookie", strings.Join(others, "; "))
}
