package pithead_test

import (
	"context"
	"crypto/tls"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pithead/pithead/configs"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/server"
	"github.com/pithead/pithead/test/freeport"
)

// ask is a request to a running example, and the status that the answer must have.
type ask struct {
	method, url string
	header      string // Name: value
	status      int
	has         string // a header of the answer
}

// asked are examples that are asked for what they show. All others are asked for
// anything, and have to answer.
var asked = map[string][]ask{
	"accounts.yaml": {
		{"GET", "http://api.example.com/v1/orders/7", "", 401, ""},
		{"GET", "http://api.example.com/v1/orders/7", "x-api-key: not-a-key", 401, ""},
		{"GET", "http://api.example.com/v1/orders/7", "x-api-key: an-example-key-that-nobody-should-use", 200, ""},
		{"GET", "http://office.example.com/", "", 403, ""}, // by ip_filter: not from inside
	},
	"authorize.yaml":      {{"GET", "http://x/v1/orders/7", "", 401, ""}},
	"bodies.yaml":         {{"POST", "http://api.example.com/v1/orders", "Content-Type: text/html", 415, ""}, {"GET", "http://www.example.com/assets/a.js", "Accept-Encoding: zstd", 200, ""}},
	"cors.yaml":           {{"OPTIONS", "http://api.example.com/v1/orders", "Origin: https://shop.example.com", 200, "Access-Control-Allow-Methods"}, {"GET", "http://api.example.com/v1/catalogue", "Origin: https://a.example.net", 200, "Access-Control-Allow-Origin"}},
	"filters.yaml":        {{"GET", "http://shop.example.com/api/orders/7", "", 308, ""}, {"GET", "http://shop.example.com/admin", "", 503, ""}, {"GET", "http://www.example.com/shop/hats", "", 301, ""}},
	"forward-auth.yaml":   {{"GET", "http://x/wiki/a", "Cookie: a=b", 200, ""}, {"GET", "http://x/login", "", 200, ""}},
	"http-signature.yaml": {{"POST", "http://api.example.com/v1/payments", "", 401, ""}, {"POST", "http://api.example.com/hooks", "", 401, ""}},
	"introspection.yaml":  {{"GET", "http://api.example.com/v1/orders/7", "", 401, ""}, {"GET", "http://api.example.com/v1/orders/admin", "", 401, ""}},
	"jwt.yaml":            {{"GET", "http://x/v1/orders/7", "", 401, ""}, {"GET", "http://x/v1/returns", "Authorization: Bearer nonsense", 401, ""}},
	"minimal.yaml":        {{"GET", "http://x/anything", "", 200, ""}},
	"mtls.yaml":           {{"GET", "https://example.com/v1/orders/7", "", 403, ""}, {"GET", "https://example.com/status", "", 200, ""}},
	"oidc.yaml":           {{"GET", "http://shop.example.com/v1/cart", "", 401, ""}, {"GET", "http://shop.example.com/", "Accept: text/html", 503, "Retry-After"}}, // the provider is away
	"oidc-redis.yaml":     {{"GET", "http://shop.example.com/", "", 401, ""}, {"GET", "http://shop.example.com/robots/7", "", 401, ""}},
	"upstreams.yaml":      {{"GET", "http://x/orders/7", "", 0, ""}}, // what is at / speaks the PROXY protocol
	"tls-hosts.yaml":      {{"GET", "https://example.com/", "", 200, ""}, {"GET", "https://shop.example.org/", "", 403, ""}},
	"sealed.yaml":         {{"GET", "http://x/", "", 200, ""}},
}

// Every file in configs/ starts and answers. What it names beyond this machine is
// replaced: its listeners take free ports, and its services are some that answer anything.
func TestConfigsRun(t *testing.T) {
	t.Setenv("CERTS", certificates(t, "example.com", "example.org", "clients"))
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("configs")); err != nil {
		t.Fatal(err)
	}
	service := startService(t)
	files := 0
	err := fs.WalkDir(configs.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			localise(t, path, service)
			addr := runExample(t, path)
			asks := asked[name]
			if len(asks) == 0 {
				asks = []ask{{"GET", "http://example.com/", "", 0, ""}}
			}
			for _, a := range asks {
				a.send(t, addr)
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range asked {
		if _, err := fs.Stat(configs.Files, name); err != nil {
			t.Error(err)
		}
	}
	if files < 30 {
		t.Errorf("only %d examples found", files)
	}
}

// startService starts what takes the place of all services. It may be asked by HTTP/1.1 and h2c.
func startService(t *testing.T) (addr func() string) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-User", "ada") // as a service behind forward_auth says it
		_, _ = io.WriteString(w, r.URL.Path)
	})
	return func() string {
		s := httptest.NewUnstartedServer(handler)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
}

var (
	anyHost  = regexp.MustCompile(`"(:\d+)"`)
	loopback = regexp.MustCompile(`(?m)^(listeners: \{|  \w+: \{address: |    address: |admin: \{address: )(.*)"127\.0\.0\.1:\d+"`)
	onDemo   = regexp.MustCompile(`\{address: "\$\{DEMO_(LISTEN|ADMIN):[^"]*"`)
	target   = regexp.MustCompile(`"(?:\$\{\w+:-)?(10(?:\.\d+){3}|127\.0\.0\.1):[1-9]\d*\}?"`)
	socket   = regexp.MustCompile(`unix:/tmp/`)
	logged   = regexp.MustCompile(`(?m)^access_log: .*$`)
)

// localise makes an example one that runs anywhere, beside others.
func localise(t *testing.T, path string, service func() string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := onDemo.ReplaceAllString(string(raw), `{address: "127.0.0.1:0"`)
	text = loopback.ReplaceAllString(anyHost.ReplaceAllString(text, `"127.0.0.1:0"`), `$1$2"127.0.0.1:0"`)
	text = logged.ReplaceAllString(text, `access_log: {output: "off"}`)
	text = socket.ReplaceAllString(text, "unix:"+t.TempDir()+"/")
	known := map[string]string{}
	text = target.ReplaceAllStringFunc(text, func(was string) string {
		if known[was] == "" {
			known[was] = `"` + service() + `"`
		}
		return known[was]
	})
	if strings.Contains(text, "register:") { // what is registered is a port of its own
		text = strings.Replace(text, `"127.0.0.1:0"`, `"`+freeAddr(t)+`"`, 1)
	}
	for block, with := range map[string]string{
		"access_log:": `access_log: {output: "off"}`, "shutdown:": "shutdown: {delay: 0s, lame_duck: 0s, grace: 1s}", "listeners:": `listeners: {web: {address: "127.0.0.1:0"}}`,
	} {
		if !strings.Contains("\n"+text, "\n"+block) {
			text += "\n" + with + "\n"
		}
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeAddr is an address that nobody else gets until the test ends.
func freeAddr(t *testing.T) string {
	t.Helper()
	port, release, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// runExample runs a gateway until the test ends, and says where one of its listeners is.
func runExample(t *testing.T, path string) (addr string) {
	t.Helper()
	serving := make(chan struct{})
	s := server.New(server.Options{
		Path: path, Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Serving: func(*server.Server) { close(serving) },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	select {
	case <-serving:
	case err := <-ended:
		ended <- nil
		t.Fatalf("it did not start: %v", err)
	}
	for _, a := range s.Addrs() {
		return a.String()
	}
	t.Fatal("it listens nowhere")
	return ""
}

// send asks the listener at addr, whatever the host of the URL is.
func (a ask) send(t *testing.T, addr string) {
	t.Helper()
	var content io.Reader = http.NoBody
	if a.method == http.MethodPost {
		content = strings.NewReader("{}")
	}
	r, err := http.NewRequestWithContext(t.Context(), a.method, a.url, content)
	if err != nil {
		t.Fatal(err)
	}
	if name, value, ok := strings.Cut(a.header, ": "); ok {
		r.Header.Set(name, value)
	}
	if a.method == http.MethodOptions {
		r.Header.Set("Access-Control-Request-Method", http.MethodGet)
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Errorf("%s %s: %v", a.method, a.url, err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", a.method, a.url, err)
	}
	if a.has != "" && res.Header.Get(a.has) == "" {
		t.Errorf("%s %s, %q: no %s in %v", a.method, a.url, a.header, a.has, res.Header)
	}
	if a.status != 0 && res.StatusCode != a.status {
		t.Errorf("%s %s, %q: %d, want %d\n%s", a.method, a.url, a.header, res.StatusCode, a.status, body)
	}
}
