package upstream

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Pin is the SHA-256 of a public key as it stands in certificates, RFC 7469
// section 2.4.
type Pin [sha256.Size]byte

// errPins is what fails a handshake with a chain that is valid, but another one.
var errPins = errors.New("no certificate of the chain has a pinned key")

// tlsConfig makes what an endpoint must prove. Nothing can turn off that it must.
func tlsConfig(o *Options) *tls.Config {
	c := cmp.Or(o.TLS, new(tls.Config)).Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	p := &proof{pins: o.Pins, names: o.SANs, roots: c.RootCAs}
	switch {
	case len(p.names) > 0:
		// The name of the handshake is not the name of the certificate, which
		// crypto/tls cannot do; verifyNames does everything that it would.
		c.InsecureSkipVerify = true
		c.VerifyConnection = p.verifyNames
	case len(p.pins) > 0:
		c.VerifyConnection = func(state tls.ConnectionState) error { return p.verifyPins(state.VerifiedChains) }
	}
	return c
}

// handshakeConfig is for a handshake with addr outside the transport, which fills
// in by itself what is added here.
func handshakeConfig(o *Options, addr string) *tls.Config {
	c := tlsConfig(o)
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(addr) // whose form has been checked
	}
	if c.NextProtos = []string{"h2", "http/1.1"}; o.ProxyProtocol != 0 {
		c.NextProtos = c.NextProtos[1:]
	}
	return c
}

// proof is what a chain must have beside what crypto/tls asks for.
type proof struct {
	pins  []Pin
	names []string // DNS names, addresses or URIs, of which the certificate has one
	roots *x509.CertPool
}

// verifyNames wants a valid chain to a certificate with one of the names.
func (p *proof) verifyNames(state tls.ConnectionState) error {
	certs := state.PeerCertificates
	if len(certs) == 0 {
		return &tls.CertificateVerificationError{Err: errors.New("the endpoint shows no certificate")}
	}
	intermediates := x509.NewCertPool()
	for _, cert := range certs[1:] {
		intermediates.AddCert(cert)
	}
	chains, err := certs[0].Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: intermediates})
	if err == nil && !slices.ContainsFunc(p.names, func(name string) bool { return hasName(certs[0], name) }) {
		err = fmt.Errorf("the certificate has none of the names %s", strings.Join(p.names, ", "))
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	return p.verifyPins(chains)
}

func hasName(cert *x509.Certificate, name string) bool {
	if !strings.Contains(name, "://") {
		return cert.VerifyHostname(name) == nil
	}
	for _, uri := range cert.URIs {
		if uri.String() == name {
			return true
		}
	}
	return false
}

// verifyPins wants a pinned key in a chain that has been verified.
func (p *proof) verifyPins(chains [][]*x509.Certificate) error {
	if len(p.pins) == 0 {
		return nil
	}
	for _, chain := range chains {
		for _, cert := range chain {
			if slices.Contains(p.pins, Pin(sha256.Sum256(cert.RawSubjectPublicKeyInfo))) {
				return nil
			}
		}
	}
	return &tls.CertificateVerificationError{Err: errPins}
}
