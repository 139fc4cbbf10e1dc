package build

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/pithead/pithead/gateway/config"
)

// certificates loads the certificate pairs of every TLS listener.
func (c *compiler) certificates() map[string]*secureListener {
	all := make(map[string]*secureListener)
	for name, l := range c.cfg.Listeners {
		if l.TLS != nil {
			all[name] = c.listenerTLS(name, l)
		}
	}
	for _, l := range all {
		for _, other := range all {
			if l != other && l.differs(other) {
				l.others = append(l.others, other)
			}
		}
	}
	return all
}

// listenerTLS loads the certificates of a listener and the authorities of its clients.
func (c *compiler) listenerTLS(name string, l *config.Listener) *secureListener {
	s := &secureListener{pairs: newCertificateSet()}
	whole := true
	for i := range l.TLS.Certificates {
		pair, ok := c.certificate(&l.TLS.Certificates[i])
		if whole = whole && ok; ok {
			s.pairs.add(pair)
		}
	}
	s.own = newTLSSettings(s.pairs, c.clientTLS(l.TLS.Client), l.TLS.MinVersion, l.Protocols)
	if len(l.TLS.Hosts) > 0 {
		c.tlsHosts(name, l, s)
	}
	if whole {
		c.unknownHosts(l.TLS, s.pairs)
	}
	return s
}

// newTLSConfig is TLS 1.2 with ECDHE and AEAD suites only, or 1.3, with Go's
// default key exchanges, the first of which is X25519MLKEM768.
func newTLSConfig(pairs *certificateSet, minVersion string, protocols []string) *tls.Config {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: pairs.get,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
	if minVersion == "1.3" {
		conf.MinVersion = tls.VersionTLS13
	}
	for _, p := range [...]struct{ word, alpn string }{{"h2", "h2"}, {"h1", "http/1.1"}} { // the server's preference
		if slices.Contains(protocols, p.word) {
			conf.NextProtos = append(conf.NextProtos, p.alpn)
		}
	}
	if !slices.Contains(protocols, "h1") {
		// crypto/tls lets a client that has only HTTP/1.1 pass without a protocol.
		conf.VerifyConnection = func(state tls.ConnectionState) error {
			if state.NegotiatedProtocol == "" {
				return errors.New("the client does not speak HTTP/2")
			}
			return nil
		}
	}
	return conf
}

// certificate loads one pair. It has recorded what is wrong when it is not ok.
func (c *compiler) certificate(pair *config.Certificate) (_ *tls.Certificate, ok bool) {
	cert, hasCert := c.file(&pair.Cert)
	key, hasKey := c.file(&pair.Key)
	if !hasCert || !hasKey {
		return nil, false
	}
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		c.fail(pair, "%s with %s: %w", pair.Cert, pair.Key, err)
		return nil, false
	}
	return &loaded, true
}

// authorities makes a pool out of a file of certificate authorities.
func (c *compiler) authorities(field *string) (pool *x509.CertPool, print string, ok bool) {
	certs, print, ok := c.authorityCerts(field)
	if !ok {
		return nil, "", false
	}
	pool = x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert)
	}
	return pool, print, true
}

// authorityCerts reads a file of certificate authorities. A file of which a part
// cannot be read is refused: trust must not depend on how far a reader came.
func (c *compiler) authorityCerts(field *string) (certs []*x509.Certificate, print string, ok bool) {
	data, ok := c.file(field)
	if !ok {
		return nil, "", false
	}
	rest := data
	for block, after := pem.Decode(rest); block != nil; block, after = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			c.fail(field, "block %d of %s, a %s, is no certificate", len(certs)+1, *field, block.Type)
			return nil, "", false
		}
		certs, rest = append(certs, cert), after
	}
	if len(certs) == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
		c.fail(field, "certificate %d of %s cannot be read", len(certs)+1, *field)
		return nil, "", false
	}
	return certs, fingerprint(data), true
}

// maxPEM bounds a file of certificates: the authorities of a whole system take a
// quarter of it.
const maxPEM = 1 << 20

// file reads the file that a setting names. A device or a pipe would not end.
func (c *compiler) file(field *string) (data []byte, ok bool) {
	path := c.cfg.Path(field, *field)
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		err = fmt.Errorf("%s is no regular file", *field)
	case err == nil && info.Size() > maxPEM:
		err = fmt.Errorf("%s is larger than 1MiB", *field)
	default:
		data, err = os.ReadFile(path)
	}
	if err != nil {
		c.fail(field, "%w", err)
	}
	return data, err == nil
}

func fingerprint(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
