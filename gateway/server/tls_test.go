package server

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
)

// certify writes a certificate pair for localhost with a serial number.
func certify(t *testing.T, dir string, serial int64) {
	t.Helper()
	if err := localhostPair(t, serial).write(dir); err != nil {
		t.Fatal(err)
	}
}

// secure is a house with a TLS listener and the real build of certificates.
func secure(t *testing.T, h http.HandlerFunc) (*house, string) {
	dir := t.TempDir()
	certify(t, dir, 1)
	l := fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\", tls: {certificates: [{cert: %s/cert.pem, key: %s/key.pem}]}}}\n", dir, dir)
	return secureWith(t, l, h), dir
}

func secureWith(t *testing.T, listeners string, h http.HandlerFunc) *house {
	house := prepare(t, settings(1, listeners+ending), h)
	house.compile = func(c *config.Config) (snapshot, error) {
		snap, err := build.Compile(c, build.Env{Pool: house.pool, Log: house.Server.log, Metrics: house.metrics})
		if err != nil {
			return nil, err
		}
		return &certified{snap, house.serve}, nil
	}
	return house.open()
}

// certified is a real snapshot with a fake handler.
type certified struct {
	*build.Snapshot
	http.Handler
}

func (c *certified) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.Handler.ServeHTTP(w, r) }

func (h *house) handshake(change func(*tls.Config)) (tls.ConnectionState, error) {
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	if change != nil {
		change(conf)
	}
	d := &net.Dialer{Timeout: patience}
	c, err := tls.DialWithDialer(d, "tcp", h.addr(), conf)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.ConnectionState(), nil
}

func TestTLS(t *testing.T) {
	h, _ := secure(t, say("hello"))
	f := func(name string, change func(*tls.Config), check func(cs tls.ConnectionState) bool) {
		t.Helper()
		cs, err := h.handshake(change)
		if err != nil || !check(cs) {
			t.Errorf("%s: %+v %v", name, cs, err)
		}
	}
	f("default", nil, func(cs tls.ConnectionState) bool {
		return cs.Version == tls.VersionTLS13 && cs.CurveID == tls.X25519MLKEM768
	})
	f("h2", func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, func(cs tls.ConnectionState) bool {
		return cs.NegotiatedProtocol == "h2"
	})
	f("TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, func(cs tls.ConnectionState) bool {
		return cs.Version == tls.VersionTLS12 && strings.Contains(tls.CipherSuiteName(cs.CipherSuite), "ECDHE_ECDSA")
	})
	refused := map[string]func(*tls.Config){
		"TLS 1.1": func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 },
		"CBC": func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
		},
	}
	for name, change := range refused {
		if cs, err := h.handshake(change); err == nil {
			t.Errorf("%s was accepted: %+v", name, cs)
		}
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: protocol == "HTTP/2.0"}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + h.addr())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.Proto != protocol || string(body) != "hello" {
			t.Errorf("%s: %s %q", protocol, resp.Proto, body)
		}
		tr.CloseIdleConnections()
	}
}

// TestFault35HTTP2Drain: on SIGTERM an HTTP/2 client is told to go, also when
// its connection is idle, and a stream that is under way ends whole.
func TestFault35HTTP2Drain(t *testing.T) {
	release := make(chan struct{})
	h, _ := secure(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, "end")
	})
	client := func() *http.Client {
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
		}}
	}
	idle, busy := client(), client()
	if _, body, err := fetch(idle, "https://"+h.addr()); err != nil || body != "begin end" {
		t.Fatalf("%q %v", body, err)
	}
	resp, err := busy.Get("https://" + h.addr() + "/slow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.stop()
	h.log.wait(t, "shutting down", 1)
	close(release)
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "begin end" || resp.ProtoMajor != 2 {
		t.Errorf("%s %q %v", resp.Proto, body, err)
	}
	h.wait() // an idle connection that was not told to go would last to the end of the grace
	if n, _ := h.log.count("drained=true"); n != 1 {
		t.Error("not drained in time")
	}
}
