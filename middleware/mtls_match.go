package middleware

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
)

// certPatterns are names that certificates may have.
type certPatterns struct {
	dns, emails []string // in lower case; emails only in their domain
	uris        []string
	names       []string
}

func (c MTLSConfig) patterns() certPatterns {
	p := certPatterns{uris: c.URIs, names: c.CommonNames}
	for _, name := range c.DNS {
		p.dns = append(p.dns, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	for _, address := range c.Emails {
		p.emails = append(p.emails, lowerDomain(address))
	}
	return p
}

func (p *certPatterns) empty() bool {
	return len(p.dns) == 0 && len(p.emails) == 0 && len(p.uris) == 0 && len(p.names) == 0
}

// match finds the first name of a certificate that a pattern allows.
func (p *certPatterns) match(cert *x509.Certificate) (name string, ok bool) {
	if len(p.uris) > 0 && !ambiguousSPIFFE(cert.URIs) {
		for _, u := range cert.URIs {
			text := u.String()
			if slices.ContainsFunc(p.uris, func(pattern string) bool { return uriMatches(pattern, text) }) {
				return text, true
			}
		}
	}
	for _, host := range cert.DNSNames {
		host = strings.ToLower(host)
		if slices.ContainsFunc(p.dns, func(pattern string) bool { return dnsMatches(pattern, host) }) {
			return host, true
		}
	}
	for _, address := range cert.EmailAddresses {
		address = lowerDomain(address)
		if slices.ContainsFunc(p.emails, func(pattern string) bool { return emailMatches(pattern, address) }) {
			return address, true
		}
	}
	if cn := cert.Subject.CommonName; slices.Contains(p.names, cn) {
		return cn, true
	}
	return "", false
}

// ambiguousSPIFFE finds a SPIFFE ID beside other URIs, which makes no X.509-SVID: two
// readers could take it for two workloads.
func ambiguousSPIFFE(uris []*url.URL) bool {
	return len(uris) > 1 && slices.ContainsFunc(uris, func(u *url.URL) bool { return strings.EqualFold(u.Scheme, "spiffe") })
}

// uriMatches goes through the segments of both, of which only the pattern's have wildcards.
func uriMatches(pattern, uri string) bool {
	for pattern != "" {
		if pattern == "**" {
			return uri != ""
		}
		want, pRest, pMore := strings.Cut(pattern, "/")
		got, uRest, uMore := strings.Cut(uri, "/")
		if want == "*" && got == "" || want != "*" && want != got || pMore != uMore {
			return false
		}
		pattern, uri = pRest, uRest
	}
	return uri == ""
}

func dnsMatches(pattern, host string) bool {
	parent, wild := strings.CutPrefix(pattern, "*.")
	if !wild {
		return pattern == host
	}
	label, rest, _ := strings.Cut(host, ".")
	return label != "" && label != "*" && rest == parent
}

// emailMatches takes no address for one of a domain that has a second @ in it
// (CVE-2026-40574).
func emailMatches(pattern, address string) bool {
	if domain, wild := strings.CutPrefix(pattern, "*@"); wild {
		local, rest, _ := strings.Cut(address, "@")
		return local != "" && rest == domain
	}
	return pattern == address
}

// lowerDomain folds the part of an address that does not tell capitals apart.
func lowerDomain(address string) string {
	i := strings.LastIndexByte(address, '@')
	return address[:i+1] + strings.ToLower(address[i+1:])
}

// subjectOf is the name that a certificate goes by; "" is none.
func subjectOf(cert *x509.Certificate, from string) string {
	uri, dns, email := "", "", ""
	if len(cert.URIs) > 0 && !ambiguousSPIFFE(cert.URIs) {
		uri = cert.URIs[0].String()
	}
	if len(cert.DNSNames) > 0 {
		dns = strings.ToLower(cert.DNSNames[0])
	}
	if len(cert.EmailAddresses) > 0 {
		email = lowerDomain(cert.EmailAddresses[0])
	}
	switch from {
	case "uri":
		return uri
	case "dns":
		return dns
	case "email":
		return email
	case "cn":
		return cert.Subject.CommonName
	case "sha256":
		return certHash(cert)
	}
	return cmp.Or(uri, dns, email)
}

func certHash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// forwardedCert is the element of X-Forwarded-Client-Cert for a certificate.
func forwardedCert(cert *x509.Certificate) string {
	var b strings.Builder
	b.WriteString("Hash=" + certHash(cert))
	add := func(key, value string) {
		b.WriteString(";" + key + "=")
		if !strings.ContainsAny(value, `,;="\`) && value == percentEncode(value) {
			b.WriteString(value)
			return
		}
		b.WriteByte('"')
		for i := range len(value) {
			switch c := value[i]; {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				b.WriteByte('%')
				b.WriteByte(upperHex[c>>4])
				b.WriteByte(upperHex[c&15])
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	if subject := cert.Subject.String(); subject != "" {
		add("Subject", subject)
	}
	for _, u := range cert.URIs {
		add("URI", u.String())
	}
	for _, name := range cert.DNSNames {
		add("DNS", name)
	}
	return b.String()
}
