package middleware

import (
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
)

// requestFacts are what rules see of a request. Each is made when a rule reads it.
type requestFacts struct {
	r       *http.Request
	x       *gateway.Exchange
	headers map[string]string
	query   map[string][]string
}

// Parent implements cel.Activation.
func (*requestFacts) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (f *requestFacts) ResolveName(name string) (any, bool) {
	switch name {
	case "subject":
		return f.x.Subject, true
	case "claims":
		return map[string]any(f.x.Claims), true
	case "scopes":
		return scopesOf(f.x.Claims), true
	case "method":
		return f.r.Method, true
	case "path":
		return f.r.URL.Path, true
	case "host":
		host, _ := canon.SplitHost(f.r.Host)
		return host, true
	case "client":
		if !f.x.Client.IsValid() {
			return "", true
		}
		return f.x.Client.String(), true
	case "scheme":
		return f.x.Scheme, true
	case "route":
		return f.x.Route, true
	case "headers":
		return f.header(), true
	case "query":
		return f.parameters(), true
	}
	if names, ok := strings.CutPrefix(name, "tls."); ok {
		return f.certificate(names)
	}
	return nil, false
}

// header has several lines of one name joined, RFC 9110, section 5.3: which of them
// an upstream reads is not known.
func (f *requestFacts) header() map[string]string {
	if f.headers == nil {
		f.headers = make(map[string]string, len(f.r.Header))
		for name, values := range f.r.Header {
			separator := ", "
			if name == "Cookie" {
				separator = "; "
			}
			f.headers[strings.ToLower(name)] = strings.Join(values, separator)
		}
	}
	return f.headers
}

func (f *requestFacts) parameters() map[string][]string {
	if f.query == nil {
		f.query, _ = url.ParseQuery(f.r.URL.RawQuery) // the canonical view has refused what cannot be parsed
	}
	return f.query
}

// certificate are names of the client's certificate, none if nobody has verified it.
func (f *requestFacts) certificate(names string) (any, bool) {
	cert := &x509.Certificate{}
	if f.r.TLS != nil && len(f.r.TLS.VerifiedChains) > 0 {
		cert = f.r.TLS.PeerCertificates[0]
	}
	switch names {
	case "dns":
		return cert.DNSNames, true
	case "emails":
		return cert.EmailAddresses, true
	case "uris":
		all := make([]string, len(cert.URIs))
		for i, u := range cert.URIs {
			all[i] = u.String()
		}
		return all, true
	}
	return nil, false
}
