package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/jwks"
)

const (
	providerTimeout = 5 * time.Second
	providerFresh   = time.Hour
	providerPause   = 2 * time.Second // after a failure nobody asks again for so long
	maxProviderText = 1 << 20
)

// errProviderAway says that the provider could not be asked. What it has answered is
// another thing.
var errProviderAway = errors.New("the provider cannot be asked")

// oidcEndpoints are what the discovery document of a provider says.
type oidcEndpoints struct {
	authorize, token, endSession string
	style                        oauth2.AuthStyle
	namesItself                  bool // in its answers to logins, RFC 9207
	read                         time.Time
}

// oidcProvider is one provider and what is known of it. The client follows no redirects:
// secrets go where discovery has said, and nowhere else.
type oidcProvider struct {
	issuer  string
	client  *http.Client
	current atomic.Pointer[oidcEndpoints]

	mu     sync.Mutex // taken by logins alone, while one of them reads the document
	failed time.Time
	err    error
}

func newOIDCProvider(issuer string) *oidcProvider {
	u, err := url.Parse(issuer)
	loopback := err == nil && gateway.IsLoopback(u.Hostname())
	dialer := &net.Dialer{Timeout: 2 * time.Second, Control: gateway.GuardDial(loopback)}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 3 * time.Second, ForceAttemptHTTP2: true,
		DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
	}
	return &oidcProvider{issuer: issuer, client: &http.Client{
		Transport: transport, Timeout: providerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// endpoints reads the discovery document when a login needs it, and again each hour.
// While that fails the last one holds.
func (p *oidcProvider) endpoints(ctx context.Context) (*oidcEndpoints, error) {
	known := p.current.Load()
	if known != nil && time.Since(known.read) < providerFresh {
		return known, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if again := p.current.Load(); again != known {
		return again, nil
	}
	if time.Since(p.failed) >= providerPause {
		// The answer is for others too, who are still there when this client has left.
		read, err := p.discover(context.WithoutCancel(ctx))
		if err == nil {
			p.current.Store(read)
			return read, nil
		}
		p.failed, p.err = time.Now(), err
	}
	if known != nil {
		return known, nil
	}
	return nil, fmt.Errorf("%w: %w", errProviderAway, p.err)
}

func (p *oidcProvider) discover(ctx context.Context) (*oidcEndpoints, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration", http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // it has been read
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProviderText+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the discovery document: status %d", res.StatusCode)
	case len(text) > maxProviderText:
		return nil, errors.New("the discovery document is too large")
	}
	members, err := jwks.ParseObject(string(text))
	if err != nil {
		return nil, fmt.Errorf("the discovery document %w", err)
	}
	return p.read(members)
}

// read takes no document of another issuer: else somebody could speak for another
// (OpenID Connect Discovery, 4.3).
func (p *oidcProvider) read(members map[string]any) (*oidcEndpoints, error) {
	if members["issuer"] != p.issuer {
		return nil, fmt.Errorf("the discovery document is that of %.200q, not of %q", members["issuer"], p.issuer)
	}
	e := &oidcEndpoints{style: oauth2.AuthStyleInHeader, read: time.Now()}
	e.namesItself, _ = members["authorization_response_iss_parameter_supported"].(bool)
	for _, m := range []struct {
		name     string
		into     *string
		optional bool
	}{{"authorization_endpoint", &e.authorize, false}, {"token_endpoint", &e.token, false}, {"end_session_endpoint", &e.endSession, true}} {
		*m.into, _ = members[m.name].(string)
		if *m.into == "" && m.optional {
			continue
		}
		if err := (jwks.Remote{URL: *m.into}).Check(); err != nil {
			return nil, fmt.Errorf("the discovery document has %.200q for %s, which %w", *m.into, m.name, err)
		}
	}
	methods, told := members["token_endpoint_auth_methods_supported"].([]any)
	if told && !slices.Contains(methods, any("client_secret_basic")) {
		e.style = oauth2.AuthStyleInParams
	}
	return e, nil
}

// config is the client at this provider, as golang.org/x/oauth2 wants it.
func (m *oidcAuth) config(e *oidcEndpoints, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: m.ClientID, ClientSecret: m.ClientSecret.Reveal(), RedirectURL: redirect, Scopes: m.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: e.authorize, TokenURL: e.token, AuthStyle: e.style},
	}
}

// away tells apart that the provider has refused, and that it could not be asked.
func away(err error) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if ok && refused.Response.StatusCode < http.StatusInternalServerError && refused.Response.StatusCode != http.StatusTooManyRequests {
		// The text of the error has the whole answer in it.
		return fmt.Errorf("the provider has refused: status %d, error %.100q", refused.Response.StatusCode, refused.ErrorCode)
	}
	if ok {
		return fmt.Errorf("%w: status %d", errProviderAway, refused.Response.StatusCode)
	}
	return fmt.Errorf("%w: %w", errProviderAway, err)
}

// exchange redeems the code of a login.
func (m *oidcAuth) exchange(ctx context.Context, e *oidcEndpoints, code string, l *oidcLogin) (*oauth2.Token, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, m.kept.provider.client)
	t, err := m.config(e, l.caller).Exchange(ctx, code, oauth2.VerifierOption(l.verifier))
	if err != nil {
		return nil, away(err)
	}
	return t, nil
}

// refresh redeems a refresh token.
func (m *oidcAuth) refresh(ctx context.Context, token string) (*oauth2.Token, error) {
	e, err := m.kept.provider.endpoints(ctx)
	if err != nil {
		return nil, err
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, m.kept.provider.client)
	t, err := m.config(e, "").TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	if err != nil {
		return nil, away(err)
	}
	return t, nil
}
