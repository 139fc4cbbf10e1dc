//go:build oidc

package oidc_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/sealed"
	"github.com/pithead/pithead/gateway/server"
)

const (
	outside = "http://localhost:8080" // there is no server: the browser is led to the gateway
	key     = "0123456789abcdef0123456789abcdef"
	cookie  = "pithead" // without __Host-, since it is http
	config  = `
listeners: {web: {address: "127.0.0.1:0"}}
access_log: {output: %s}
reload: {watch: false}
shutdown: {delay: 0s, lame_duck: 0s, grace: 1s}
middleware:
  login:
    oidc:
      issuer: %s
      client_id: shop
      client_secret: hush
      external_url: http://localhost:8080
      scopes: [openid, email]
      cookie: {keys: [%s]}
      logout_path: /oauth2/logout
      post_logout_redirect: /bye
      backchannel_logout_path: /oauth2/backchannel
      headers: {X-User: sub, X-Email: email}
      %s
upstreams: {shop: {discover: {static: {targets: ["%s"]}}}}
routes:
  - {name: bye, match: {path: /bye}, use: [respond: {body: bye}]}
  - {name: shop, match: {prefix: /}, use: [login], to: shop}
`
)

// startProvider starts the provider, which ends with the test. tell is its input.
func startProvider(t *testing.T) (issuer string, tell io.Writer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "provider.mjs")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = io.Discard // warnings that it is for development
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var told sync.WaitGroup
	t.Cleanup(func() {
		_ = in.Close()
		told.Wait()
		_ = cmd.Wait() // it may have been killed by the end of the context
	})
	for lines.Scan() {
		if issuer, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			told.Go(func() {
				for lines.Scan() {
					t.Log(lines.Text())
				}
			})
			return issuer, in
		}
	}
	t.Fatal("the provider did not start; run make oidc")
	return "", nil
}

// startGateway starts a gateway in front of a service that tells what it got. more are settings
// of its logins.
func startGateway(t *testing.T, issuer, more string) (addr string) {
	t.Helper()
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s for %s <%s>, cookies %q", r.URL, r.Header.Get("X-User"), r.Header.Get("X-Email"), r.Header.Get("Cookie"))
	}))
	t.Cleanup(service.Close)
	dir := t.TempDir()
	path := filepath.Join(dir, "pithead.yaml")
	text := fmt.Sprintf(config, filepath.Join(dir, "access.log"), issuer, key, more, strings.TrimPrefix(service.URL, "http://"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	serving := make(chan struct{})
	s := server.New(server.Options{
		Path: path, Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Serving: func(*server.Server) { close(serving) },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-serving:
	case err := <-ended:
		stop()
		t.Fatalf("the gateway did not start: %v", err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	return s.Addrs()["web"].String()
}

// browser keeps cookies, follows redirects and finds the gateway at localhost:8080.
type browser struct {
	*http.Client
	t *testing.T
}

func newBrowser(t *testing.T, gateway string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr == "localhost:8080" {
				addr = gateway
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	return &browser{&http.Client{Jar: jar, Transport: transport, Timeout: 20 * time.Second}, t}
}

// page is where a request has led, and what is there.
type page struct {
	at     *url.URL
	status int
	text   string
}

func (b *browser) do(method, target string, form url.Values, header ...string) page {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return page{res.Request.URL, res.StatusCode, string(text)}
}

var (
	action = regexp.MustCompile(`<form [^>]*action="([^"]+)"`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)
)

// submit fills in the form of a page and sends it.
func (b *browser) submit(p page, fields url.Values) page {
	b.t.Helper()
	found := action.FindStringSubmatch(p.text)
	if found == nil {
		b.t.Fatalf("%s, status %d, has no form:\n%s", p.at, p.status, p.text)
	}
	for _, field := range hidden.FindAllStringSubmatch(p.text, -1) {
		fields.Set(field[1], field[2])
	}
	to, err := p.at.Parse(found[1])
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(http.MethodPost, to.String(), fields)
}

// login goes to a page, through the forms of the provider.
func (b *browser) login(target string) page {
	b.t.Helper()
	p := b.do(http.MethodGet, target, nil)
	p = b.submit(p, url.Values{"login": {"ada"}, "password": {"x"}})
	return b.submit(p, url.Values{}) // consent
}

func (b *browser) session() string {
	u, _ := url.Parse(outside)
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == cookie {
			return c.Value
		}
	}
	return ""
}

func TestLogin(t *testing.T) {
	issuer, tell := startProvider(t)
	gateway := startGateway(t, issuer, "")
	if _, err := fmt.Fprintln(tell, "http://"+gateway); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, gateway)
	want := `/orders?id=7 for ada <ada@example.com>, cookies ""`
	if p := b.login(outside + "/orders?id=7"); p.at.String() != outside+"/orders?id=7" || p.text != want {
		t.Fatalf("at %s: %d %s", p.at, p.status, p.text)
	}
	t.Run("refresh", func(t *testing.T) {
		before := b.age(t, issuer)
		if p := b.do(http.MethodGet, outside+"/orders?id=7", nil); p.text != want {
			t.Errorf("%d %s", p.status, p.text)
		}
		if b.session() == before {
			t.Error("the session is what it was")
		}
	})
	t.Run("script", func(t *testing.T) {
		if p := newBrowser(t, gateway).do(http.MethodGet, outside+"/", nil, "Sec-Fetch-Mode", "cors"); p.status != http.StatusUnauthorized {
			t.Errorf("%d %s", p.status, p.text)
		}
	})
	t.Run("logout", func(t *testing.T) {
		// A copy of the browser is logged out by what the provider tells the gateway.
		other := newBrowser(t, gateway)
		other.Jar = b.Jar
		b.Jar, _ = cookiejar.New(nil)
		copied := other.session()
		p := other.do(http.MethodPost, outside+"/oauth2/logout", url.Values{}, "Sec-Fetch-Site", "same-origin")
		p = other.submit(p, url.Values{"logout": {"yes"}})
		if p.at.String() != outside+"/bye" || p.text != "bye" {
			t.Fatalf("at %s: %d %s", p.at, p.status, p.text)
		}
		if p = b.do(http.MethodGet, outside+"/", nil, "Cookie", cookie+"="+copied, "Sec-Fetch-Mode", "cors"); p.status != http.StatusUnauthorized {
			t.Errorf("%d %s", p.status, p.text)
		}
	})
	t.Run("back channel", func(t *testing.T) {
		b := newBrowser(t, gateway)
		b.login(outside + "/")
		if p := b.do(http.MethodGet, outside+"/", nil); p.status != http.StatusOK || !strings.Contains(p.text, "for ada") {
			t.Fatalf("%d %s", p.status, p.text)
		}
		p := b.submit(b.do(http.MethodGet, issuer+"/session/end", nil), url.Values{"logout": {"yes"}})
		if p.status != http.StatusOK {
			t.Fatalf("%d %s", p.status, p.text)
		}
		if p := b.do(http.MethodGet, outside+"/", nil, "Sec-Fetch-Mode", "cors"); p.status != http.StatusUnauthorized {
			t.Errorf("%d %s", p.status, p.text)
		}
	})
}

// age makes the session of the browser one that is to be confirmed now.
func (b *browser) age(t *testing.T, issuer string) string {
	t.Helper()
	ring, err := sealed.NewKeyring([]string{key}, fmt.Sprintf("oidc session %q %q %q", issuer, "shop", "middleware/login"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := ring.Open(strings.TrimPrefix(b.session(), "1."))
	if err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint64(plain[17:]) == 0 {
		t.Fatal("the provider has given no refresh token")
	}
	binary.BigEndian.PutUint64(plain[17:], uint64(time.Now().UnixMilli()-1))
	value := "1." + ring.Seal(plain)
	u, _ := url.Parse(outside)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: cookie, Value: value, Path: "/"}})
	return value
}
