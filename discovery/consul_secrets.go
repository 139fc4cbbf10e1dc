package discovery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// consulSecretLimit bounds files with tokens, keys and certificates.
const consulSecretLimit = 1 << 20

// consulTokens knows the ACL token. A token that comes from a file is read anew
// for each query, because whoever rotates it tells nobody.
type consulTokens struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	last   gateway.Secret
	before gateway.Secret // the one that last has replaced: a late error may repeat it
	fault  string         // why the file could not be read the last time
}

func newConsulTokens(c ConsulConfig, log *slog.Logger) (*consulTokens, error) {
	t := &consulTokens{path: string(c.TokenFile), log: log, last: c.Token}
	if t.path == "" {
		return t, nil
	}
	var err error
	if t.last, err = readConsulToken(t.path); err != nil {
		return nil, kind.At("token_file", "%w", err)
	}
	return t, nil
}

func readConsulToken(path string) (gateway.Secret, error) {
	text, err := kind.ReadFile(path, consulSecretLimit)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s holds more than a token", path) // and what it holds is not to be shown
	}
	return gateway.Secret(token), nil
}

// current is the token to send now. While its file cannot be read, that is the
// last one: a file that is being replaced is not there for a moment.
func (t *consulTokens) current() gateway.Secret {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.path == "" {
		return t.last
	}
	token, err := readConsulToken(t.path)
	switch {
	case err != nil && err.Error() != t.fault:
		t.fault = err.Error()
		t.log.Warn("the file with the consul token cannot be read, the last token stays in use", "error", err)
	case err == nil:
		t.fault = ""
		if token != t.last {
			t.before, t.last = t.last, token
		}
	}
	return t.last
}

// hide replaces tokens in a text.
func (t *consulTokens) hide(text string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, token := range [...]gateway.Secret{t.last, t.before} {
		if token != "" {
			text = strings.ReplaceAll(text, token.Reveal(), token.String())
		}
	}
	return text
}

// ConsulTLS says how the agent and the gateway prove themselves to each other.
// The files are read for each new connection, so replacing them is enough.
type ConsulTLS struct {
	// CA is a PEM file with the certificate authorities of the agent. Default: the system's.
	CA kind.Path `yaml:"ca"`
	// ServerName is the name that the agent's certificate must have. Default: the host of the address.
	ServerName string `yaml:"server_name"`
	// Certificate is what the gateway shows to the agent.
	Certificate *ConsulCertificate `yaml:"certificate"`
}

// ConsulCertificate is a client certificate and its key.
type ConsulCertificate struct {
	// Cert is a PEM file with the certificate, then its intermediates. Required.
	Cert kind.Path `yaml:"cert,required"`
	// Key is a PEM file with the private key. Required.
	Key kind.Path `yaml:"key,required"`
}

// read makes the TLS configuration out of the files as they are now.
func (t *ConsulTLS) read() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	var errs []error
	read := func(setting string, path kind.Path) []byte {
		if path == "" { // inherited settings need not be complete, the whole must be
			errs = append(errs, kind.At(setting, "is required"))
			return nil
		}
		text, err := kind.ReadFile(string(path), consulSecretLimit)
		if err != nil {
			errs = append(errs, kind.At(setting, "%w", err))
		}
		return text
	}
	if t.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if text := read("tls.ca", t.CA); text != nil && !conf.RootCAs.AppendCertsFromPEM(text) {
			errs = append(errs, kind.At("tls.ca", "%s holds no certificate", t.CA))
		}
	}
	if t.Certificate != nil {
		cert, key := read("tls.certificate.cert", t.Certificate.Cert), read("tls.certificate.key", t.Certificate.Key)
		if pair, err := tls.X509KeyPair(cert, key); err == nil {
			conf.Certificates = []tls.Certificate{pair}
		} else if cert != nil && key != nil {
			errs = append(errs, kind.At("tls.certificate", "%w", err))
		}
	}
	return conf, errors.Join(errs...)
}

// dialer makes TLS connections over those that dial makes.
func (t *ConsulTLS) dialer(dial dialFunc, host string) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conf, err := t.read()
		if err != nil {
			return nil, fmt.Errorf("prepare tls: %w", err)
		}
		if conf.ServerName == "" {
			conf.ServerName = host
		}
		ctx, cancel := context.WithTimeout(ctx, 2*consulDialLimit)
		defer cancel()
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("tls handshake: %w", err), raw.Close())
		}
		return conn, nil
	}
}
