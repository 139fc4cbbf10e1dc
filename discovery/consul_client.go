package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway/kind"
)

const (
	consulAnswerLimit = 16 << 20
	consulDialLimit   = 5 * time.Second
)

// consulAddress is where an agent is, read from a setting.
type consulAddress struct {
	url    *url.URL
	socket string // path of a Unix socket; "" for TCP
}

func parseConsulAddress(address string) (consulAddress, error) {
	if socket, ok := strings.CutPrefix(address, "unix:"); ok {
		socket = strings.TrimPrefix(socket, "//")
		if !filepath.IsAbs(socket) {
			return consulAddress{}, errors.New("must look like unix:/run/consul.sock")
		}
		return consulAddress{url: &url.URL{Scheme: "http", Host: "localhost"}, socket: socket}, nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return consulAddress{}, errors.New("is no URL") // the error of url.Parse would repeat a password
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return consulAddress{}, errors.New("must look like http://127.0.0.1:8500")
	case u.User != nil:
		return consulAddress{}, errors.New("must not hold a password; use token")
	case u.RawQuery != "" || u.Fragment != "":
		return consulAddress{}, errors.New("must end with the port or a path")
	default:
		return consulAddress{url: u}, nil
	}
}

type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// consulClient speaks to one agent as one set of settings says.
type consulClient struct {
	*api.Client
	transport *http.Transport
	tokens    *consulTokens
	local     bool // the agent is on this machine
}

// newConsulClient connects to nobody yet. A nil dial is that of the system.
func newConsulClient(c ConsulConfig, dial dialFunc, log *slog.Logger) (*consulClient, error) {
	addr, err := parseConsulAddress(c.Address)
	if err != nil {
		return nil, kind.At("address", "%w", err)
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: consulDialLimit}).DialContext
	}
	if addr.socket != "" {
		tcp := dial
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return tcp(ctx, "unix", addr.socket) }
	}
	files := cmp.Or(c.TLS, &ConsulTLS{})
	_, errFiles := files.read()
	tokens, errTokens := newConsulTokens(c, log)
	if err := errors.Join(errFiles, errTokens); err != nil {
		return nil, err
	}
	client := &consulClient{
		tokens: tokens, local: isLoopback(addr.url.Hostname()),
		transport: &http.Transport{DialContext: dial, DialTLSContext: files.dialer(dial, addr.url.Hostname()), DisableCompression: true},
	}
	client.Client, err = api.NewClient(&api.Config{
		Address: addr.url.Host, Scheme: addr.url.Scheme, PathPrefix: strings.TrimSuffix(addr.url.Path, "/"),
		Token: "the transport's affair", // with none here, the client would look for one in the environment
		HttpClient: &http.Client{
			Transport: &consulTransport{base: client.transport, tokens: tokens, namespace: c.Namespace, partition: c.Partition},
			// Consul never redirects its API, and net/http would show the token to wherever a redirect leads.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make consul client: %w", err)
	}
	return client, nil
}

// cleanError makes a new error: the text of the old one may be a page of HTML,
// and may repeat the token.
func (c *consulClient) cleanError(err error) error {
	return fmt.Errorf("ask consul: %.400s", strings.ToValidUTF8(c.tokens.hide(err.Error()), "?"))
}

// consulTransport sends exactly what is configured, whatever the client's
// environment variables say: the configuration says where secrets go. It also
// bounds the answers.
type consulTransport struct {
	base                 http.RoundTripper
	tokens               *consulTokens
	namespace, partition string
}

// RoundTrip implements http.RoundTripper.
func (t *consulTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Del("X-Consul-Token")
	if token := t.tokens.current(); token != "" {
		r.Header.Set("X-Consul-Token", token.Reveal())
	}
	query := r.URL.Query()
	for name, value := range map[string]string{"ns": t.namespace, "partition": t.partition} {
		if query.Del(name); value != "" {
			query.Set(name, value)
		}
	}
	r.URL.RawQuery = query.Encode()
	resp, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, consulAnswerLimit)
	return resp, nil
}
