package build

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/pithead/pithead/test/certtest"
)

// pair writes name.crt and name.key: a certificate that signs itself, for a
// common name and DNS names.
func (p *process) pair(name, cn string, dns ...string) {
	p.t.Helper()
	cert, key := certtest.Pair(p.t, &x509.Certificate{
		Subject: pkix.Name{CommonName: cn, Organization: []string{name}}, DNSNames: dns,
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	p.write(name+".crt", cert)
	p.write(name+".key", key)
}

// listener is a configuration with one TLS listener.
func listener(more string, names ...string) string {
	text := "listeners:\n  w:\n    address: \":8443\"\n" + more + "    tls:\n      certificates:\n"
	for _, name := range names {
		text += fmt.Sprintf("        - {cert: %[1]s.crt, key: %[1]s.key}\n", name)
	}
	return text
}

// shake makes a handshake with a TLS configuration and returns the state of the
// client's end.
func shake(t *testing.T, server *tls.Config, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // a pipe has no room for an alert that comes in the middle
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	served := make(chan error, 1)
	go func() {
		far, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		served <- tls.Server(far, server).HandshakeContext(t.Context())
		_ = far.Close()
	}()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client.InsecureSkipVerify = true
	c := tls.Client(near, client)
	err = c.HandshakeContext(t.Context())
	_ = near.Close()
	if serverErr := <-served; err == nil {
		err = serverErr
	}
	return c.ConnectionState(), err
}

func TestCertificateBySNI(t *testing.T) {
	p := newProcess(t)
	p.pair("one", "ignored.example", "one.example", "*.one.example", "UPPER.example")
	p.pair("two", "", "two.example", "deep.one.example", "one.example")
	p.pair("cn", "cn.example")
	snap := p.compile(listener("", "one", "two", "cn") + oneUpstream)
	f := func(name, sni, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			// tls.Client brings a name into order before it sends it; the choice must
			// not rely on that.
			cert, err := snap.TLS("w").GetCertificate(&tls.ClientHelloInfo{ServerName: sni})
			if err != nil {
				t.Fatal(err)
			}
			if got := cert.Leaf.Subject.Organization[0]; got != want {
				t.Errorf("%q gets %s, want %s", sni, got, want)
			}
		})
	}
	f("exact", "two.example", "two")
	f("exact before wildcard", "deep.one.example", "two")
	f("wildcard", "a.one.example", "one")
	f("a wildcard is one label", "a.b.one.example", "one") // the first one, by default
	f("case", "TwO.eXample", "two")
	f("case of the certificate", "upper.example", "one")
	f("trailing dot", "two.example.", "two")
	f("the first of two with the same name", "one.example", "one")
	f("the common name where there is no other", "cn.example", "cn")
	f("no name", "", "one")
	f("unknown name", "nobody.example", "one")
	f("a dot alone", ".", "one")
	t.Run("unknown name, not by the common name", func(t *testing.T) {
		snap := p.compile(listener("", "two", "one") + oneUpstream)
		cert, _ := snap.TLS("w").GetCertificate(&tls.ClientHelloInfo{ServerName: "ignored.example"})
		if got := cert.Leaf.Subject.Organization[0]; got != "two" {
			t.Errorf("the common name of a certificate with other names chose %s", got)
		}
	})
	t.Run("no name, beside a certificate without a common name", func(t *testing.T) {
		p.pair("nameless", "")
		snap := p.compile(listener("", "one", "nameless") + oneUpstream)
		cert, _ := snap.TLS("w").GetCertificate(&tls.ClientHelloInfo{})
		if got := cert.Leaf.Subject.Organization[0]; got != "one" {
			t.Errorf("got %s, want the first", got)
		}
	})
}

func TestHandshakes(t *testing.T) {
	p := newProcess(t)
	p.pair("a", "", "a.example")
	f := func(name, more string, client *tls.Config, version uint16, alpn string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			snap := p.compile(listener(more, "a") + oneUpstream)
			state, err := shake(t, snap.TLS("w"), client)
			if (err != nil) != (version == 0) {
				t.Fatalf("handshake: %v", err)
			}
			if err == nil && (state.Version != version || state.NegotiatedProtocol != alpn) {
				t.Errorf("got %s and %q", tls.VersionName(state.Version), state.NegotiatedProtocol)
			}
		})
	}
	both := []string{"http/1.1", "h2"}
	f("T: the newest version", "", &tls.Config{}, tls.VersionTLS13, "")
	f("version 1.2", "", &tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, "")
	f("version 1.1 is refused", "", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0, "")
	f("a suite without forward secrecy is refused", "", &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
	}, 0, "")
	f("a suite without AEAD is refused", "", &tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
	}, 0, "")
	f("HTTP/2 is preferred", "", &tls.Config{NextProtos: both}, tls.VersionTLS13, "h2")
	f("HTTP/1.1 is spoken too", "", &tls.Config{NextProtos: both[:1]}, tls.VersionTLS13, "http/1.1")
	f("h1 alone", "    protocols: [h1]\n", &tls.Config{NextProtos: both}, tls.VersionTLS13, "http/1.1")
	f("h2 alone", "    protocols: [h2]\n", &tls.Config{NextProtos: both}, tls.VersionTLS13, "h2")
	f("h2 alone, and a client that has only HTTP/1.1", "    protocols: [h2]\n", &tls.Config{NextProtos: both[:1]}, 0, "")
	f("any order", "    protocols: [h1, h2]\n", &tls.Config{NextProtos: both}, tls.VersionTLS13, "h2")
	t.Run("min_version 1.3", func(t *testing.T) {
		snap := p.compile(listener("", "a") + "      min_version: \"1.3\"\n" + oneUpstream)
		if _, err := shake(t, snap.TLS("w"), &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
			t.Error("version 1.2 was accepted")
		}
		if state, err := shake(t, snap.TLS("w"), &tls.Config{}); err != nil || state.Version != tls.VersionTLS13 {
			t.Errorf("version 1.3: %v", err)
		}
	})
	t.Run("the key exchange resists quantum computers", func(t *testing.T) {
		snap := p.compile(listener("", "a") + oneUpstream)
		if _, err := shake(t, snap.TLS("w"), &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}}); err != nil {
			t.Error(err)
		}
		if _, err := shake(t, snap.TLS("w"), &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}); err != nil {
			t.Errorf("X25519: %v", err)
		}
	})
	t.Run("a listener without tls has none", func(t *testing.T) {
		snap := p.compile(oneUpstream)
		if snap.TLS("web") != nil || snap.TLS("nobody") != nil {
			t.Error("there is one")
		}
	})
}

// A renewed certificate is in the next snapshot, and the last one keeps its own.
func TestRenewedCertificate(t *testing.T) {
	p := newProcess(t)
	text := listener("", "a") + oneUpstream
	p.pair("a", "", "a.example")
	old := p.compile(text)
	p.pair("a", "", "a.example")
	renewed := p.compile(text)
	serial := func(s *Snapshot) string {
		state, err := shake(t, s.TLS("w"), &tls.Config{ServerName: "a.example"})
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	if before, after := serial(old), serial(renewed); before == after {
		t.Error("the certificate was not read again")
	}
	if !slices.Equal(old.TLS("w").NextProtos, renewed.TLS("w").NextProtos) {
		t.Error("the protocols differ")
	}
}
