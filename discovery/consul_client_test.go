package discovery

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// askOnce is the first set that the settings lead to, or the first failure.
func askOnce(t *testing.T, c ConsulConfig) (set []gateway.Target, failure error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	source, err := newConsul(c, Env{Failed: func(err error) { failure = err; cancel() }})
	must(t, err)
	must(t, source.Watch(ctx, func(targets []gateway.Target) { set = targets; cancel() }))
	if set == nil && failure == nil {
		t.Fatal("neither a set nor a failure")
	}
	return set, failure
}

func TestConsulSocket(t *testing.T) {
	fake := discoverytest.NewConsul()
	defer fake.Close()
	loopback := order(1)
	loopback.Address = "127.0.0.1"
	fake.Register(loopback)
	path := filepath.Join(t.TempDir(), "consul.sock")
	l, err := net.Listen("unix", path)
	must(t, err)
	server := &http.Server{Handler: fake}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	for _, address := range []string{"unix:" + path, "unix://" + path} {
		c := consulDefaults()
		c.Address = address
		if set, err := askOnce(t, c); err != nil || len(set) != 1 { // whoever has the socket is on this machine
			t.Errorf("%s: %v, %v", address, set, err)
		}
	}
}

// pki makes certificates and writes them as PEM files.
type pki struct {
	t    *testing.T
	dir  string
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64
}

func newPKI(t *testing.T) *pki {
	p := &pki{t: t, dir: t.TempDir()}
	p.ca, p.key = p.issue("ca", nil)
	return p
}

func (p *pki) path(name string) kind.Path { return kind.Path(filepath.Join(p.dir, name)) }

// issue writes NAME.pem and NAME.key, signed by the authority, or by itself.
func (p *pki) issue(name string, hosts []string) (*x509.Certificate, *ecdsa.PrivateKey) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(p.t, err)
	p.last++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(p.last), Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: hosts == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if hosts != nil {
		parent, signer = p.ca, p.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	must(p.t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(p.t, err)
	must(p.t, os.WriteFile(filepath.Join(p.dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(p.t, os.WriteFile(filepath.Join(p.dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	cert, err := x509.ParseCertificate(der)
	must(p.t, err)
	return cert, key
}

// serveTLS is a fake Consul that wants a client certificate of the authority.
func (p *pki) serveTLS(clients chan<- string) *httptest.Server {
	p.t.Helper()
	fake := discoverytest.NewConsul()
	p.t.Cleanup(fake.Close)
	fake.Register(order(1))
	p.issue("consul", []string{"consul.internal"})
	pair, err := tls.LoadX509KeyPair(string(p.path("consul.pem")), string(p.path("consul.key")))
	must(p.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(p.ca)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case clients <- r.TLS.PeerCertificates[0].Subject.CommonName:
		default:
		}
		fake.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	p.t.Cleanup(server.Close)
	return server
}

func TestConsulTLS(t *testing.T) {
	p := newPKI(t)
	p.issue("gateway", []string{"gateway.internal"})
	clients := make(chan string, 100)
	server := p.serveTLS(clients)
	c := consulDefaults()
	c.Address = server.URL
	whole := func() *ConsulTLS {
		return &ConsulTLS{
			CA: p.path("ca.pem"), ServerName: "consul.internal",
			Certificate: &ConsulCertificate{Cert: p.path("gateway.pem"), Key: p.path("gateway.key")},
		}
	}
	f := func(want string, change func(*ConsulTLS)) {
		t.Helper()
		c.TLS = whole()
		change(c.TLS)
		set, err := askOnce(t, c)
		if want == "" && (err != nil || len(set) != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, %v; want %q", set, err, want)
		}
	}
	f("", func(*ConsulTLS) {})
	if name := <-clients; name != "gateway" {
		t.Errorf("the gateway showed the certificate of %s", name)
	}
	f("not consul.other", func(c *ConsulTLS) { c.ServerName = "consul.other" })
	f("doesn't contain any IP SANs", func(c *ConsulTLS) { c.ServerName = "" })
	f("unknown authority", func(c *ConsulTLS) { c.CA = "" })
	f("certificate required", func(c *ConsulTLS) { c.Certificate = nil })
}

// A new certificate is shown on the next connection, without a reload.
func TestConsulTLSFilesAreReadAgain(t *testing.T) {
	p := newPKI(t)
	p.issue("gateway", []string{"gateway.internal"})
	clients := make(chan string, 100)
	server := p.serveTLS(clients)
	c := consulDefaults()
	c.Address, c.Wait = server.URL, time.Second
	c.TLS = &ConsulTLS{
		CA: p.path("ca.pem"), ServerName: "consul.internal",
		Certificate: &ConsulCertificate{Cert: p.path("gateway.pem"), Key: p.path("gateway.key")},
	}
	source, err := newConsul(c, Env{})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- source.Watch(ctx, func([]gateway.Target) {}) }()
	if name := <-clients; name != "gateway" {
		t.Errorf("the gateway showed the certificate of %s", name)
	}
	p.issue("renewed", []string{"gateway.internal"})
	must(t, os.Rename(string(p.path("renewed.key")), string(p.path("gateway.key"))))
	must(t, os.Rename(string(p.path("renewed.pem")), string(p.path("gateway.pem"))))
	server.CloseClientConnections()
	late := time.After(30 * time.Second)
	for name := "gateway"; name != "renewed"; {
		select {
		case name = <-clients:
		case <-late:
			t.Fatal("the new certificate is not shown")
		}
	}
	cancel()
	must(t, <-done)
}

func TestConsulTokenFile(t *testing.T) {
	t.Run("fault 19 a revoked token is replaced in the file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		must(t, os.WriteFile(path, []byte("first\n"), 0o600))
		inBubble(t, func(c *ConsulConfig) { c.TokenFile = kind.Path(path) }, func(t *testing.T, b *consulBench) {
			tokens := func() (all string) {
				for _, call := range b.Calls() {
					if !strings.HasSuffix(all, call.Token+" ") {
						all += call.Token + " "
					}
				}
				return all
			}
			b.Fail(discoverytest.Forbidden)
			b.after(10 * time.Minute).is("10.0.0.1:9000")
			must(t, os.WriteFile(path, []byte("second\n"), 0o600))
			b.Register(order(2))
			b.Fail(discoverytest.None)
			b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
			if got := tokens(); got != "first second " {
				t.Errorf("tokens %q", got)
			}
			// While somebody replaces the file, the last token stays in use.
			must(t, os.Remove(path))
			b.after(10 * time.Minute)
			must(t, os.WriteFile(path, []byte("third"), 0o600))
			b.after(time.Minute)
			if got := tokens(); got != "first second third " {
				t.Errorf("tokens %q", got)
			}
			if n := strings.Count(b.logs(), "the last token stays in use"); n != 1 {
				t.Errorf("%d lines for one missing file", n)
			}
			if _, failures := b.all(); len(failures) == 0 || strings.Contains(failures[0].addrs, "first") {
				t.Errorf("D13: failures %v", failures)
			}
		}, order(1))
	})
	t.Run("D13 the token that has just been replaced is hidden too", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "token")
		must(t, os.WriteFile(path, []byte("first"), 0o600))
		tokens, err := newConsulTokens(ConsulConfig{TokenFile: kind.Path(path)}, slog.New(slog.DiscardHandler))
		must(t, err)
		must(t, os.WriteFile(path, []byte("second"), 0o600))
		tokens.current()
		if got := tokens.hide("first, then second"); got != "[redacted], then [redacted]" {
			t.Error(got)
		}
	})
}

func TestConsulNamespaceAndFilter(t *testing.T) {
	t.Setenv("CONSUL_NAMESPACE", "other")
	t.Setenv("CONSUL_PARTITION", "other")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", "/does/not/exist")
	query := func(change func(*ConsulConfig)) (q map[string][]string) {
		synctest.Test(t, func(t *testing.T) {
			b := newConsulBench(t, change, order(1))
			b.watch()
			q = b.Calls()[0].Query
			if token := b.Calls()[0].Token; token != "" {
				t.Errorf("the token %q came from the environment", token)
			}
		})
		return q
	}
	if q := query(nil); q["ns"] != nil || q["partition"] != nil || q["filter"] != nil {
		t.Errorf("query %v", q)
	}
	q := query(func(c *ConsulConfig) {
		c.Namespace, c.Partition, c.Filter = "team-a", "eu", `Service.Meta.version == "v2"`
	})
	if q["ns"][0] != "team-a" || q["partition"][0] != "eu" || q["filter"][0] != `Service.Meta.version == "v2"` {
		t.Errorf("query %v", q)
	}
}

func TestConsulSettingsThatWillNotDo(t *testing.T) {
	p := newPKI(t)
	p.issue("a", []string{"a"})
	p.issue("b", []string{"b"})
	write := func(name, text string) kind.Path {
		must(t, os.WriteFile(string(p.path(name)), []byte(text), 0o600))
		return p.path(name)
	}
	f := func(want string, change func(*ConsulConfig)) {
		t.Helper()
		c := consulDefaults()
		c.Address = "https://consul:8501"
		change(&c)
		_, err := newConsul(c, Env{})
		var got []string
		for _, e := range kind.SettingErrors(err) {
			got = append(got, e.Error())
		}
		if text := strings.ReplaceAll(strings.Join(got, "; "), p.dir, "DIR"); text != want {
			t.Errorf("%q, want %q", text, want)
		}
	}
	pair := func(cert, key string) func(*ConsulConfig) {
		return func(c *ConsulConfig) {
			c.TLS = &ConsulTLS{Certificate: &ConsulCertificate{Cert: p.path(cert), Key: p.path(key)}}
		}
	}
	f("", pair("a.pem", "a.key"))
	f("tls.certificate: tls: private key does not match public key", pair("a.pem", "b.key"))
	f("tls.certificate.cert: stat DIR/c.pem: no such file or directory; tls.certificate.key: stat DIR/c.key: no such file or directory", pair("c.pem", "c.key"))
	f("tls.certificate.key: is required; token_file: stat DIR/none: no such file or directory", func(c *ConsulConfig) {
		pair("a.pem", "a.key")(c)
		c.TLS.Certificate.Key, c.TokenFile = "", p.path("none")
	})
	f("tls.ca: DIR/a.key holds no certificate", func(c *ConsulConfig) { c.TLS = &ConsulTLS{CA: p.path("a.key")} })
	f("tls: needs an address that begins with https", func(c *ConsulConfig) { c.Address, c.TLS = "http://consul:8500", &ConsulTLS{} })
	f("address: must look like unix:/run/consul.sock", func(c *ConsulConfig) { c.Address = "unix:consul.sock" })
	f("token_file: stat DIR/none: no such file or directory", func(c *ConsulConfig) { c.TokenFile = p.path("none") })
	f("token_file: DIR/empty is empty", func(c *ConsulConfig) { c.TokenFile = write("empty", "\n") })
	f("token_file: DIR/two holds more than a token", func(c *ConsulConfig) { c.TokenFile = write("two", "secret\nX-Other: 1") })
	f("token_file: token is set too, here or in what is inherited; give one of them",
		func(c *ConsulConfig) { c.Token, c.TokenFile = "a", write("good", "b") })
	f("snapshot: DIR/a.pem is no folder", func(c *ConsulConfig) { c.Snapshot = p.path("a.pem") })
	f("register: is about the gateway itself; write it below consul: in the process file", func(c *ConsulConfig) { c.Register = &RegisterConfig{} })
	for filter, want := range map[string]string{
		`Service.Meta.version == "v2" and (Node.Node != "a" or Checks is empty)`: "",
		`Service.Tags contains "a\")"`:                                           "",
		"Service.Meta.v == `a\"(`":                                               "",
		`Service.Meta.v == "a`:                                                   `filter: has a " without its second`,
		`(a == "b"`:                                                              "filter: has a ( without its )",
		`a == "b")`:                                                              "filter: has a ) without its (",
		"  ":                                                                     "filter: is empty; leave it out",
		strings.Repeat("a", 4097):                                                "filter: is longer than 4KiB",
	} {
		f(want, func(c *ConsulConfig) { c.Filter = filter })
	}
}
