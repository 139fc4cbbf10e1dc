package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/unixsocket"
)

// maxAnswer bounds what a client reads: a status of ten thousand routes is a
// tenth of it.
const maxAnswer = 64 << 20

// Client talks to the admin API of a running gateway.
type Client struct {
	base  string
	token gateway.Secret
	http  *http.Client
}

// Error is what the admin API refused to do, and why.
type Error struct {
	Status int
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("admin API: %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Detail
}

// Dial makes a client for the admin API at address, as the configuration has
// it. Nothing is sent yet, but a Unix socket of another user is refused: who
// listens there would get the token.
func Dial(address string, token gateway.Secret) (*Client, error) {
	transport := &http.Transport{ResponseHeaderTimeout: time.Minute, MaxIdleConns: 1, IdleConnTimeout: time.Minute}
	c := &Client{token: token, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, unix := strings.CutPrefix(address, unixPrefix); unix {
		if err := unixsocket.Owned(path); err != nil {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		c.base = "http://localhost"
		return c, nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	c.base = "http://" + net.JoinHostPort(host, port)
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Reload makes the gateway read its files now.
func (c *Client) Reload(ctx context.Context) (result ReloadResult, err error) {
	return result, c.json(ctx, http.MethodPost, "/-/reload", nil, &result)
}

// Status asks which binary runs with which configuration.
func (c *Client) Status(ctx context.Context) (status Status, err error) {
	return status, c.json(ctx, http.MethodGet, "/-/status", nil, &status)
}

// Generations asks for the last configurations and what changed between them,
// the one in use first.
func (c *Client) Generations(ctx context.Context) (generations []Generation, err error) {
	return generations, c.json(ctx, http.MethodGet, "/-/config/generations", nil, &generations)
}

// Routes asks for the routes in use.
func (c *Client) Routes(ctx context.Context) (routes []RouteInfo, err error) {
	return routes, c.json(ctx, http.MethodGet, "/-/routes", nil, &routes)
}

// Endpoints asks for the upstreams and their endpoints.
func (c *Client) Endpoints(ctx context.Context) (upstreams []UpstreamInfo, err error) {
	return upstreams, c.json(ctx, http.MethodGet, "/-/endpoints", nil, &upstreams)
}

// Explain asks what would happen to a request.
func (c *Client) Explain(ctx context.Context, asked ExplainRequest) (explanation Explanation, err error) {
	return explanation, c.json(ctx, http.MethodPost, "/-/explain", asked, &explanation)
}

// OpenAPI asks for the OpenAPI document of a route.
func (c *Client) OpenAPI(ctx context.Context, route string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, openAPIPath+url.PathEscape(route)+".json", nil)
}

// Config asks for the configuration in use, as YAML without secrets.
func (c *Client) Config(ctx context.Context) ([]byte, error) {
	return c.do(ctx, http.MethodGet, "/-/config", nil)
}

func (c *Client) json(ctx context.Context, method, path string, body, into any) error {
	answer, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("admin API: %w", err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body any) ([]byte, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("admin API: %w", err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("admin API: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("admin API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it has been read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("admin API: %w", err)
	}
	if len(answer) > maxAnswer {
		return nil, errors.New("admin API: the answer is too long")
	}
	if resp.StatusCode != http.StatusOK {
		refused := &Error{Status: resp.StatusCode}
		_ = json.Unmarshal(answer, refused) // another server's error page: the status says enough
		return nil, refused
	}
	return answer, nil
}
