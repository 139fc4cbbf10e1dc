package build

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// certificateSet chooses a certificate by the client's SNI: exact names before
// wildcards, of several certificates with the same name the first.
type certificateSet struct {
	first           *tls.Certificate
	several         bool
	exact, wildcard map[string][]*tls.Certificate // by lower-case name; a wildcard without its "*."
}

func newCertificateSet() *certificateSet {
	return &certificateSet{exact: make(map[string][]*tls.Certificate), wildcard: make(map[string][]*tls.Certificate)}
}

func (s *certificateSet) add(cert *tls.Certificate) {
	if s.first == nil {
		s.first = cert
	}
	s.several = s.first != cert
	names := cert.Leaf.DNSNames
	if cn := cert.Leaf.Subject.CommonName; len(names) == 0 && cn != "" {
		names = []string{cn} // RFC 6125 section 6.4.4: only without any other name
	}
	for _, name := range names {
		name = strings.ToLower(name)
		set := s.exact
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			set, name = s.wildcard, rest
		}
		set[name] = append(set[name], cert)
	}
}

func (s *certificateSet) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.choose(hello.ServerName), nil
}

func (s *certificateSet) choose(sni string) *tls.Certificate {
	if best := s.best(foldSNI(sni)); len(best) > 0 {
		return best[0]
	}
	return s.first
}

// best are the certificates that match a lower-case name best.
func (s *certificateSet) best(name string) []*tls.Certificate {
	if certs := s.exact[name]; len(certs) > 0 {
		return certs
	}
	_, parent, _ := strings.Cut(name, ".")
	return s.wildcard[parent]
}

// errMisdirected makes the client ask again on a connection of its own.
var errMisdirected = &gateway.Error{
	Status: http.StatusMisdirectedRequest, Reason: "misdirected", Cause: gateway.CauseClient,
	Msg: "this connection is for another host",
}

// misdirected says whether a request belongs on another connection: one that is
// opened in the name of its host gets a certificate that the one of this connection
// does not match (RFC 9110 section 15.5.20). Browsers send such requests: they use an
// HTTP/2 connection for every name that its certificate has. host is canonical and
// may have a port. A host that no certificate has belongs to the first one, which
// clients get that ask for it, or for nothing; so no answer is one that a new
// connection would not cure.
func (s *certificateSet) misdirected(sni, host string) bool {
	if s == nil || !s.several {
		return false
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if host == sni {
		return false
	}
	chosen := s.choose(sni)
	if best := s.best(host); len(best) > 0 {
		return !slices.Contains(best, chosen)
	}
	return chosen != s.first
}
