package build

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/config"
)

// clientCheck is what a listener wants of the certificates of clients.
type clientCheck struct {
	mode        config.ClientMode
	prints      string          // of the files of authorities
	authorities map[string]bool // by their whole certificates; nil if none are verified
}

func (k *clientCheck) equal(other *clientCheck) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.mode == other.mode && k.prints == other.prints
}

// clientTLS has conf ask clients for certificates. A session that is resumed does
// not show its certificate again, so there are none: what has been verified with
// authorities of an earlier configuration must not count (CVE-2025-68121).
func (c *compiler) clientTLS(l *config.Listener, conf *tls.Config) *clientCheck {
	client := l.TLS.Client
	if client == nil {
		return nil
	}
	k := &clientCheck{mode: client.Mode}
	conf.SessionTicketsDisabled = true
	conf.ClientAuth = tls.RequestClientCert
	if client.Mode == config.ClientRequest {
		return k
	}
	// Nobody is let in if a file of authorities cannot be read (CVE-2026-27586): then
	// the pool stays empty, and the configuration is refused.
	conf.ClientCAs, k.authorities = x509.NewCertPool(), make(map[string]bool)
	for i := range client.CA {
		certs, print, ok := c.authorityCerts(&client.CA[i])
		if !ok {
			continue
		}
		k.prints += print
		for _, cert := range certs {
			conf.ClientCAs.AddCert(cert)
			k.authorities[string(cert.Raw)] = true
		}
	}
	conf.ClientAuth = tls.RequireAndVerifyClientCert
	if client.Mode == config.ClientVerifyIfGiven {
		conf.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return k
}

// current says whether what the connection has verified is what would be verified now.
// The authorities may have changed since, or the mode.
func (k *clientCheck) current(state *tls.ConnectionState) bool {
	switch {
	case k == nil:
		return true
	case k.mode == config.ClientRequest:
		return true // mtls looks at the certificate itself
	case len(state.PeerCertificates) == 0:
		return k.mode == config.ClientVerifyIfGiven
	}
	return slices.ContainsFunc(state.VerifiedChains, func(chain []*x509.Certificate) bool {
		return k.authorities[string(chain[len(chain)-1].Raw)]
	})
}

// misdirected says whether a request belongs on another connection: one with another
// certificate of this listener, one to a listener that has the host and wants
// something else of clients, or one whose client certificate is verified anew.
func (l secureListener) misdirected(r *http.Request) bool {
	if l.pairs.misdirected(r.TLS.ServerName, r.Host) || !l.clients.current(r.TLS) {
		return true
	}
	if len(l.others) == 0 {
		return false
	}
	host := r.Host
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	return len(l.pairs.best(host)) == 0 && slices.ContainsFunc(l.others, func(other *certificateSet) bool {
		return len(other.best(host)) > 0
	})
}
