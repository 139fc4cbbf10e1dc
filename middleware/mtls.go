package middleware

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() { kind.Add(Kinds, "mtls", MTLSConfig{Subject: "matched"}, newMTLS) }

// mtls is the running middleware. It never changes after newMTLS.
type mtls struct {
	patterns certPatterns
	prints   map[[sha256.Size]byte]bool
	optional bool
	subject  string
	header   string // canonical; "" is none
}

func newMTLS(c MTLSConfig, _ Env) (gateway.Step, error) {
	m := &mtls{
		patterns: c.patterns(), prints: make(map[[sha256.Size]byte]bool), optional: c.Optional, subject: c.Subject,
		header: http.CanonicalHeaderKey(c.Header),
	}
	for _, digest := range c.SHA256 {
		if sum, err := certDigest(digest); err == nil { // Validate has refused the others
			m.prints[sum] = true
		}
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}, Optional: c.Optional}
	if m.header != "" {
		step.Owns = []string{m.header}
	}
	return step, nil
}

func mtlsRefusal(reason, msg string) *gateway.Error {
	return &gateway.Error{Status: http.StatusForbidden, Reason: reason, Msg: msg, Cause: gateway.CauseClient}
}

var (
	errMTLSRequired = mtlsRefusal("mtls_required", "a client certificate is required")
	errMTLSExpired  = mtlsRefusal("mtls_expired", "the client certificate is not valid at this time")
	errMTLSDenied   = mtlsRefusal("mtls_denied", "the client certificate does not allow this")
	errMTLSSubject  = mtlsRefusal("mtls_subject", "the client certificate has no name to go by")
)

func (m *mtls) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		cert, subject, refusal := m.identify(r.TLS, time.Now())
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		if cert != nil {
			m.enter(x, cert, subject)
		}
		next.ServeHTTP(w, r)
	})
}

// identify finds out who has opened the connection. Nil and no refusal is nobody.
func (m *mtls) identify(state *tls.ConnectionState, now time.Time) (*x509.Certificate, string, *gateway.Error) {
	switch {
	case state != nil && len(state.PeerCertificates) > 0:
	case m.optional:
		return nil, "", nil
	default:
		return nil, "", errMTLSRequired
	}
	cert := state.PeerCertificates[0]
	listed := len(m.prints) > 0 && m.prints[sha256.Sum256(cert.Raw)]
	switch {
	case !listed && len(state.VerifiedChains) == 0:
		return nil, "", errMTLSRequired // the listener has not asked anybody about it
	case now.Before(cert.NotBefore) || now.After(cert.NotAfter):
		return nil, "", errMTLSExpired // since the connection was opened
	}
	name, matched := m.patterns.match(cert)
	switch {
	case listed:
	case !matched && (!m.patterns.empty() || len(m.prints) > 0):
		return nil, "", errMTLSDenied
	}
	if m.subject != "matched" || name == "" {
		name = subjectOf(cert, m.subject)
	}
	if name == "" {
		return nil, "", errMTLSSubject
	}
	return cert, name, nil
}

func (m *mtls) enter(x *gateway.Exchange, cert *x509.Certificate, subject string) {
	x.Subject, x.Claims = subject, nil
	if m.header != "" {
		x.SetUpstreamHeader(m.header, forwardedCert(cert))
	}
}

// explain has no connection to look at, unless a test gives it one.
func (m *mtls) explain(r *http.Request, x *gateway.Exchange) string {
	if r.TLS == nil {
		return "wants a client certificate; a dry run has none and takes it for granted"
	}
	cert, subject, refusal := m.identify(r.TLS, time.Now())
	switch {
	case refusal != nil:
		x.Status = refusal.Status
		return fmt.Sprintf("answers %d (%s): %s", refusal.Status, refusal.Reason, refusal.Msg)
	case cert == nil:
		return "passes without a client certificate, as nobody"
	}
	m.enter(x, cert, subject)
	return fmt.Sprintf("the client certificate proves the subject %q", subject)
}
