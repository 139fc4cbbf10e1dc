package build

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/pithead/pithead/gateway/config"
)

// clientCheck is what is wanted of the certificates of clients.
type clientCheck struct {
	mode        config.ClientMode
	prints      string          // of the files of authorities
	authorities map[string]bool // by their whole certificates; nil if none are verified
	pool        *x509.CertPool  // of the same
}

func (k *clientCheck) equal(other *clientCheck) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.mode == other.mode && k.prints == other.prints
}

// clientTLS reads the authorities. Nil is to ask nobody for a certificate.
func (c *compiler) clientTLS(client *config.ClientTLS) *clientCheck {
	if client == nil || client.Mode == config.ClientNone {
		return nil
	}
	k := &clientCheck{mode: client.Mode}
	if client.Mode == config.ClientRequest {
		return k
	}
	// Nobody is let in if a file of authorities cannot be read (CVE-2026-27586): then
	// the pool stays empty, and the configuration is refused.
	k.pool, k.authorities = x509.NewCertPool(), make(map[string]bool)
	for i := range client.CA {
		certs, print, ok := c.authorityCerts(&client.CA[i])
		if !ok {
			continue
		}
		k.prints += print
		for _, cert := range certs {
			k.pool.AddCert(cert)
			k.authorities[string(cert.Raw)] = true
		}
	}
	return k
}

// enter has conf ask clients for certificates. A session that is resumed does not show
// its certificate again, so there are none: what has been verified with authorities of
// an earlier configuration must not count (CVE-2025-68121).
func (k *clientCheck) enter(conf *tls.Config) {
	conf.SessionTicketsDisabled = true
	conf.ClientCAs = k.pool
	switch k.mode {
	case config.ClientRequest:
		conf.ClientAuth = tls.RequestClientCert
	case config.ClientVerifyIfGiven:
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	default:
		conf.ClientAuth = tls.RequireAndVerifyClientCert
	}
}

// current says whether what the connection has verified is what would be verified now.
// The authorities may have changed since, or the mode; where nothing is verified any
// more, what once was counts no longer.
func (k *clientCheck) current(state *tls.ConnectionState) bool {
	switch {
	case k == nil:
		return len(state.PeerCertificates) == 0
	case k.mode == config.ClientRequest:
		return len(state.VerifiedChains) == 0 // mtls looks at the certificate itself
	case len(state.PeerCertificates) == 0:
		return k.mode == config.ClientVerifyIfGiven
	}
	return slices.ContainsFunc(state.VerifiedChains, func(chain []*x509.Certificate) bool {
		return k.authorities[string(chain[len(chain)-1].Raw)]
	})
}
