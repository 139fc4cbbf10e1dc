package build

import (
	"bufio"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// AllowsLoopback makes the memory a registry of strangers, as gateway.Foreign says.
func (m *memory) AllowsLoopback() bool { return true }

func oneService(addr, settings string) string {
	return lines(`upstreams:`, `  a:`, `    discover: {static: {targets: ["`+addr+`"]}}`, `    `+settings, `routes: [{match: {prefix: /}, to: a}]`)
}

func TestUpstreamLimits(t *testing.T) {
	p := newProcess(t)
	arrived, proceed := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-proceed
	}))
	defer s.Close()
	f := func(name, limits, reason string) {
		t.Run(name, func(t *testing.T) {
			snap := p.start(oneService(s.Listener.Addr().String(), "limits: {"+limits+"}"))
			first, second := p.serve(snap, "web"), p.serve(snap, "web")
			done := make(chan answer)
			go func() { done <- first.ask(t, "GET /") }()
			<-arrived
			got := second.ask(t, "GET /")
			wantReason(t, got, 503, reason)
			if got.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", got.header.Get("Retry-After"))
			}
			proceed <- struct{}{}
			if got := <-done; got.status != 200 {
				t.Errorf("the first request got %d", got.status)
			}
			p.close(snap)
		})
	}
	f("no queue", "requests_per_endpoint: 1, queue: 0", "upstream_overflow")
	f("a wait that is too long", "requests_per_endpoint: 1, queue_timeout: 20ms", "queue_timeout")
}

func TestUpstreamProxyProtocol(t *testing.T) {
	p := newProcess(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	header := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		br := bufio.NewReader(conn)
		line, _ := br.ReadString('\n')
		header <- line
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	}()
	web := p.serve(p.start(oneService(l.Addr().String(), "proxy_protocol: v1")), "web")
	if got := web.ask(t, "GET /"); got.status != 204 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	_, port, _ := net.SplitHostPort(web.Listener.Addr().String())
	if got := <-header; !strings.HasPrefix(got, "PROXY TCP4 ") || !strings.HasSuffix(got, " "+port+"\r\n") {
		t.Errorf("the connection began with %q", got)
	}
}

func TestUpstreamPinsAndNames(t *testing.T) {
	p := newProcess(t)
	p.pair("server", "", "app.internal")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.TLS.ServerName) }))
	pair, err := tls.X509KeyPair(p.read("server.crt"), p.read("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	defer s.Close()
	block, _ := pem.Decode(p.read("server.crt"))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	pin := "sha256/" + base64.StdEncoding.EncodeToString(sum[:])
	other := "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
	f := func(name, proofs string, status int) {
		t.Run(name, func(t *testing.T) {
			snap := p.start(oneService(s.Listener.Addr().String(), "protocol: https\n    tls: {ca: server.crt, "+proofs+"}"))
			got := p.serve(snap, "web").ask(t, "GET /")
			if status == 200 {
				if got.status != 200 {
					t.Errorf("got %d %s", got.status, got.body)
				}
			} else {
				wantReason(t, got, status, "upstream_tls")
			}
			p.close(snap)
		})
	}
	f("the pin", "server_name: app.internal, pins: ["+other+", "+pin+"]", 200)
	f("another pin", "server_name: app.internal, pins: ["+other+"]", 502)
	f("a name beside the SNI", "server_name: sni.example, sans: [app.internal]", 200)
	f("another name", "server_name: app.internal, sans: [web.internal]", 502)
	f("TLS 1.3 of a server that has less", "server_name: app.internal, min_version: \"1.3\"", 502)
}

// D01: a registry does not make the gateway call itself, wherever it listens.
func TestOwnListenersAreDenied(t *testing.T) {
	addr, hits := backend(t, "own")
	for name, listen := range map[string]string{
		"D01: a listener":         `listeners: {web: {address: "` + addr + `"}}`,
		"D01: one of several":     `listeners: {web: {addresses: ["127.0.0.1:1", "` + addr + `"]}}`,
		"D01: the admin listener": `admin: {address: "` + addr + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t)
			newMemory(t, t.Name(), addr)
			snap := p.start(lines(listen, `upstreams: {a: {discover: {memory: {id: "`+t.Name()+`"}}}}`, `routes: [{match: {prefix: /}, to: a}]`))
			p.waitFilled(snap)
			wantReason(t, p.serve(snap, "web").ask(t, "GET /"), 502, "upstream_denied")
			if hits.Load() != 0 {
				t.Error("the request came back")
			}
		})
	}
}
