package build

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"strings"

	"github.com/pithead/pithead/gateway/config"
)

// certificates loads the certificate pairs of every TLS listener.
func (c *compiler) certificates() map[string]*tls.Config {
	all := make(map[string]*tls.Config)
	for name, l := range c.cfg.Listeners {
		if l.TLS != nil {
			all[name] = c.listenerTLS(l)
		}
	}
	return all
}

// listenerTLS is TLS 1.2 with ECDHE and AEAD suites only, or 1.3, with Go's
// default key exchanges, the first of which is X25519MLKEM768.
func (c *compiler) listenerTLS(l *config.Listener) *tls.Config {
	pairs := &certificateSet{exact: make(map[string]*tls.Certificate), wildcard: make(map[string]*tls.Certificate)}
	for i := range l.TLS.Certificates {
		if pair, err := c.certificate(&l.TLS.Certificates[i]); err == nil {
			pairs.add(pair)
		}
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: pairs.get, NextProtos: []string{"http/1.1"},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	if l.TLS.MinVersion == "1.3" {
		conf.MinVersion = tls.VersionTLS13
	}
	for _, p := range l.Protocols {
		if p == "h2" {
			conf.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	return conf
}

// certificate loads one pair. A mistake has been recorded when err is not nil.
func (c *compiler) certificate(pair *config.Certificate) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.cfg.Path(&pair.Cert, pair.Cert), c.cfg.Path(&pair.Key, pair.Key))
	if err != nil {
		c.fail(pair, "%w", err)
		return nil, err
	}
	return &cert, nil
}

// certificateSet chooses a certificate by the client's SNI.
type certificateSet struct {
	first           *tls.Certificate
	exact, wildcard map[string]*tls.Certificate // by lower-case name; a wildcard without its "*."
}

func (s *certificateSet) add(cert *tls.Certificate) {
	if s.first == nil {
		s.first = cert
	}
	for _, name := range append(cert.Leaf.DNSNames, cert.Leaf.Subject.CommonName) {
		name = strings.ToLower(name)
		set := s.exact
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			set, name = s.wildcard, rest
		}
		if _, taken := set[name]; !taken {
			set[name] = cert
		}
	}
}

func (s *certificateSet) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.TrimSuffix(strings.ToLower(hello.ServerName), ".")
	if cert, ok := s.exact[name]; ok {
		return cert, nil
	}
	if _, rest, ok := strings.Cut(name, "."); ok {
		if cert, ok := s.wildcard[rest]; ok {
			return cert, nil
		}
	}
	return s.first, nil
}

func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
