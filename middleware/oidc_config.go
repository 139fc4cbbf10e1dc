package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/jwks"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/sealed"
)

// OIDCConfig has people log in at an OpenID provider and lets requests pass that belong
// to such a login, which proves who the caller is. Browsers that open a page are sent to
// the provider (authorization code with PKCE) and come back to that page; other requests
// without a login get 401.
//
//	oidc:
//	  issuer: https://id.example.com
//	  client_id: shop
//	  client_secret: 4d0f7a
//	  cookie: {keys: ["a secret that is 32 bytes or longer"]}
//
// A session is in encrypted cookies of the browser and nowhere else, so that any gateway
// with the same settings takes it. The service behind the route never gets these cookies.
// With a refresh token (usually scope `offline_access`) the login is confirmed by the provider whenever
// its access token runs out; while the provider is away, sessions go on and new
// logins get 503. Methods that change something, and WebSockets, are refused when another site has
// the browser ask for them.
//
// The route must match the callback path, and logout paths that are set. A block with a
// name that several routes use is one login for all of them.
type OIDCConfig struct {
	// Issuer is the provider, as its discovery document names itself, by https. Its endpoints and keys
	// are found at `ISSUER/.well-known/openid-configuration`. Required.
	Issuer string `yaml:"issuer,required"`
	// ClientID is who the gateway is at the provider. Required.
	ClientID string `yaml:"client_id,required"`
	// ClientSecret proves it, as `${file:PATH}` best. Required.
	ClientSecret gateway.Secret `yaml:"client_secret,required"`
	// ExternalURL is what browsers know the gateway by, as `https://shop.example.com`. The redirect
	// URI that the provider must know is this and `redirect_path`. Plain http is for this machine
	// alone. Default: scheme and host of the request, as trusted proxies tell them.
	ExternalURL string `yaml:"external_url"`
	// RedirectPath is where the provider sends browsers back to. Default: /oauth2/callback.
	RedirectPath string `yaml:"redirect_path"`
	// Scopes are what the provider is asked for, `openid` among them. Default: [openid].
	Scopes []string `yaml:"scopes"`
	// Cookie is how sessions are kept.
	Cookie OIDCCookie `yaml:"cookie"`

	// LogoutPath ends the session here and at the provider. It takes POST, and GET by a link of the
	// same origin. Default: none.
	LogoutPath string `yaml:"logout_path"`
	// PostLogoutRedirect is where browsers go after a logout: a path here, or a URL. The provider must
	// know it. Default: /.
	PostLogoutRedirect string `yaml:"post_logout_redirect"`
	// BackchannelLogoutPath is where the provider tells of logouts. The gateway remembers the last
	// 100,000 in memory. Without a store, each process must be told, and forgets them when it ends. Default: none.
	BackchannelLogoutPath string `yaml:"backchannel_logout_path"`
	// Store is where several gateways tell each other of logouts and used logins. Default: none, each knows of its own.
	Store *OIDCStore `yaml:"store"`
	// OnStoreError says what happens while the store does not answer. With `closed`, logins get 503, and so do people
	// who are logged in when other logouts cannot be known for `max_stale`, or were never; so does a provider that tells of a logout,
	// which ends here and is passed on later. `local` goes on with what this gateway knows. Default: closed.
	OnStoreError string `yaml:"on_store_error"`

	// API are path prefixes where nobody is sent to the provider, and 401 is the answer to browsers
	// too. Default: none.
	API []string `yaml:"api"`
	// Subject is the claim of the ID token that says who the caller is. A dot leads into an object. Default: sub.
	Subject string `yaml:"subject"`
	// Claims are demands on the ID token. Whoever does not meet all of them gets 403. Default: none.
	Claims []JWTClaim `yaml:"claims"`
	// Headers are request headers that tell the upstream of claims of the ID token, by name. What
	// clients send under these names, or aliases of them, is dropped or refused, on all routes. Default: none.
	Headers map[string]JWTHeader `yaml:"headers"`
}

// OIDCCookie is how a session is kept in the browser.
type OIDCCookie struct {
	// Name of the cookie; large sessions take up to three more, with -1 to -3 behind it. It begins with `__Host-`,
	// so that no other host can set it, but on plain http at this machine goes without. Default: __Host-pithead.
	Name string `yaml:"name"`
	// Keys encrypt sessions: secrets of at least 32 bytes, up to 8. The first one encrypts, each decrypts, so
	// that a new one goes in front and the old one goes after max_age. Required.
	Keys []gateway.Secret `yaml:"keys"`
	// MaxAge is how long a session lasts after the login, however much it is used. Default: 8h.
	MaxAge time.Duration `yaml:"max_age"`
}

const (
	hostPrefix     = "__Host-"
	scopeOpenID    = "openid"
	maxSessionLife = 30 * 24 * time.Hour
)

// Validate checks everything but what only the provider can tell.
func (c OIDCConfig) Validate() error {
	errs := []error{c.validateClient(), c.validatePaths(), c.Cookie.validate(), validateStore(c.Store != nil, c.OnStoreError)}
	headers := JWTConfig{Headers: c.Headers}
	return errors.Join(append(errs, headers.validateHeaders())...)
}

func (c OIDCConfig) validateClient() error {
	var errs []error
	if strings.HasPrefix(c.Issuer, schemeHTTP+"://") && (jwks.Remote{Issuer: c.Issuer}).Check() != nil {
		errs = append(errs, kind.At("issuer", "is not https: whoever can change its answers can log in as anybody"))
	} else if err := (jwks.Remote{Issuer: c.Issuer}).Check(); c.Issuer != "" && err != nil {
		errs = append(errs, kind.At("issuer", "%s %w", c.Issuer, err))
	}
	if !slices.Contains(c.Scopes, scopeOpenID) {
		errs = append(errs, kind.At("scopes", "openid is missing, without which the provider does not say who has logged in"))
	}
	for i, scope := range c.Scopes {
		if scope == "" || strings.ContainsAny(scope, " \"\\\t\r\n") {
			errs = append(errs, kind.At(fmt.Sprintf("scopes[%d]", i), "%q is no scope; write each one as an entry of the list", scope))
		}
	}
	if c.ExternalURL == "" {
		return errors.Join(errs...)
	}
	u, err := url.Parse(c.ExternalURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "",
		u.Scheme != schemeHTTP && u.Scheme != schemeHTTPS:
		errs = append(errs, kind.At("external_url", "%q is not scheme and host; write for example https://shop.example.com", c.ExternalURL))
	case u.Scheme == schemeHTTP && !gateway.IsLoopback(u.Hostname()):
		errs = append(errs, kind.At("external_url", "is not https: whoever can listen would have the sessions"))
	}
	return errors.Join(errs...)
}

func (c OIDCConfig) validatePaths() error {
	var errs []error
	seen := make(map[string]string)
	for _, p := range []struct{ name, path string }{
		{"redirect_path", c.RedirectPath}, {"logout_path", c.LogoutPath}, {"backchannel_logout_path", c.BackchannelLogoutPath},
	} {
		if p.path == "" && p.name != "redirect_path" {
			continue
		}
		if !plainPath(p.path) {
			errs = append(errs, kind.At(p.name, "%q is no plain path; write for example /oauth2/callback", p.path))
		}
		if other := seen[p.path]; other != "" {
			errs = append(errs, kind.At(p.name, "is the same as %s", other))
		}
		seen[p.path] = p.name
	}
	for i, prefix := range c.API {
		if !plainPath(prefix) {
			errs = append(errs, kind.At(fmt.Sprintf("api[%d]", i), "%q is no plain path; write for example /api/", prefix))
		}
	}
	if to := c.PostLogoutRedirect; !localPath(to) {
		u, err := url.Parse(to)
		if err != nil || u.Host == "" || u.Scheme != schemeHTTPS && (u.Scheme != schemeHTTP || !gateway.IsLoopback(u.Hostname())) {
			errs = append(errs, kind.At("post_logout_redirect", "%q is neither a path nor an https URL", to))
		}
	}
	return errors.Join(errs...)
}

// reachable checks that the route matches the paths of a block that is its alone. Those of
// a named block may be for another route that uses it.
func (c OIDCConfig) reachable(env Env) error {
	exact, prefix := env.Match.Path, env.Match.Prefix
	if !strings.HasPrefix(env.Key, "route/") || strings.Contains(exact+prefix, "{") {
		return nil
	}
	var errs []error
	for _, p := range []struct{ name, path string }{
		{"redirect_path", c.RedirectPath}, {"logout_path", c.LogoutPath}, {"backchannel_logout_path", c.BackchannelLogoutPath},
	} {
		under := strings.HasPrefix(p.path+"/", strings.TrimSuffix(prefix, "/")+"/")
		if p.path != "" && (exact != "" && p.path != exact || prefix != "" && !under) {
			errs = append(errs, kind.At(p.name, "%s is not matched by this route; write a path that is, or name the block and use it on another route too", p.path))
		}
	}
	return errors.Join(errs...)
}

func (c OIDCCookie) validate() error {
	var errs []error
	rest, ok := strings.CutPrefix(c.Name, hostPrefix)
	if !ok || !grammar.IsToken(rest) || len(c.Name) > 64 {
		errs = append(errs, kind.At("cookie.name", "%q does not fit; write __Host- and up to 57 letters, digits or dashes", c.Name))
	}
	switch n := len(c.Keys); {
	case n == 0:
		errs = append(errs, kind.At("cookie", "has no keys; write keys: [\"${file:PATH}\"] with a secret of at least 32 bytes, such as `openssl rand -hex 32` makes"))
	case n > sealed.MaxSecrets:
		errs = append(errs, kind.At("cookie.keys", "has %d keys; at most %d are tried", n, sealed.MaxSecrets))
	}
	for i, key := range c.Keys {
		if len(key) < sealed.MinSecret {
			errs = append(errs, kind.At(fmt.Sprintf("cookie.keys[%d]", i), "has %d bytes; it needs at least %d", len(key), sealed.MinSecret))
		}
	}
	if c.MaxAge < time.Minute || c.MaxAge > maxSessionLife {
		errs = append(errs, kind.At("cookie.max_age", "is not from 1m to %s", maxSessionLife))
	}
	return errors.Join(errs...)
}

// plainPath says whether a path of the settings is in the form in which requests have it.
func plainPath(path string) bool {
	canonical, _, err := canon.Path(path, 0)
	return err == nil && canonical == path && localPath(path) && !strings.ContainsAny(path, "?#{}*")
}

// localPath says whether a browser that is told to go to this target stays at the same origin.
// It reads \ as / and skips control characters, so that `/\evil.example` leads away.
func localPath(target string) bool {
	if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return false
	}
	return !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' })
}

// isUnsafe says whether a request may change something, or opens a connection on which
// it can.
func isUnsafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.Header.Get("Upgrade") != ""
	}
	return true
}
