package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pithead/pithead/test/certtest"
)

// hostNames are those of the one certificate of byHost. Its hosts differ in their settings alone.
var hostNames = []string{"www.example", "admin.example", "*.in.example", "new.example", "old.example"}

const hostSettings = `
      - {names: [admin.example], client: {ca: DIR/ca.pem}}
      - {names: ["*.in.example"], client: {ca: DIR/in.pem}}
      - {names: [new.example], min_version: "1.3"}
      - {names: [old.example], protocols: [h1]}
`

// byHost is a house, real in all its parts, of which hosts have settings of their own.
type byHost struct {
	*house
	dir       string
	admin, in tls.Certificate // of clients, each by the authority of a host

	mu     sync.Mutex
	served []string // hosts, as the upstream has seen them
}

func newByHost(t *testing.T) *byHost {
	b := &byHost{dir: t.TempDir()}
	cert, key := certtest.Pair(t, &x509.Certificate{DNSNames: hostNames})
	put(t, filepath.Join(b.dir, "cert.pem"), string(cert))
	put(t, filepath.Join(b.dir, "key.pem"), string(key))
	b.admin = clientAuthority(t, filepath.Join(b.dir, "ca.pem"))
	b.in = clientAuthority(t, filepath.Join(b.dir, "in.pem"))
	b.house = wholeBehind(t, func(_ http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.served = append(b.served, r.Header.Get("X-Forwarded-Host"))
	}, "", b.listeners(hostSettings))
	return b
}

func (b *byHost) listeners(hosts string) string {
	text := `listeners:
  web:
    address: "127.0.0.1:0"
    tls:
      certificates: [{cert: DIR/cert.pem, key: DIR/key.pem}]
      hosts:` + hosts
	return strings.ReplaceAll(text, "DIR", b.dir)
}

// change is a reload with one piece of the settings of hosts replaced.
func (b *byHost) change(old, now string) {
	b.t.Helper()
	old, now = strings.ReplaceAll(old, "DIR", b.dir), strings.ReplaceAll(now, "DIR", b.dir)
	text, err := os.ReadFile(b.path)
	if err != nil || !strings.Contains(string(text), old) {
		b.t.Fatalf("%q is not in the configuration: %v", old, err)
	}
	if err := b.edit(strings.ReplaceAll(string(text), old, now)); err != nil {
		b.t.Fatal(err)
	}
}

// guest is a client with connections of its own.
type guest struct {
	*http.Client
	conf   *tls.Config
	asked  bool // for a certificate
	reused bool // the connection of the last answer
}

// guest makes a client that names sni in its handshakes, whatever host it asks for.
func (b *byHost) guest(protocol, sni string, cert *tls.Certificate, keep bool) *guest {
	g := &guest{conf: &tls.Config{InsecureSkipVerify: true, ServerName: sni, NextProtos: []string{"http/1.1"}}}
	g.conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if g.asked = true; cert == nil {
			return new(tls.Certificate), nil
		}
		return cert, nil
	}
	transport := &http.Transport{TLSClientConfig: g.conf, DisableKeepAlives: !keep, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(protocol == "HTTP/1.1")
	transport.Protocols.SetHTTP2(protocol == "HTTP/2.0")
	if protocol == "HTTP/2.0" {
		g.conf.NextProtos = []string{"h2"}
	}
	g.Client = &http.Client{Transport: transport, Timeout: patience}
	b.t.Cleanup(transport.CloseIdleConnections)
	return g
}

// get asks for a host. Status 0 is a connection that did not come about.
func (b *byHost) get(g *guest, host string) (status int, state *tls.ConnectionState) {
	b.t.Helper()
	ctx := httptrace.WithClientTrace(b.t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { g.reused = i.Reused }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+b.addr()+"/", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Host = host
	res, err := g.Do(r)
	if err != nil {
		return 0, nil
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.t.Error(err)
	}
	return res.StatusCode, res.TLS
}

var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

func TestTLSHosts(t *testing.T) {
	b := newByHost(t)
	for _, one := range []struct {
		name, sni string
		cert      *tls.Certificate
		max       uint16
		status    int
		asked     bool
	}{
		{"a host like the listener", "www.example", nil, 0, 200, false},
		{"no SNI", "", nil, 0, 200, false},
		{"a name that nobody has", "nobody.example", nil, 0, 200, false},
		{"TLS 1.2", "www.example", nil, tls.VersionTLS12, 200, false},
		{"TLS 1.2 where 1.3 is wanted", "new.example", nil, tls.VersionTLS12, 0, false},
		{"TLS 1.3 where it is wanted", "new.example", nil, 0, 200, false},
		{"its certificate", "admin.example", &b.admin, 0, 200, true},
		{"its certificate, by TLS 1.2", "admin.example", &b.admin, tls.VersionTLS12, 200, true},
		{"no certificate", "admin.example", nil, 0, 0, true},
		{"no certificate, by TLS 1.2", "admin.example", nil, tls.VersionTLS12, 0, true},
		{"no certificate, in capitals", "ADMIN.Example", nil, 0, 0, true},
		{"the certificate for another host", "admin.example", &b.in, 0, 0, true},
		{"by a wildcard", "x.in.example", &b.in, 0, 200, true},
		{"by a wildcard, deep", "y.x.in.example", nil, 0, 0, true},
		{"by a wildcard, the certificate for another host", "x.in.example", &b.admin, 0, 0, true},
	} {
		for _, protocol := range protocols {
			t.Run(protocol+" "+one.name, func(t *testing.T) {
				g := b.guest(protocol, one.sni, one.cert, false)
				g.conf.MaxVersion = one.max
				host := one.sni
				if host == "" {
					host = "192.0.2.1"
				}
				if status, _ := b.get(g, host); status != one.status || g.asked != one.asked {
					t.Errorf("status %d, asked for a certificate %t", status, g.asked)
				}
			})
		}
	}
	for protocol, want := range map[string]int{"HTTP/1.1": 200, "HTTP/2.0": 0} {
		if status, _ := b.get(b.guest(protocol, "old.example", nil, false), "old.example"); status != want {
			t.Errorf("a host of HTTP/1.1 alone, by %s: %d", protocol, status)
		}
	}
	cs, err := b.handshake(func(c *tls.Config) { c.ServerName, c.NextProtos = "old.example", []string{"h2", "http/1.1"} })
	if err != nil || cs.NegotiatedProtocol != "http/1.1" {
		t.Errorf("%q, %v", cs.NegotiatedProtocol, err)
	}
}

// TestTLSHostsCoalesced: a connection is for the hosts with the settings of its SNI, also
// when its certificate is for others; the connection goes on after a 421.
func TestTLSHostsCoalesced(t *testing.T) {
	for _, protocol := range protocols {
		t.Run("T24 "+protocol, func(t *testing.T) {
			b := newByHost(t)
			f := func(sni string, cert *tls.Certificate, hosts map[string]int) {
				t.Helper()
				g := b.guest(protocol, sni, cert, true)
				if status, _ := b.get(g, sni); sni != "" && status != 200 {
					t.Fatalf("%s: %d", sni, status)
				}
				for host, want := range hosts {
					if status, _ := b.get(g, host); status != want || sni != "" && !g.reused {
						t.Errorf("SNI %q, host %q: %d, want %d; same connection %t", sni, host, status, want, g.reused)
					}
				}
			}
			f("www.example", nil, map[string]int{
				"www.example": 200, "WWW.Example.:443": 200, "nobody.example": 200, "192.0.2.1": 200, "[2001:db8::1]:8443": 200, "in.example": 200,
				"admin.example": 421, "ADMIN.Example": 421, "admin.example.": 421, "admin.example:443": 421, "Admin.Example.:80": 421,
				"x.in.example": 421, "y.x.in.example:443": 421, "new.example": 421, "old.example": 421,
			})
			f("admin.example", &b.admin, map[string]int{"admin.example": 200, "ADMIN.example.:443": 200, "www.example": 421, "x.in.example": 421, "nobody.example": 421, "192.0.2.1": 421})
			f("x.in.example", &b.in, map[string]int{"x.in.example": 200, "y.in.example": 200, "admin.example": 421, "in.example": 421})
			f("new.example", nil, map[string]int{"new.example": 200, "www.example": 421, "admin.example": 421})
			f("", nil, map[string]int{"www.example": 200, "192.0.2.1:443": 200, "admin.example": 421, "x.in.example": 421, "new.example": 421})
		})
	}
}

// TestTLSHostsServed: what is answered 421 reaches no service.
func TestTLSHostsServed(t *testing.T) {
	b := newByHost(t)
	for _, protocol := range protocols {
		g := b.guest(protocol, "www.example", nil, true)
		for _, host := range []string{"www.example", "admin.example", "x.in.example", "Admin.Example.:443"} {
			b.get(g, host)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := fmt.Sprint(b.served); got != "[www.example www.example]" {
		t.Errorf("the service has seen %s", got)
	}
}
