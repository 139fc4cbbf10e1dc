package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

const (
	maxDocument   = 1 << 20
	rediscover    = time.Hour
	discoveryPath = "/.well-known/openid-configuration"
)

// Remote says where keys are fetched from: URL, or what the issuer's discovery
// document names if there is none.
type Remote struct {
	Issuer   string
	URL      string
	Insecure bool              // allows http
	Client   http.RoundTripper // default: one of its own, which dials no link-local addresses
}

// Check says what is wrong with the URL that the keys begin with, in words for
// the operator.
func (r Remote) Check() error {
	_, err := r.allowed(r.first())
	return err
}

func (r Remote) first() string {
	if r.URL != "" {
		return r.URL
	}
	return strings.TrimSuffix(r.Issuer, "/") + discoveryPath
}

// allowed keeps keys from coming over a connection that anybody on the way can
// change, and the gateway from being sent to the metadata service of its cloud.
func (r Remote) allowed(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("is no URL of a web server")
	}
	local := gateway.IsLoopback(u.Hostname())
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if why := gateway.Denied(ip, true); why != "" {
			return nil, fmt.Errorf("leads to a %s address", why)
		}
	}
	switch {
	case u.Scheme == "https", u.Scheme == "http" && (r.Insecure || local):
		return u, nil
	case u.Scheme == "http":
		return nil, errors.New("is not https: whoever can change its answer can make tokens; `insecure: true` under jwks accepts that")
	}
	return nil, errors.New("is no https URL")
}

// Loader fetches the keys over HTTP.
func (r Remote) Loader() Loader {
	f := &fetcher{Remote: r}
	first, err := url.Parse(r.first())
	loopback := err == nil && gateway.IsLoopback(first.Hostname())
	if f.Client == nil {
		f.Client = transport(loopback)
	}
	return f.load
}

// transport opens a connection for each request, since there are few, and looks at
// the address that a name has led to.
func transport(loopback bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 2 * time.Second, Control: gateway.GuardDial(loopback)}
	return &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 3 * time.Second, DisableKeepAlives: true,
		DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}
}

// fetcher is used by one goroutine.
type fetcher struct {
	Remote
	found      string // the URL of the keys that discovery has named
	discovered time.Time
}

func (f *fetcher) load(ctx context.Context, again bool) (Answer, error) {
	from := f.URL
	if from == "" {
		if f.found == "" || !again && time.Since(f.discovered) > rediscover {
			if err := f.discover(ctx); err != nil {
				return Answer{}, err
			}
		}
		from = f.found
	}
	answer, err := f.get(ctx, from)
	if err != nil {
		f.found = "" // perhaps they have moved
	}
	return answer, err
}

// discover follows OpenID Connect Discovery 1.0. The issuer in the document must be
// the one that was asked (4.3): else somebody could speak for another.
func (f *fetcher) discover(ctx context.Context) error {
	answer, err := f.get(ctx, f.first())
	if err != nil {
		return err
	}
	members, err := ParseObject(answer.Document)
	if err != nil {
		return fmt.Errorf("the discovery document %w", err)
	}
	if members["issuer"] != f.Issuer {
		return fmt.Errorf("the discovery document is that of %.200q, not of %q", members["issuer"], f.Issuer)
	}
	found, _ := members["jwks_uri"].(string)
	if _, err := f.allowed(found); err != nil {
		return fmt.Errorf("the discovery document names keys at %.200q, which %w", found, err)
	}
	f.found, f.discovered = found, time.Now()
	return nil
}

// get follows no redirects: where keys come from is not for a web server to say.
func (f *fetcher) get(ctx context.Context, from string) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return Answer{}, fmt.Errorf("asking for keys: %w", err)
	}
	r.Header.Set("Accept", "application/json, application/jwk-set+json")
	r.Header.Set("User-Agent", "pithead")
	res, err := f.Client.RoundTrip(r)
	if err != nil {
		return Answer{}, fmt.Errorf("GET %s: %w", from, err)
	}
	defer func() { _ = res.Body.Close() }() // whatever is left of it is of no use
	if res.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("GET %s: status %d, want 200", from, res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return Answer{}, fmt.Errorf("GET %s: %w", from, err)
	case len(body) > maxDocument:
		return Answer{}, fmt.Errorf("GET %s: the answer is larger than 1MiB", from)
	}
	return Answer{string(body), maxAge(res.Header)}, nil
}

// maxAge is that of Cache-Control, 0 without one.
func maxAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		if n, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); name == "max-age" && err == nil && n > 0 {
			return time.Duration(n) * time.Second
		}
	}
	return 0
}

// ReadFile is a Loader of a file.
func ReadFile(path string) Loader {
	return func(context.Context, bool) (Answer, error) {
		f, err := os.Open(path)
		if err != nil {
			return Answer{}, err
		}
		defer func() { _ = f.Close() }() // only read
		body, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
		switch {
		case err != nil:
			return Answer{}, err
		case len(body) > maxDocument:
			return Answer{}, fmt.Errorf("%s is larger than 1MiB", path)
		}
		return Answer{Document: string(body)}, nil
	}
}
